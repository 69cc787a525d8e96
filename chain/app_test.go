package chain_test

import (
	"testing"

	dbm "github.com/cosmos/cosmos-db"
	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/chaintest"
	chainv1 "github.com/chancery/chancery/proto/chancery/chain/v1"
)

func net(t testing.TB) *chaintest.Net {
	return chaintest.New(t, chaintest.Config{Modules: func() []chain.Module { return nil }, Partial: true})
}

func TestSetParams(t *testing.T) {
	n := net(t)
	p := chain.DefaultParams()
	p.MaxMessages = 3
	n.Fails(chain.ErrNotConsortium, "did:chancery:mercy", &chainv1.SetParams{Params: p})
	r := n.Do(chaintest.Consortium, &chainv1.SetParams{Params: p})
	if got := chaintest.Events[chainv1.ParamsChanged](t, r); len(got) != 1 || !proto.Equal(got[0].Params, p) {
		t.Fatalf("events: %v", got)
	}
	if got := n.App().Params(n.View()); !proto.Equal(got, p) {
		t.Fatalf("params: %v", got)
	}
	n.CheckGenesis()
}

func memDB() dbm.DB { return dbm.NewMemDB() }

// zeros is a source of randomness for tests that need none.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }
