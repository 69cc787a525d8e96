package governance

import (
	"errors"
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain"
	chainv1 "github.com/chancery/chancery/proto/chancery/chain/v1"
	governancev1 "github.com/chancery/chancery/proto/chancery/governance/v1"
	identityv1 "github.com/chancery/chancery/proto/chancery/identity/v1"
)

// An upgrade is planned and taken back by votes of its kind.
func TestAnUpgradeIsDecidedOn(t *testing.T) {
	h := newHall(t)
	plan := &chainv1.ScheduleUpgrade{Name: "autumn", Height: h.Height() + 10_000, Version: 2, ChecksumsHash: make([]byte, 32)}
	decide := func(m proto.Message) {
		t.Helper()
		id := h.made(north, m)
		if p := h.get(id); !slices.Equal(p.Kinds, []governancev1.Kind{kindUpgrade}) {
			t.Fatalf("kinds %v", p.Kinds)
		}
		h.votes(id, yes, north, south, east)
		h.wait(minute)
		h.is(id, executed)
	}
	decide(plan)
	if p := h.App().Plan(h.View()); p == nil || p.Name != plan.Name || p.Height != plan.Height || p.ScheduledHeight > h.Height() {
		t.Fatalf("%v", p)
	}
	h.Fails(chain.ErrPlanned, north, h.propose(&chainv1.ScheduleUpgrade{Name: "winter", Height: plan.Height, Version: 2, ChecksumsHash: plan.ChecksumsHash}))
	decide(&chainv1.CancelUpgrade{Name: plan.Name})
	if p := h.App().Plan(h.View()); p != nil {
		t.Fatalf("%v", p)
	}
}

// SPEC U6: what a later version brings is no message of a proposal either. It is refused at
// the door, as by a program that does not know it.
func TestMessagesOfALaterVersionAreNotProposed(t *testing.T) {
	h := newHall(t)
	d, err := h.App().Decode(h.Tx(north, []proto.Message{h.propose(group("a"), &identityv1.UnbindNode{NodeId: "x"})}))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.App().Next().Deliver(d); !errors.Is(err, chain.ErrLaterVersion) {
		t.Fatalf("at the door: %v", err)
	}
}
