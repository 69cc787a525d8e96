package bench

import (
	"errors"
	"testing"

	"github.com/chancery/chancery/chain/tx"
	consentv1 "github.com/chancery/chancery/proto/chancery/consent/v1"
)

func crew(t *testing.T) []Author {
	t.Helper()
	var teams [][]Author
	for _, organisation := range []string{"did:chancery:a", "did:chancery:b"} {
		clerks, err := NewClerks(organisation, 3)
		if err != nil {
			t.Fatal(err)
		}
		var team []Author
		for _, k := range clerks {
			team = append(team, k.Author)
		}
		teams = append(teams, team)
	}
	return InTurn(teams)
}

// Every transaction decodes, is new, and comes from the authors in turn; the mix is what
// it says.
func TestWorkloadsAreNewAndInTurn(t *testing.T) {
	t.Parallel()
	authors := crew(t)
	for _, kind := range append([]string{Giving}, Workloads...) {
		w, err := NewWork("chain", kind, authors, 3)
		if err != nil {
			t.Fatal(err)
		}
		seen := make(map[ID]bool)
		kinds := make(map[string]int)
		by := make(map[string]int)
		for range 100 {
			x, err := w.Next()
			if err != nil {
				t.Fatal(err)
			}
			d, err := tx.Decode(x.Raw)
			if err != nil {
				t.Fatalf("%s: %v", kind, err)
			}
			if seen[x.ID] || d.ID != x.ID || len(d.Messages) != 3 || x.Messages != 3 {
				t.Errorf("%s: %d messages, id %x", kind, len(d.Messages), x.ID)
			}
			seen[x.ID] = true
			by[d.Body.Author]++
			kinds[string(d.Messages[0].ProtoReflect().Descriptor().Parent().FullName())]++
		}
		if len(by) != len(authors) {
			t.Errorf("%s: %d of %d authors wrote", kind, len(by), len(authors))
		}
		if kind == Mixed && (kinds["chancery.consent.v1"] != 70 || kinds["chancery.access.v1"] != 20 || kinds["chancery.provenance.v1"] != 10) {
			t.Errorf("the mix is %v", kinds)
		}
	}
}

func TestATenthOfTheConsentsIsWithdrawn(t *testing.T) {
	t.Parallel()
	w, err := NewWork("chain", Consent, crew(t), 2)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for range 100 {
		x, err := w.Next()
		if err != nil {
			t.Fatal(err)
		}
		if x.Then == nil {
			continue
		}
		n++
		d, err := tx.Decode(x.Then.Raw)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range d.Messages {
			if _, ok := m.(*consentv1.Withdraw); !ok || len(d.Messages) != 2 {
				t.Errorf("%T follows", m)
			}
		}
	}
	if n != 10 {
		t.Errorf("%d of 100 are withdrawn", n)
	}
}

func TestNobodyWritesNothing(t *testing.T) {
	t.Parallel()
	if _, err := NewWork("chain", Consent, nil, 1); !errors.Is(err, ErrNobody) {
		t.Error(err)
	}
	if _, err := NewWork("chain", "nonsense", crew(t), 1); err == nil {
		t.Error("a workload that there is not is taken")
	}
}
