package threat

import (
	"bytes"
	"context"
	"testing"

	threatv1 "github.com/chancery/chancery/proto/chancery/threat/v1"
)

func TestHoldQuery(t *testing.T) {
	d := newDesk(t)
	id := d.keeps(suspect, keeping{})
	got, err := d.queries().Hold(context.Background(), &threatv1.HoldRequest{TxId: id})
	if err != nil || !got.Hold.EqualVT(d.holdOf(id)) {
		t.Fatalf("%v, %v", got, err)
	}
	_, err = d.queries().Hold(context.Background(), &threatv1.HoldRequest{TxId: id[1:]})
	wantError(t, err, ErrInvalid)
	_, err = d.queries().Hold(context.Background(), &threatv1.HoldRequest{TxId: make([]byte, 32)})
	wantError(t, err, ErrNotFound)
}

func TestHoldsQuery(t *testing.T) {
	d := newDesk(t)
	var ids [][]byte
	for _, author := range []string{suspect, north + ":a", suspect, north + ":b", suspect} {
		ids = append(ids, d.keeps(author, keeping{}))
	}
	for _, o := range []string{north, south} {
		d.Do(adminOf(o), rejectOf(ids[2]))
	}
	all := func(req *threatv1.HoldsRequest) (out []int) {
		t.Helper()
		for {
			page, err := d.queries().Holds(context.Background(), req)
			if err != nil {
				t.Fatal(err)
			}
			if len(page.Holds) > int(req.Limit) && req.Limit > 0 {
				t.Fatalf("a page of %d", len(page.Holds))
			}
			for _, h := range page.Holds {
				for i, id := range ids {
					if bytes.Equal(id, h.TxId) {
						out = append(out, i)
					}
				}
			}
			if req.PageToken = page.NextPageToken; req.PageToken == nil {
				return out
			}
		}
	}
	for limit := range uint32(6) {
		for _, c := range []struct {
			organisation string
			status       threatv1.HoldStatus
			want         []int
		}{
			{"", 0, []int{4, 3, 2, 1, 0}}, {house, 0, []int{4, 2, 0}}, {north, 0, []int{3, 1}}, {south, 0, nil},
			{"", held, []int{4, 3, 1, 0}}, {"", rejected, []int{2}}, {house, held, []int{4, 0}}, {house, rejected, []int{2}}, {"", expired, nil},
		} {
			got := all(&threatv1.HoldsRequest{Organisation: c.organisation, Status: c.status, Limit: limit})
			if len(got) != len(c.want) {
				t.Fatalf("%v: %v", c, got)
			}
			for i := range got {
				if got[i] != c.want[i] {
					t.Fatalf("%v: %v", c, got)
				}
			}
		}
	}
	first, err := d.queries().Holds(context.Background(), &threatv1.HoldsRequest{Organisation: house, Limit: 1})
	if err != nil {
		t.Fatal(err)
	}
	for _, req := range []*threatv1.HoldsRequest{
		{Limit: 501}, {PageToken: []byte{1}}, {Organisation: house, PageToken: []byte{1}},
		{Organisation: north, PageToken: first.NextPageToken}, {PageToken: first.NextPageToken},
	} {
		_, err := d.queries().Holds(context.Background(), req)
		wantError(t, err, ErrPage)
	}
	_, err = d.queries().Holds(context.Background(), &threatv1.HoldsRequest{Status: 99})
	wantError(t, err, ErrInvalid)
}
