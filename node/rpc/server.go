package rpc

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"time"

	"github.com/cometbft/cometbft/types"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/reflection"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/tx"
	"github.com/chancery/chancery/consensus/records"
	"github.com/chancery/chancery/node/receipt"
	chainv1 "github.com/chancery/chancery/proto/chancery/chain/v1"
	nodev1 "github.com/chancery/chancery/proto/chancery/node/v1"
)

// Engine is what the door needs of consensus.
type Engine interface {
	// Submit checks a transaction and puts it into the pool. A transaction that was
	// committed gives chain.ErrSeen; one that is in the pool gives no error. The hint is
	// what the scorer would say of it, where hints asks for it and it is known.
	Submit(ctx context.Context, raw []byte, hints bool) (id tx.ID, hint *chainv1.Verdict, err error)
	// LightBlock is a signed header and its validators.
	LightBlock(height int64) (*types.LightBlock, error)
	// Header is the header of a committed block; false where it is not here, or no more.
	Header(height int64) (*types.Header, bool)
	// History is what leads from the genesis validators to those headers.
	History() (receipt.History, error)
	// Txs are the transactions of a committed block in order, without its docket; false
	// where the engine does not have the block, or has it no more.
	Txs(height int64) ([][]byte, bool)
	// Hashes answers a question about the state, with divergence.ErrQuestion for one that may
	// not be asked.
	Hashes(ctx context.Context, q *nodev1.HashesRequest) (*nodev1.HashesResponse, error)
	// Status is how the node is. The door fills in what it knows itself.
	Status() *nodev1.StatusResponse
}

// Options is what a Server is made of.
type Options struct {
	App     *chain.App
	Records *records.Log
	Engine  Engine
	// Genesis is the genesis file's bytes.
	Genesis []byte
	Limits  Limits
	// TLS is the listener's, which asks clients for a certificate and leaves it to the
	// door to judge; nil: none, for loopback, where everybody is an administrator.
	TLS *tls.Config
	// Identities is who is who, nil only without TLS.
	Identities Identities
	// Administrators are the authorities whose certificates are of this node's
	// administrators, whoever they are on the chain; nil: none.
	Administrators func() *x509.CertPool
	// Issuers are those whose bearer tokens are taken where there is TLS.
	Issuers []Issuer
	// Policies say who may call what; nil: DefaultPolicies.
	Policies func() *Policies
	// Now is the clock for certificates; nil: time.Now.
	Now func() time.Time
	Log *slog.Logger
	// Forecasts answers for what is to be expected; nil: the service is not served.
	Forecasts nodev1.ForecastsServer
	// Checkpoints gives checkpoints of the log of blocks; nil: the service is not served.
	Checkpoints nodev1.CheckpointsServer
	// Evidence is what the node saw of proposals that the rules refuse; nil: nothing.
	Evidence Evidence
	// Metrics takes the door's measurements; nil: none.
	Metrics prometheus.Registerer
}

// Server is a node's door.
type Server struct {
	app     *chain.App
	records *records.Log
	engine  Engine
	genesis []byte
	limits  Limits
	log     *slog.Logger
	metrics *metrics
	builder *receipt.Builder

	grpc        *grpc.Server
	rest        *rest
	health      *health.Server
	methods     map[string]query // of the modules, by full name
	connections *connections
	calls       slots
	subscribers slots
	heavy       slots // exports and walks of the whole state
	shares      *shares
	paces       *paces

	tls            bool
	nodeID         string
	identities     Identities
	tokens         *tokens
	administrators func() *x509.CertPool
	policies       func() *Policies
	now            func() time.Time

	life context.Context // ends with Shutdown, and every stream with it
	die  context.CancelFunc
}

