//go:build unix

package testnet

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/chancery/chancery/chain/tx"
	"github.com/chancery/chancery/node/client"
	provenancev1 "github.com/chancery/chancery/proto/chancery/provenance/v1"
)

// A network of one validator commits a transaction, and has it still after it was
// stopped, killed and started again.
func TestOneValidator(t *testing.T) {
	t.Setenv(asNode, "1")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	n, err := Open(ctx, Dir(filepath.Join(t.TempDir(), "one")), self, Design{Validators: 1, By: Shipped(false)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := n.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	})
	start := func() *Record {
		t.Helper()
		if started, err := n.Start(ctx); err != nil || len(started) != 1 {
			t.Fatalf("started %v, %v", started, err)
		}
		if err := n.Ready(ctx); err != nil {
			t.Fatal(err)
		}
		r, err := Load(n.Dir)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	r := start()

	ring, err := OpenKeyring(n.Dir, n.Dir.Home(r.Validators[0]))
	if err != nil {
		t.Fatal(err)
	}
	entry, err := ring.Lookup("registrar")
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ring.Signer("registrar")
	if err != nil {
		t.Fatal(err)
	}
	c, err := client.Dial(ctx, r.Addresses())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Do(ctx, entry.DID, []tx.Signer{client.Signer(entry.KeyURL, signer)}, &provenancev1.RegisterEntity{
		Id: "a-file", Entity: &provenancev1.Entity{MediaType: "text/plain"},
	}); err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}

	stopped, err := n.Stop(ctx)
	if err != nil || len(stopped) != 1 || !stopped[0].Was || stopped[0].Forced {
		t.Fatalf("stopped %+v, %v", stopped, err)
	}
	views, err := n.Status(ctx)
	if err != nil || views[0].Running || views[0].Answers {
		t.Fatalf("after it was stopped: %+v, %v", views, err)
	}
	start()
	if err := n.Signal(ctx, 0, 9); err != nil {
		t.Fatal(err)
	}
	r = start()

	if c, err = client.Dial(ctx, r.Addresses()); err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	got, err := provenancev1.NewQueryClient(c.Conn()).Entity(ctx, &provenancev1.NodeRequest{Organisation: r.Validators[0].Organisation, Id: "a-file"})
	if err != nil || got.Node.GetAuthor() != entry.DID {
		t.Fatalf("the entity is %v, %v", got, err)
	}
}
