package threat

import (
	"bytes"
	"context"
	"testing"

	"github.com/chancery/chancery/chain/chaintest"
	threatv1 "github.com/chancery/chancery/proto/chancery/threat/v1"
)

func TestModelQueries(t *testing.T) {
	d := newDesk(t)
	raw := rawDetector(t, "large", manyRules)
	one, two := d.registers(raw), d.registers(rawDetector(t, "two"))
	three := hashOf(nil)
	d.Do(chaintest.Consortium, &threatv1.RegisterModel{Hash: three, Size: 3})
	d.moves(one, shadowStage, activeStage)
	d.moves(two, retiredStage)
	all, err := d.queries().Models(context.Background(), &threatv1.ModelsRequest{})
	if err != nil || len(all.Models) != 3 || !bytes.Equal(all.Schedule.Active, one) {
		t.Fatalf("%v, %v", all, err)
	}
	for i := range 2 {
		if bytes.Compare(all.Models[i].Hash, all.Models[i+1].Hash) >= 0 {
			t.Fatal("not sorted")
		}
	}
	for hash, want := range map[string][]byte{string(one): raw, string(two): nil, string(three): nil} {
		got, err := d.queries().Model(context.Background(), &threatv1.ModelRequest{Hash: []byte(hash)})
		if err != nil || !bytes.Equal(got.Bytes, want) || !got.Model.EqualVT(d.model([]byte(hash))) {
			t.Fatalf("%v, %v", got.Model, err)
		}
	}
	_, err = d.queries().Model(context.Background(), &threatv1.ModelRequest{Hash: one[1:]})
	wantError(t, err, ErrInvalid)
	_, err = d.queries().Model(context.Background(), &threatv1.ModelRequest{Hash: make([]byte, 32)})
	wantError(t, err, ErrNotFound)
}
