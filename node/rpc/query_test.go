package rpc_test

import (
	"context"
	"errors"
	"io"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cometbft/cometbft/types"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	reflectionv1 "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/errs"
	"github.com/chancery/chancery/chain/state"
	"github.com/chancery/chancery/node/receipt"
	"github.com/chancery/chancery/node/rpc"
	identityv1 "github.com/chancery/chancery/proto/chancery/identity/v1"
	nodev1 "github.com/chancery/chancery/proto/chancery/node/v1"
)

func with(ctx context.Context, pairs ...string) context.Context {
	return metadata.AppendToOutgoingContext(ctx, pairs...)
}

func (d *door) verify(raw []byte) *receipt.Report {
	d.t.Helper()
	report, err := receipt.Verify(raw, d.chain.Genesis, d.chain.App.Registry())
	if err != nil {
		d.t.Fatal(err)
	}
	return report
}

func TestQueryTellsAndTakesTheHeight(t *testing.T) {
	d := open(t, limits())
	c := identityv1.NewQueryClient(d.dial())
	for range 4 {
		d.chain.Block()
	}
	ask := func(ctx context.Context) (int64, error) {
		var header metadata.MD
		_, err := c.Identity(ctx, &identityv1.IdentityRequest{Did: organisation}, grpc.Header(&header))
		if err != nil {
			return 0, err
		}
		v := header.Get(rpc.HeightKey)
		if len(v) != 1 {
			t.Fatalf("header %v", header)
		}
		h, err := strconv.ParseInt(v[0], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		return h, nil
	}
	if h, err := ask(t.Context()); err != nil || h != 5 {
		t.Fatalf("height %d, %v", h, err)
	}
	if h, err := ask(with(t.Context(), rpc.HeightKey, "3")); err != nil || h != 3 {
		t.Fatalf("height %d, %v", h, err)
	}
	_, err := ask(with(t.Context(), rpc.HeightKey, "99"))
	refused(t, err, chain.ErrBadHeight, codes.NotFound)
	for _, bad := range []string{"-1", "x", "99999999999999999999"} {
		_, err = ask(with(t.Context(), rpc.HeightKey, bad))
		refused(t, err, rpc.ErrBadRequest, codes.InvalidArgument)
	}
	_, err = ask(with(t.Context(), rpc.ProveKey, "yes"))
	refused(t, err, rpc.ErrBadRequest, codes.InvalidArgument)
}

func TestQueryWithReceiptInTheTrailer(t *testing.T) {
	d := open(t, limits())
	c := identityv1.NewQueryClient(d.dial())
	for range 4 {
		d.chain.Block()
	}
	var header, trailer metadata.MD
	r, err := c.Identity(with(t.Context(), rpc.ProveKey, "1"), &identityv1.IdentityRequest{Did: organisation}, grpc.Header(&header), grpc.Trailer(&trailer))
	if err != nil {
		t.Fatal(err)
	}
	if v := header.Get(rpc.HeightKey); !slices.Equal(v, []string{"4"}) {
		t.Fatalf("the answer is of height %v, want 4: the latest that a signed header covers", v)
	}
	raw := trailer.Get(rpc.ReceiptKey)
	if len(raw) != 1 {
		t.Fatalf("trailer %v", trailer)
	}
	report := d.verify([]byte(raw[0]))
	i := slices.IndexFunc(report.Facts, func(f receipt.Fact) bool { return f.Collection == "identity/identities" })
	if i < 0 || !report.Facts[i].Present || !strings.Contains(string(report.Facts[i].Value), r.Identity.Did) || report.Height != 4 {
		t.Fatalf("the receipt says %+v", report)
	}

	// That there is no such record is refused, with a receipt of the absence.
	trailer = nil
	_, err = c.Identity(with(t.Context(), rpc.ProveKey, "1"), &identityv1.IdentityRequest{Did: "did:chancery:nobody"}, grpc.Trailer(&trailer))
	if err == nil {
		t.Fatal("nobody is somebody")
	}
	raw = trailer.Get(rpc.ReceiptKey)
	if len(raw) != 1 {
		t.Fatalf("trailer %v of %v", trailer, err)
	}
	report = d.verify([]byte(raw[0]))
	if i := slices.IndexFunc(report.Facts, func(f receipt.Fact) bool { return !f.Present && strings.Contains(f.Key, "nobody") }); i < 0 {
		t.Fatalf("the receipt says %+v", report)
	}

	// A list walks a range.
	_, err = c.Organisations(with(t.Context(), rpc.ProveKey, "1"), &identityv1.OrganisationsRequest{})
	refused(t, err, chain.ErrNotProvable, codes.FailedPrecondition)
	// A call that reads no state has nothing to prove.
	_, err = nodev1.NewNodeClient(d.dial()).Status(with(t.Context(), rpc.ProveKey, "1"), &nodev1.StatusRequest{})
	refused(t, err, chain.ErrNotProvable, codes.FailedPrecondition)
}

func TestProveByName(t *testing.T) {
	d := open(t, limits())
	c := nodev1.NewReceiptsClient(d.dial())
	for range 3 {
		d.chain.Block()
	}
	request := func(did string) []byte {
		raw, err := proto.Marshal(&identityv1.IdentityRequest{Did: did})
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	const method = "/chancery.identity.v1.Query/Identity"
	r, err := c.Prove(t.Context(), &nodev1.ProveRequest{Method: method, Request: request(organisation), Height: 2})
	if err != nil {
		t.Fatal(err)
	}
	answer := new(identityv1.IdentityResponse)
	if err := proto.Unmarshal(r.Response, answer); err != nil || answer.Identity.GetDid() != organisation {
		t.Fatalf("the answer is %v, %v", answer, err)
	}
	if report := d.verify(r.Receipt); report.Height != 2 || r.Height != 2 {
		t.Fatalf("height %d of %d, want 2", r.Height, report.Height)
	}

	r, err = c.Prove(t.Context(), &nodev1.ProveRequest{Method: method, Request: request("did:chancery:nobody")})
	if err != nil {
		t.Fatal(err)
	}
	if r.Code == 0 || r.Codespace != "identity" || r.Log == "" || r.Response != nil {
		t.Fatalf("nobody is answered with %v", r)
	}
	d.verify(r.Receipt)

	for _, bad := range []struct {
		req  *nodev1.ProveRequest
		want *errs.Error
		code codes.Code
	}{
		{&nodev1.ProveRequest{Method: "/chancery.identity.v1.Query/No"}, rpc.ErrNoMethod, codes.Unimplemented},
		{&nodev1.ProveRequest{Method: "/chancery.node.v1.Tx/Submit"}, rpc.ErrNoMethod, codes.Unimplemented},
		{&nodev1.ProveRequest{Method: method, Request: []byte{0xFF}}, rpc.ErrBadRequest, codes.InvalidArgument},
		{&nodev1.ProveRequest{Method: method, Request: request(organisation), Height: -1}, rpc.ErrBadRequest, codes.InvalidArgument},
		{&nodev1.ProveRequest{Method: method, Request: request(organisation), Height: 99}, chain.ErrBadHeight, codes.NotFound},
		{&nodev1.ProveRequest{Method: "/chancery.identity.v1.Query/Organisations"}, chain.ErrNotProvable, codes.FailedPrecondition},
	} {
		_, err := c.Prove(t.Context(), bad.req)
		refused(t, err, bad.want, bad.code)
	}
}

func TestBuildReceipts(t *testing.T) {
	d := open(t, limits())
	c := nodev1.NewReceiptsClient(d.dial())
	d.chain.Block()
	params := &nodev1.Key{Collection: "chain/params", Key: []byte{1, 1}}
	r, err := c.Build(t.Context(), &nodev1.BuildRequest{Keys: []*nodev1.Key{params, {Key: []byte{1, 2}}}})
	if err != nil {
		t.Fatal(err)
	}
	if report := d.verify(r.Receipt); len(report.Facts) != 2 || report.Height != 1 {
		t.Fatalf("the receipt says %+v", report)
	}
	// The latest state becomes provable with the next block.
	built := make(chan error, 1)
	go func() {
		r, err := c.Build(t.Context(), &nodev1.BuildRequest{Height: 2, Keys: []*nodev1.Key{params}})
		if err == nil && r.Height != 2 {
			err = errors.New("another height")
		}
		built <- err
	}()
	select {
	case err := <-built:
		t.Fatalf("an unsigned state is proven: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	d.chain.Block()
	if err := <-built; err != nil {
		t.Fatal(err)
	}
	_, err = c.Build(t.Context(), &nodev1.BuildRequest{})
	refused(t, err, receipt.ErrNoEntries, codes.InvalidArgument)
	_, err = c.Build(t.Context(), &nodev1.BuildRequest{Keys: []*nodev1.Key{{Collection: "chain/head", Key: []byte{1, 1}}}})
	refused(t, err, receipt.ErrUnknownKeys, codes.InvalidArgument)
	_, err = c.Build(t.Context(), &nodev1.BuildRequest{Keys: []*nodev1.Key{{Key: []byte{0xEE}}}})
	refused(t, err, receipt.ErrUnknownKeys, codes.InvalidArgument)
	_, err = c.Build(t.Context(), &nodev1.BuildRequest{Height: 77, Keys: []*nodev1.Key{params}})
	refused(t, err, chain.ErrBadHeight, codes.NotFound)
}

func TestNodeService(t *testing.T) {
	d := open(t, limits())
	c := nodev1.NewNodeClient(d.dial())
	ctx := t.Context()
	d.chain.Block(d.chain.SetParams())
	d.chain.Block()

	s, err := c.Status(ctx, &nodev1.StatusRequest{})
	if err != nil || s.Height != 3 || s.OldestRecord != 1 || s.OldestState != 1 {
		t.Fatalf("status %v, %v", s, err)
	}
	b, err := c.Block(ctx, &nodev1.BlockRequest{Height: 2})
	if err != nil || b.Record.Height != 2 || len(b.Record.Txs) != 1 || len(b.SignedHeader) == 0 {
		t.Fatalf("block %v, %v", b, err)
	}
	if b, err = c.Block(ctx, &nodev1.BlockRequest{}); err != nil || b.Record.Height != 3 {
		t.Fatalf("latest block %v, %v", b, err)
	}
	_, err = c.Block(ctx, &nodev1.BlockRequest{Height: 9})
	refused(t, err, rpc.ErrNoBlock, codes.NotFound)
	_, err = c.Block(ctx, &nodev1.BlockRequest{Height: -1})
	refused(t, err, rpc.ErrBadRequest, codes.InvalidArgument)
	if l, err := c.LightBlock(ctx, &nodev1.LightBlockRequest{}); err != nil || len(l.LightBlock) == 0 {
		t.Fatalf("light block %v, %v", l, err)
	}
	_, err = c.LightBlock(ctx, &nodev1.LightBlockRequest{Height: 9})
	refused(t, err, chain.ErrBadHeight, codes.NotFound)
	for _, want := range []struct {
		height int64
		limit  uint32
		n      int
	}{{1, 0, 3}, {1, 2, 2}, {3, 10_000, 1}} {
		h, err := c.Headers(ctx, &nodev1.HeadersRequest{Height: want.height, Limit: want.limit})
		if err != nil || len(h.Headers) != want.n {
			t.Fatalf("headers %v, %v, want %+v", h, err, want)
		}
	}
	_, err = c.Headers(ctx, &nodev1.HeadersRequest{Height: 9})
	refused(t, err, chain.ErrBadHeight, codes.NotFound)
	_, err = c.Headers(ctx, &nodev1.HeadersRequest{})
	refused(t, err, rpc.ErrBadRequest, codes.InvalidArgument)
	p, err := c.Params(ctx, &nodev1.ParamsRequest{})
	if err != nil || !p.Params.EqualVT(chain.DefaultParams()) {
		t.Fatalf("params %v, %v", p, err)
	}
	cs, err := c.Collections(ctx, &nodev1.CollectionsRequest{})
	if err != nil || len(cs.Collections) != len(d.chain.App.Registry().Collections()) || cs.Collections[0].Name != "chain/params" {
		t.Fatalf("collections %v, %v", cs, err)
	}

	genesis, err := c.Genesis(ctx, &nodev1.GenesisRequest{})
	if err != nil {
		t.Fatal(err)
	}
	whole := join(t, func() ([]byte, error) { r, err := genesis.Recv(); return r.GetPart(), err })
	if whole != strings.Repeat("genesis ", 500_000) {
		t.Fatalf("the genesis file has %d bytes", len(whole))
	}
	export, err := c.Export(ctx, &nodev1.ExportRequest{Height: 2})
	if err != nil {
		t.Fatal(err)
	}
	r, _, err := d.chain.App.View(2)
	if err != nil {
		t.Fatal(err)
	}
	want, err := d.chain.App.ExportGenesis(r)
	if err != nil {
		t.Fatal(err)
	}
	if got := join(t, func() ([]byte, error) { r, err := export.Recv(); return r.GetPart(), err }); got != string(want) {
		t.Fatalf("the export is %s, want %s", got, want)
	}
}

func join(t *testing.T, next func() ([]byte, error)) string {
	t.Helper()
	var out strings.Builder
	for {
		part, err := next()
		if errors.Is(err, io.EOF) {
			return out.String()
		}
		if err != nil {
			t.Fatal(err)
		}
		out.Write(part)
	}
}

func TestStateIsStreamedInOrder(t *testing.T) {
	d := open(t, limits())
	c := nodev1.NewNodeClient(d.dial())
	walk := func(req *nodev1.StateRequest) (keys []string) {
		t.Helper()
		stream, err := c.State(t.Context(), req)
		if err != nil {
			t.Fatal(err)
		}
		for {
			r, err := stream.Recv()
			if errors.Is(err, io.EOF) {
				return keys
			}
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range r.Pairs {
				keys = append(keys, string(p.Key))
			}
		}
	}
	var want []string
	for k := range d.chain.Snapshot(1).Walk(nil, nil, false) {
		want = append(want, string(k))
	}
	if got := walk(&nodev1.StateRequest{}); !slices.Equal(got, want) || len(got) < 3 {
		t.Fatalf("%d keys, want %d", len(got), len(want))
	}
	if got := walk(&nodev1.StateRequest{After: []byte(want[0])}); !slices.Equal(got, want[1:]) {
		t.Fatalf("after the first: %d keys, want %d", len(got), len(want)-1)
	}
	core := slices.DeleteFunc(slices.Clone(want), func(k string) bool { return k[0] != 1 })
	if got := walk(&nodev1.StateRequest{Prefix: []byte{1}}); !slices.Equal(got, core) {
		t.Fatalf("under 0x01: %d keys, want %d", len(got), len(core))
	}
	if got := walk(&nodev1.StateRequest{Prefix: []byte{1}, After: []byte{0xEE}}); len(got) != 0 {
		t.Fatalf("after the end of the prefix: %d keys", len(got))
	}
	if got := walk(&nodev1.StateRequest{Prefix: []byte{1}, After: []byte{0}}); !slices.Equal(got, core) {
		t.Fatalf("after a key before the prefix: %d keys, want %d", len(got), len(core))
	}
}

func TestFaultsAreLoggedAndHidden(t *testing.T) {
	d := open(t, limits())
	c := nodev1.NewNodeClient(d.dial())
	for secret, fault := range map[string]any{
		"a nil map":       errors.New("a nil map"),
		"corrupt page 17": &state.Fault{Where: "corrupt page 17", Err: errors.New("checksum")},
	} {
		d.engine.status = func() *nodev1.StatusResponse { panic(fault) }
		_, err := c.Status(t.Context(), &nodev1.StatusRequest{})
		refused(t, err, chain.ErrInternal, codes.Internal)
		if strings.Contains(err.Error(), secret) || !strings.Contains(d.log.String(), secret) {
			t.Errorf("the client learns %v, the log says %s", err, d.log)
		}
		_, number, _ := strings.Cut(err.Error(), "incident ")
		if !strings.Contains(d.log.String(), strings.TrimSuffix(number, ")")) {
			t.Errorf("the log lacks the number of %v", err)
		}
	}
	d.engine.light = func(int64) (*types.LightBlock, error) { return nil, errors.New("disk on fire") }
	_, err := c.LightBlock(t.Context(), &nodev1.LightBlockRequest{Height: 1})
	refused(t, err, chain.ErrInternal, codes.Internal)
	if strings.Contains(err.Error(), "fire") || !strings.Contains(d.log.String(), "disk on fire") {
		t.Errorf("the client learns %v", err)
	}
	// The server lives on.
	d.engine.status = nil
	if _, err := c.Status(t.Context(), &nodev1.StatusRequest{}); err != nil {
		t.Fatal(err)
	}
}

func TestHealthAndReflection(t *testing.T) {
	d := open(t, limits())
	conn := d.dial()
	health := healthv1.NewHealthClient(conn)
	for _, want := range []bool{false, true, false} {
		d.server.SetHealthy(want)
		r, err := health.Check(t.Context(), &healthv1.HealthCheckRequest{})
		if err != nil || (r.Status == healthv1.HealthCheckResponse_SERVING) != want {
			t.Fatalf("healthy is %v: %v, %v", want, r, err)
		}
	}
	stream, err := reflectionv1.NewServerReflectionClient(conn).ServerReflectionInfo(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Send(&reflectionv1.ServerReflectionRequest{MessageRequest: &reflectionv1.ServerReflectionRequest_ListServices{}}); err != nil {
		t.Fatal(err)
	}
	r, err := stream.Recv()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, s := range r.GetListServicesResponse().Service {
		names = append(names, s.Name)
	}
	for _, want := range []string{"chancery.node.v1.Tx", "chancery.node.v1.Events", "chancery.node.v1.Receipts", "chancery.node.v1.Node", "chancery.identity.v1.Query", "grpc.health.v1.Health"} {
		if !slices.Contains(names, want) {
			t.Errorf("reflection lists %v without %s", names, want)
		}
	}
	if err := conn.Invoke(t.Context(), "/chancery.node.v1.Node/Nothing", &nodev1.StatusRequest{}, &nodev1.StatusResponse{}); status.Code(err) != codes.Unimplemented {
		t.Errorf("an unknown method: %v", err)
	}
}
