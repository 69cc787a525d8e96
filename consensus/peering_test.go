package consensus

import (
	"strings"
	"testing"
	"time"
)

func TestListedPeers(t *testing.T) {
	id := strings.Repeat("a", 40)
	p, err := newPeering(nil, id+"@validator-1:26656, "+id+"@[::1]:1,")
	if err != nil || len(p.peers) != 2 {
		t.Fatalf("%+v, %v", p, err)
	}
	if l := p.peers[0]; string(l.id) != id || l.host != "validator-1" || l.port != 26656 {
		t.Errorf("%+v", l)
	}
	if l := p.peers[1]; l.host != "::1" || l.port != 1 {
		t.Errorf("%+v", l)
	}
	for _, bad := range []string{"validator-1:26656", id + "@validator-1", id + "@validator-1:66000"} {
		if _, err := newPeering(nil, bad); err == nil {
			t.Errorf("%q is read", bad)
		}
	}
}

// Of two nodes that miss each other, one dials after firstDial and the other only after
// secondDial; both then at intervals, until they are connected.
func TestOneOfTwoDialsFirst(t *testing.T) {
	at := time.Unix(1000, 0)
	now = func() time.Time { return at }
	defer func() { now = time.Now }()
	low, high := &listed{id: "aa"}, &listed{id: "bb"} // the other's entry at bb, and at aa
	first := map[string]time.Duration{}
	for step := time.Duration(0); step < 20*time.Second; step += 500 * time.Millisecond {
		at = time.Unix(1000, 0).Add(step)
		for who, dials := range map[string]bool{"aa": high.due(false, "aa"), "bb": low.due(false, "bb")} {
			if _, ok := first[who]; dials && !ok {
				first[who] = step
			}
		}
	}
	if first["aa"] != firstDial || first["bb"] != secondDial {
		t.Errorf("they dial first after %v", first)
	}
	if high.due(true, "aa") || !high.next.IsZero() {
		t.Error("a connected peer is dialled")
	}
}