// New makes a server; Serve lets clients in.
func New(o Options) (*Server, error) {
	m, err := newMetrics(o.Metrics)
	if err != nil {
		return nil, err
	}
	s := &Server{
		app: o.App, records: o.Records, engine: o.Engine, genesis: o.Genesis, limits: o.Limits, log: o.Log,
		metrics: m, builder: receipt.NewBuilder(o.App.ChainID(), o.App.Registry(), o.Engine),
		health: health.NewServer(), methods: make(map[string]query),
		connections: newConnections(o.Limits.Connections, m), calls: make(slots, o.Limits.Calls),
		subscribers: make(slots, o.Limits.Subscribers), heavy: make(slots, 1),
		paces: &paces{of: make(map[string]*rate.Limiter)},
	}
	s.shares, s.tls, s.identities, s.administrators, s.policies, s.now = newShares(o.Limits), o.TLS != nil, o.Identities, o.Administrators, o.Policies, o.Now
	if s.administrators == nil {
		s.administrators = func() *x509.CertPool { return nil }
	}
	if s.policies == nil {
		standard := DefaultPolicies()
		s.policies = func() *Policies { return standard }
	}
	if s.now == nil {
		s.now = time.Now
	}
	if s.tokens, err = newTokens(o.Issuers, s.now); err != nil {
		return nil, err
	}
	s.nodeID = o.Engine.Status().GetNodeId()
	s.life, s.die = context.WithCancel(context.Background())
	options := []grpc.ServerOption{
		grpc.MaxRecvMsgSize(o.Limits.Message),
		grpc.MaxConcurrentStreams(o.Limits.Streams),
		grpc.ConnectionTimeout(o.Limits.Handshake),
		grpc.MaxHeaderListSize(maxHeader),
		grpc.StaticStreamWindowSize(flowWindow), grpc.StaticConnWindowSize(connectionWindow),
		grpc.ReadBufferSize(buffer), grpc.WriteBufferSize(buffer),
		grpc.KeepaliveParams(keepalive.ServerParameters{
			MaxConnectionIdle: o.Limits.Idle, Time: o.Limits.Keepalive, Timeout: keepaliveAnswer,
		}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{
			MinTime: minPing(o.Limits), PermitWithoutStream: true,
		}),
		grpc.ChainUnaryInterceptor(s.unary),
		grpc.ChainStreamInterceptor(s.stream),
		grpc.StatsHandler(m),
		grpc.StatsHandler(s.connections),
	}
	if o.TLS != nil {
		options = append(options, grpc.Creds(credentials.NewTLS(o.TLS)))
	}
	s.grpc = grpc.NewServer(options...)
	guarded := guard{s}
	nodev1.RegisterTxServer(guarded, &txService{s: s})
	nodev1.RegisterEventsServer(guarded, &eventsService{s: s})
	nodev1.RegisterReceiptsServer(guarded, &receiptsService{s: s})
	nodev1.RegisterNodeServer(guarded, &nodeService{s: s})
	nodev1.RegisterSentinelServer(guarded, &sentinelService{s: s, evidence: o.Evidence})
	if o.Forecasts != nil {
		nodev1.RegisterForecastsServer(guarded, o.Forecasts)
	}
	if o.Checkpoints != nil {
		nodev1.RegisterCheckpointsServer(guarded, o.Checkpoints)
	}
	o.App.RegisterQueries(registrar{s}, snapshots{s})
	for _, module := range o.App.Modules() {
		module.RegisterQueries(registrar{s}, snapshots{s})
	}
	healthv1.RegisterHealthServer(guarded, s.health)
	reflection.Register(s.grpc)
	s.SetHealthy(false)
	s.rest = s.newREST(o.TLS)
	return s, nil
}

// minPing is how often clients may ask whether the server is alive.
func minPing(l Limits) time.Duration { return min(l.Keepalive/2, keepaliveAnswer) }

// SetHealthy answers the health service.
func (s *Server) SetHealthy(ok bool) {
	v := healthv1.HealthCheckResponse_NOT_SERVING
	if ok {
		v = healthv1.HealthCheckResponse_SERVING
	}
	s.health.SetServingStatus("", v)
}

// Methods are the full names of all methods that are served, sorted.
func (s *Server) Methods() []string {
	var out []string
	for service, info := range s.grpc.GetServiceInfo() {
		for _, m := range info.Methods {
			out = append(out, "/"+service+"/"+m.Name)
		}
	}
	slices.Sort(out)
	return out
}

// Serve lets clients in until Shutdown. It owns the listener.
func (s *Server) Serve(l net.Listener) error {
	err := s.grpc.Serve(&limitListener{Listener: l, connections: s.connections})
	if errors.Is(err, grpc.ErrServerStopped) {
		return nil // it was shut down before it served
	}
	return err
}

// Shutdown lets calls finish until ctx ends, and then cuts them off. Streams of
// events are ended at once; their clients resume.
func (s *Server) Shutdown(ctx context.Context) {
	s.die()
	s.health.Shutdown()
	done := make(chan struct{})
	go func() {
		// Those over HTTP come first, since they are calls of the gRPC server.
		if s.rest.srv.Shutdown(ctx) != nil {
			_ = s.rest.srv.Close()
		}
		s.grpc.GracefulStop()
		close(done)
	}()
	select {
	case <-done:
	case <-ctx.Done():
		s.grpc.Stop()
		<-done
	}
}

// guard registers services whose unary methods are under the door's bounds from
// the first byte of their request on. Streams are so in any case.
type guard struct{ s *Server }

func (g guard) RegisterService(desc *grpc.ServiceDesc, service any) {
	guarded := *desc
	guarded.Methods = slices.Clone(desc.Methods)
	for i, m := range desc.Methods {
		guarded.Methods[i].Handler = g.s.admitted(fmt.Sprintf("/%s/%s", desc.ServiceName, m.MethodName), m.Handler)
	}
	g.s.grpc.RegisterService(&guarded, service)
}

// query is a method of a module's query service.
type query struct {
	service any
	handler grpc.MethodHandler
}

// registrar registers the modules' services and keeps their methods by name, for
// Receipts.Prove. Queries have no streams.
type registrar struct{ s *Server }

func (r registrar) RegisterService(desc *grpc.ServiceDesc, service any) {
	if len(desc.Streams) > 0 {
		panic(fmt.Sprintf("rpc: %s has streaming methods; a query must be one question and one answer", desc.ServiceName))
	}
	guard(r).RegisterService(desc, service)
	for _, m := range desc.Methods {
		r.s.methods[fmt.Sprintf("/%s/%s", desc.ServiceName, m.MethodName)] = query{service, m.Handler}
	}
}
