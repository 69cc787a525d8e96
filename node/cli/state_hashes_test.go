package cli

import (
	"strings"
	"testing"

	"github.com/chancery/chancery/consensus/divergence"
)

func TestComparedStates(t *testing.T) {
	one := divergence.Module{Name: "consent", LeftKeys: 3, RightKeys: 3, Left: "aa", Right: "aa"}
	other := divergence.Module{Name: "vault", LeftKeys: 5, RightKeys: 4, Left: "bb", Right: "cc"}
	first := &divergence.Difference{Module: "vault", Collection: "vault/keys", Key: "7", RawKey: "5001", Left: "dd", Right: divergence.Absent}
	for name, c := range map[string]struct {
		of       divergence.Comparison
		exit     int
		out, err string
	}{
		"equal":       {divergence.Comparison{LeftRoot: "00", RightRoot: "00", Modules: []divergence.Module{one}}, exitDone, "equal", ""},
		"a key":       {divergence.Comparison{LeftRoot: "00", RightRoot: "01", Modules: []divergence.Module{one, other}, First: first}, exitRefused, "vault/keys 7", "differ in vault, first in 7 of vault/keys"},
		"their shape": {divergence.Comparison{LeftRoot: "00", RightRoot: "01", Modules: []divergence.Module{one}}, exitRefused, "equal", "the trees differ in their shape"},
	} {
		for _, form := range []string{outputText, outputJSON} {
			var out, errs strings.Builder
			a := &app{Environment: Environment{Out: &out, Err: &errs}, output: form}
			err := a.printComparison(9, &c.of)
			if code(err) != c.exit || err != nil && !strings.Contains(err.Error(), c.err) {
				t.Errorf("%s: %v", name, err)
			}
			want := c.out
			if form == outputJSON {
				want = `"left_root":`
			}
			if !strings.Contains(out.String(), want) {
				t.Errorf("%s as %s: %s", name, form, out.String())
			}
		}
	}
}

// A node whose state has parted ends with a code of its own, for supervisors.
func TestAPartedStateHasItsExitCode(t *testing.T) {
	if got := code(divergence.ErrParted.With("height 7")); got != exitParted {
		t.Errorf("exit code %d", got)
	}
}
