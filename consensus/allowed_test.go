package consensus

import "testing"

// While a node fetches blocks its state may be from before its peers were bound, so the
// listed ones are let in; once it has caught up the state alone counts.
func TestListedPeersAreLetInWhileBlocksAreFetched(t *testing.T) {
	fetching := true
	a := &application{membership: everybody{}, fetching: func() bool { return fetching }}
	if a.allowed(nil, "stranger") {
		t.Error("a peer that is neither bound nor listed is let in")
	}
	a.listed = []string{"stranger"}
	if !a.allowed(nil, "stranger") || !a.allowed(nil, "member") {
		t.Error("a listed peer is refused while blocks are fetched")
	}
	fetching = false
	if a.allowed(nil, "stranger") || !a.allowed(nil, "member") {
		t.Error("the list counts although the node has caught up")
	}
}
