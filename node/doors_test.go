package node_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/chaintest"
	"github.com/chancery/chancery/chain/errs"
	"github.com/chancery/chancery/chain/tx"
	"github.com/chancery/chancery/modules/identity"
	"github.com/chancery/chancery/node"
	"github.com/chancery/chancery/node/certs"
	"github.com/chancery/chancery/node/checkpoint"
	"github.com/chancery/chancery/node/client"
	"github.com/chancery/chancery/node/config"
	"github.com/chancery/chancery/node/forecast"
	"github.com/chancery/chancery/node/nodetest"
	"github.com/chancery/chancery/node/rpc"
	chainv1 "github.com/chancery/chancery/proto/chancery/chain/v1"
	identityv1 "github.com/chancery/chancery/proto/chancery/identity/v1"
	nodev1 "github.com/chancery/chancery/proto/chancery/node/v1"
)

const (
	alpha   = "did:chancery:alpha" // the node's organisation
	beta    = "did:chancery:beta"
	desk    = alpha + ":desk"
	analyst = alpha + ":analyst"
	gone    = alpha + ":gone" // suspended
)

var (
	admin    = alpha + ":" + strings.Repeat("a", 26)
	theNode  = strings.Repeat("1", 40)
	doorTime = time.UnixMilli(chaintest.GenesisTime).UTC()
)

// doorEngine is a test chain as the door sees it.
type doorEngine struct{ *nodetest.Chain }

func (e doorEngine) Submit(ctx context.Context, raw []byte, hint bool) (tx.ID, *chainv1.Verdict, error) {
	return e.Chain.Submit(ctx, raw, hint)
}

func (e doorEngine) Status() *nodev1.StatusResponse {
	return &nodev1.StatusResponse{ChainId: e.App.ChainID(), Height: e.Height(), Healthy: true, NodeId: theNode}
}

// doors is a server with TLS over a chain of two organisations with an authority each.
type doors struct {
	t       *testing.T
	chain   *nodetest.Chain
	server  *rpc.Server
	address string
	web     string // address of HTTP
	roots   *x509.CertPool
	alpha   *certs.Authority
	beta    *certs.Authority
	admins  *certs.Authority // rpc.client_ca
	log     *safeBuffer
}

// safeBuffer is a log that may be read while it is written.
type safeBuffer struct {
	mu  sync.Mutex // guards buf
	buf bytes.Buffer
}

func (b *safeBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *safeBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func newCA(t *testing.T, name string) *certs.Authority {
	t.Helper()
	a, _, _, err := certs.NewAuthority(name, doorTime, certs.AuthorityLife)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func openDoors(t *testing.T, change func(*rpc.Options)) *doors {
	t.Helper()
	d := &doors{t: t, alpha: newCA(t, "alpha"), beta: newCA(t, "beta"), admins: newCA(t, "operators"), log: new(safeBuffer)}
	key := func(name string) []identity.FoundingKey {
		return []identity.FoundingKey{{ID: "key-1", Public: chaintest.Actor(name).Public()}}
	}
	service := identityv1.Kind_KIND_SERVICE
	g, err := identity.NewGenesis(identity.Founding{At: chaintest.GenesisTime, Threshold: 1, Organisations: []identity.Founder{
		{DID: alpha, Threshold: 1, Nodes: []string{theNode}, Members: []identity.FoundingMember{
			{DID: admin, Kind: identityv1.Kind_KIND_PERSON, Administrator: true, Keys: key(admin)},
			{DID: desk, Kind: service, Keys: key(desk)},
			{DID: analyst, Kind: service, Keys: key(analyst), Roles: []string{"analyst"}},
			{DID: gone, Kind: service, Keys: key(gone)},
		}},
		{DID: beta, Keys: key(beta), Members: []identity.FoundingMember{{DID: beta + ":desk", Kind: service, Keys: key(beta + ":desk")}}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	for name, a := range map[string]*certs.Authority{alpha: d.alpha, beta: d.beta} {
		one, err := identity.NewAuthority(a.Certificate.Raw)
		if err != nil {
			t.Fatal(err)
		}
		g.Authorities = append(g.Authorities, &identityv1.Authorities{Organisation: name, Authorities: []*identityv1.Authority{one}, Changed: &identityv1.Mark{At: chaintest.GenesisTime}})
	}
	section, err := chain.WriteGenesis(g)
	if err != nil {
		t.Fatal(err)
	}
	state, err := json.Marshal(map[string]json.RawMessage{"identity": section})
	if err != nil {
		t.Fatal(err)
	}
	modules := node.Wire()
	d.chain = nodetest.New(t, nodetest.Config{Modules: modules.List(), Genesis: string(state)})
	d.do(alpha, &identityv1.Suspend{Did: gone, Reason: identityv1.Reason_REASON_COMPROMISED})

	store, err := forecast.NewStore(config.Default().Forecast.Settings())
	if err != nil {
		t.Fatal(err)
	}
	pair := d.pair(d.alpha, certs.Request{Name: "server", Hosts: []string{"127.0.0.1"}})
	d.roots = x509.NewCertPool()
	d.roots.AddCert(d.alpha.Certificate)
	administrators := x509.NewCertPool()
	administrators.AddCert(d.admins.Certificate)
	limits := node.Limits(config.Default().RPC)
	limits.Heartbeat = 50 * time.Millisecond
	logKey, err := checkpoint.NewSigner(checkpoint.Origin(d.chain.App.ChainID()), checkpoint.LogRole)
	if err != nil {
		t.Fatal(err)
	}
	publisher, err := checkpoint.NewPublisher(checkpoint.Options{Dir: t.TempDir(), Key: logKey, Interval: 10, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = publisher.Close() })
	o := rpc.Options{
		App: d.chain.App, Records: d.chain.Records, Engine: doorEngine{d.chain}, Genesis: []byte("{}"), Limits: limits,
		TLS:        &tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequestClientCert, MinVersion: tls.VersionTLS13},
		Identities: modules.Identity, Administrators: func() *x509.CertPool { return administrators },
		Forecasts: forecast.NewService(store), Checkpoints: checkpoint.NewService(publisher), Now: func() time.Time { return doorTime },
		Log: slog.New(slog.NewTextHandler(d.log, nil)),
	}
	if change != nil {
		change(&o)
	}
	if d.server, err = rpc.New(o); err != nil {
		t.Fatal(err)
	}
	d.server.SetHealthy(true)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	d.address = l.Addr().String()
	done := make(chan error, 2)
	go func() { done <- d.server.Serve(l) }()
	web, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	d.web = web.Addr().String()
	go func() { done <- d.server.ServeREST(web) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
		defer cancel()
		d.server.Shutdown(ctx)
		for range 2 {
			if err := <-done; err != nil {
				t.Errorf("Serve: %v", err)
			}
		}
	})
	return d
}

// do commits a message of the author.
func (d *doors) do(author string, m ...proto.Message) {
	d.t.Helper()
	for _, one := range m {
		d.chain.Block(d.chain.Tx(author, one))
	}
}

// pair issues a certificate that holds from doorTime on, unless the request says so.
func (d *doors) pair(a *certs.Authority, r certs.Request) tls.Certificate {
	d.t.Helper()
	if r.At.IsZero() {
		r.At = doorTime
	}
	if r.Life == 0 {
		r.Life = certs.Life
	}
	cert, key, err := a.Issue(r)
	if err != nil {
		d.t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		d.t.Fatal(err)
	}
	return pair
}

func (d *doors) dial(show ...tls.Certificate) *grpc.ClientConn {
	d.t.Helper()
	conn, err := grpc.NewClient("passthrough:///"+d.address, grpc.WithTransportCredentials(credentials.NewTLS(d.shows(show...))))
	if err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// shows is the TLS of a client that shows a certificate, or none.
func (d *doors) shows(show ...tls.Certificate) *tls.Config {
	c := &tls.Config{RootCAs: d.roots, MinVersion: tls.VersionTLS13, Time: func() time.Time { return doorTime }}
	if len(show) > 0 {
		// Whatever the server says it takes: it says nothing.
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &show[0], nil }
	}
	return c
}

// answer is how the door answers an empty request: the code of a refusal by the door
// itself, nil where it lets the caller in.
func (d *doors) answer(conn *grpc.ClientConn, method string) *errs.Error {
	d.t.Helper()
	return d.answerTo(d.t.Context(), conn, method)
}

func (d *doors) answerTo(ctx context.Context, conn *grpc.ClientConn, method string) *errs.Error {
	d.t.Helper()
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	s, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, method)
	if err == nil {
		if err = s.SendMsg(&emptypb.Empty{}); err == nil || errors.Is(err, io.EOF) {
			_ = s.CloseSend()
			err = s.RecvMsg(&emptypb.Empty{})
		}
	}
	err = client.FromStatus(err)
	if err == nil || errors.Is(err, io.EOF) {
		return nil
	}
	var e *errs.Error
	if !errors.As(err, &e) {
		d.t.Fatalf("%s: %v", method, err)
	}
	if e.Module == "node" && e.Code >= rpc.ErrNoCertificate.Code && e.Code <= rpc.ErrTwoCallers.Code {
		return e
	}
	if e.Module == "client" {
		d.t.Fatalf("%s: %v", method, err)
	}
	return nil
}

func serial(pair tls.Certificate) []byte {
	c, err := x509.ParseCertificate(pair.Certificate[0])
	if err != nil {
		panic(err)
	}
	return c.SerialNumber.Bytes()
}

func fingerprintOf(t *testing.T, a *certs.Authority) []byte {
	t.Helper()
	one, err := identity.NewAuthority(a.Certificate.Raw)
	if err != nil {
		t.Fatal(err)
	}
	return one.Fingerprint
}

// ofTheDoor are the reasons of refusals by the door itself.
var ofTheDoor = func() map[string]bool {
	out := make(map[string]bool)
	for code := rpc.ErrNoCertificate.Code; code <= rpc.ErrTwoCallers.Code; code++ {
		out[fmt.Sprintf("node/%d", code)] = true
	}
	return out
}()

// filled is a path with something in each of its fields, which is bytes, text and a number.
func filled(path string) string {
	return regexp.MustCompile(`\{[a-z0-9_]+\}`).ReplaceAllString(path, "1234")
}

const doorsDocument = "../docs/doors.md"

// Every method that is registered is named by the policies, and answers each kind of
// caller as docs/doors.md says, over gRPC and over HTTP alike.
func TestDoorsDocument(t *testing.T) {
	issuer, other := newProvider(t), newProvider(t)
	d := openDoors(t, func(o *rpc.Options) { o.Issuers = []rpc.Issuer{issuer.issuer()} })
	stranger := newCA(t, "stranger")
	client := func(a *certs.Authority, did string) tls.Certificate {
		return d.pair(a, certs.Request{Name: did, DID: did})
	}
	token := func(change map[string]any) string { return issuer.token("ec-1", "ES256", change) }
	revoked := client(d.alpha, desk)
	d.do(alpha, &identityv1.RevokeCertificate{Authority: fingerprintOf(t, d.alpha), Serial: serial(revoked), Reason: identityv1.Reason_REASON_COMPROMISED})
	type caller struct {
		name  string
		token string // "": none
		show  []tls.Certificate
		conn  *grpc.ClientConn
		web   *http.Client
	}
	one := func(c tls.Certificate) []tls.Certificate { return []tls.Certificate{c} }
	callers := []caller{
		{name: "no certificate"},
		{name: "unknown authority", show: one(client(stranger, desk))},
		{name: "expired", show: one(d.pair(d.alpha, certs.Request{DID: desk, At: doorTime.Add(-48 * time.Hour), Life: time.Hour}))},
		{name: "not yet valid", show: one(d.pair(d.alpha, certs.Request{DID: desk, At: doorTime.Add(48 * time.Hour)}))},
		{name: "revoked", show: one(revoked)},
		{name: "another's authority", show: one(client(d.beta, desk))},
		{name: "no DID", show: one(d.pair(d.alpha, certs.Request{Name: "nobody"}))},
		{name: "not registered", show: one(client(d.alpha, alpha+":nobody"))},
		{name: "suspended", show: one(client(d.alpha, gone))},
		{name: "other organisation", show: one(client(d.beta, beta+":desk"))},
		{name: "own organisation", show: one(client(d.alpha, desk))},
		{name: "analyst", show: one(client(d.alpha, analyst))},
		{name: "administrator", show: one(client(d.alpha, admin))},
		{name: "token: forged", token: other.token("ec-1", "ES256", map[string]any{"iss": issuer.server.URL})},
		{name: "token: unknown issuer", token: other.token("ec-1", "ES256", nil)},
		{name: "token: expired", token: token(map[string]any{"exp": doorTime.Add(-time.Hour).Unix()})},
		{name: "token: not yet", token: token(map[string]any{"nbf": doorTime.Add(time.Hour).Unix()})},
		{name: "token: for others", token: token(map[string]any{"aud": "others"})},
		{name: "token: no DID", token: token(map[string]any{"did": nil})},
		{name: "token: another's DID", token: token(map[string]any{"did": beta + ":desk"})},
		{name: "token: beside another's certificate", token: token(nil), show: one(client(d.alpha, admin))},
		{name: "token: suspended", token: token(map[string]any{"did": gone})},
		{name: "token: own organisation", token: token(nil)},
		{name: "token: administrator", token: token(map[string]any{"did": admin})},
	}
	var b strings.Builder
	b.WriteString("| Method | HTTP |")
	for i := range callers {
		c := &callers[i]
		c.conn, c.web = d.dial(c.show...), d.browse(c.show...)
		b.WriteString(" " + c.name + " |")
	}
	b.WriteString("\n|---|---|" + strings.Repeat("---|", len(callers)) + "\n")
	methods := d.server.Methods()
	if len(methods) < 80 {
		t.Fatalf("only %d methods are registered", len(methods))
	}
	routes := make(map[string]rpc.Route)
	for _, r := range d.server.Routes() {
		routes[r.Method] = r
	}
	for _, m := range methods {
		if !rpc.DefaultPolicies().Named(m) {
			t.Errorf("no policy names %s; say in node/rpc/doors.cedar who may call it", m)
		}
		route, mapped := routes[m]
		way := "–"
		if mapped {
			way = "`" + route.Verb + " " + route.Path + "`"
		} else if strings.HasPrefix(m, "/chancery.") && m != nodev1.Tx_SubmitStream_FullMethodName {
			t.Errorf("%s has no google.api.http option", m)
		}
		fmt.Fprintf(&b, "| `%s` | %s |", strings.TrimPrefix(m, "/"), way)
		for _, c := range callers {
			ctx := t.Context()
			var head []string
			if c.token != "" {
				ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+c.token)
				head = []string{"Authorization", "Bearer " + c.token}
			}
			e := d.answerTo(ctx, c.conn, m)
			if e != nil {
				fmt.Fprintf(&b, " %d |", e.Code)
			} else {
				b.WriteString(" yes |")
				if c.name == "no certificate" && m != healthv1.Health_Check_FullMethodName {
					t.Errorf("%s is public", m)
				}
			}
			if mapped {
				_, reason := d.fetch(c.web, route.Verb, filled(route.Path), "{}", head...)
				want := ""
				if e != nil {
					want = fmt.Sprintf("%s/%d", e.Module, e.Code)
				}
				if e != nil && reason != want || e == nil && ofTheDoor[reason] {
					t.Errorf("%s, %s: over gRPC %v, over HTTP %s", m, c.name, e, reason)
				}
			}
		}
		b.WriteString("\n")
	}
	const begin, end = "<!-- table: begin -->\n", "<!-- table: end -->"
	have, err := os.ReadFile(doorsDocument)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, ok := strings.Cut(string(have), begin)
	_, tail, also := strings.Cut(rest, end)
	if !ok || !also {
		t.Fatalf("%s lacks the marks of the table", doorsDocument)
	}
	want := head + begin + b.String() + end + tail
	if *rewrite {
		if err := os.WriteFile(doorsDocument, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if want != string(have) {
		t.Errorf("%s is not what the door answers; run go test ./node -run TestDoorsDocument -rewrite", doorsDocument)
	}
}

// What no policy names is refused, also to an administrator.
func TestDoorRefusesWhatNoPolicyNames(t *testing.T) {
	only, err := rpc.ParsePolicies([]byte(`permit (principal, action in [Action::"/chancery.node.v1.Node/Status", Action::"/chancery.node.v1.Receipts/Prove"], resource) when { principal.known };`))
	if err != nil {
		t.Fatal(err)
	}
	d := openDoors(t, func(o *rpc.Options) { o.Policies = func() *rpc.Policies { return only } })
	conn := d.dial(d.pair(d.alpha, certs.Request{DID: admin}))
	if e := d.answer(conn, nodev1.Node_Status_FullMethodName); e != nil {
		t.Errorf("Status: %v", e)
	}
	_, err = nodev1.NewReceiptsClient(conn).Prove(t.Context(), &nodev1.ProveRequest{Method: "/chancery.identity.v1.Query/Identity"})
	if !errors.Is(client.FromStatus(err), rpc.ErrForbidden) {
		t.Errorf("the proof of a query that is not permitted: %v", err)
	}
	for _, m := range []string{nodev1.Node_Params_FullMethodName, healthv1.Health_Check_FullMethodName, nodev1.Events_Subscribe_FullMethodName} {
		if e := d.answer(conn, m); !rpc.ErrForbidden.Is(e) {
			t.Errorf("%s: %v", m, e)
		}
	}
}

// A connection that is open is judged anew by each state: rotation overlaps, and a
// revoked certificate, a removed authority and a suspension act at once, also on streams.
func TestDoorActsAtOnce(t *testing.T) {
	d := openDoors(t, nil)
	status := nodev1.Node_Status_FullMethodName
	next := newCA(t, "alpha 2")
	one, two := d.pair(d.alpha, certs.Request{DID: desk}), d.pair(next, certs.Request{DID: desk})
	before, after := d.dial(one), d.dial(two)
	spare := d.dial(d.pair(next, certs.Request{DID: desk}))
	expect := func(what string, conn *grpc.ClientConn, want *errs.Error) {
		t.Helper()
		if got := d.answer(conn, status); want == nil && got != nil || want != nil && !want.Is(got) {
			t.Errorf("%s: %v, want %v", what, got, want)
		}
	}
	expect("the old one", before, nil)
	expect("the new one before its authority", after, rpc.ErrUnknownAuthority)
	d.do(alpha, &identityv1.SetAuthorities{Certificates: [][]byte{next.Certificate.Raw, d.alpha.Certificate.Raw}})
	expect("the old one in the overlap", before, nil)
	expect("the new one in the overlap", after, nil)

	stream, err := nodev1.NewEventsClient(before).Subscribe(t.Context(), &nodev1.SubscribeRequest{Follow: true})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); err != nil {
		t.Fatal(err)
	}
	d.do(alpha, &identityv1.SetAuthorities{Certificates: [][]byte{next.Certificate.Raw}})
	expect("the old one after its authority", before, rpc.ErrUnknownAuthority)
	for err == nil {
		_, err = stream.Recv()
	}
	if !errors.Is(client.FromStatus(err), rpc.ErrUnknownAuthority) {
		t.Errorf("the subscription ended with %v", err)
	}
	expect("the new one", after, nil)
	d.do(alpha, &identityv1.RevokeCertificate{Authority: fingerprintOf(t, next), Serial: serial(two), Reason: identityv1.Reason_REASON_COMPROMISED})
	expect("the revoked one", after, rpc.ErrRevoked)
	expect("another one of the same DID", spare, nil)
	d.do(alpha, &identityv1.Suspend{Did: desk, Reason: identityv1.Reason_REASON_COMPROMISED})
	expect("the suspended one", spare, rpc.ErrInactive)
}

// An administrator's calls are on the log, others' are not; one whose certificate is of
// rpc.client_ca needs no DID.
func TestDoorLogsAdministrativeCalls(t *testing.T) {
	d := openDoors(t, nil)
	for _, pair := range []tls.Certificate{d.pair(d.alpha, certs.Request{DID: admin}), d.pair(d.admins, certs.Request{Name: "pager"})} {
		if e := d.answer(d.dial(pair), nodev1.Node_Export_FullMethodName); e != nil {
			t.Fatal(e)
		}
	}
	if e := d.answer(d.dial(d.pair(d.alpha, certs.Request{DID: desk})), nodev1.Node_Status_FullMethodName); e != nil {
		t.Fatal(e)
	}
	for end := time.Now().Add(10 * time.Second); strings.Count(d.log.String(), "an administrative call") < 2 && time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
	}
	log := d.log.String()
	for _, want := range []string{"method=" + nodev1.Node_Export_FullMethodName, "by=" + admin, `by="administrator pager"`, "code="} {
		if !strings.Contains(log, want) {
			t.Errorf("the log lacks %s: %s", want, log)
		}
	}
	if strings.Contains(log, "Status") {
		t.Errorf("a call of a member is on the log: %s", log)
	}
}

// One identity cannot use up the door: it is refused, retryably, and others are not.
func TestDoorBoundsEachIdentity(t *testing.T) {
	d := openDoors(t, func(o *rpc.Options) { o.Limits.IdentityRate, o.Limits.IdentityCalls = 5, 2 })
	busy, other := d.dial(d.pair(d.alpha, certs.Request{DID: desk})), d.dial(d.pair(d.beta, certs.Request{DID: beta + ":desk"}))
	status := func(conn *grpc.ClientConn) error {
		_, err := nodev1.NewNodeClient(conn).Status(t.Context(), &nodev1.StatusRequest{})
		return client.FromStatus(err)
	}
	var err error
	for range 50 {
		if err = status(busy); err != nil {
			break
		}
	}
	if !errors.Is(err, rpc.ErrShare) || !rpc.ErrShare.Retryable() {
		t.Errorf("50 calls: %v", err)
	}
	if err := status(other); err != nil {
		t.Errorf("another identity: %v", err)
	}
	for range 2 {
		s, err := nodev1.NewEventsClient(other).Subscribe(t.Context(), &nodev1.SubscribeRequest{Follow: true})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Recv(); err != nil {
			t.Fatal(err)
		}
	}
	if err := status(other); !errors.Is(err, rpc.ErrShare) {
		t.Errorf("a third call under way: %v", err)
	}
}

// What is refused for now is counted by identity, whatever connection it comes on.
func TestDoorPacesEachIdentity(t *testing.T) {
	d := openDoors(t, func(o *rpc.Options) { o.Engine = fullEngine{o.Engine} })
	pair := d.pair(d.alpha, certs.Request{DID: desk})
	submit := func(conn *grpc.ClientConn) error {
		s, err := nodev1.NewTxClient(conn).SubmitStream(t.Context())
		if err != nil {
			return client.FromStatus(err)
		}
		if err := s.Send(&nodev1.SubmitStreamRequest{Txs: make([][]byte, 500)}); err != nil && !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
		_, err = s.Recv()
		return client.FromStatus(err)
	}
	var err error
	for n := 0; err == nil && n < 20; n++ {
		err = submit(d.dial(pair))
	}
	if !errors.Is(err, rpc.ErrShare) {
		t.Errorf("twenty streams with 500 refusals each, all on connections of their own: %v", err)
	}
	if err := submit(d.dial(d.pair(d.beta, certs.Request{DID: beta + ":desk"}))); err != nil {
		t.Errorf("another identity: %v", err)
	}
}

// fullEngine has no room for any transaction.
type fullEngine struct{ rpc.Engine }

func (fullEngine) Submit(context.Context, []byte, bool) (tx.ID, *chainv1.Verdict, error) {
	return tx.ID{}, nil, chain.ErrBusy
}
