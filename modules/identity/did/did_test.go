package did

import (
	"errors"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	long := "a" + strings.Repeat("b", 40)
	for _, s := range []string{
		Consortium, "did:chancery:mercy", "did:chancery:a1", "did:chancery:a-", "did:chancery:" + long,
		"did:chancery:mercy:scanner-7", "did:chancery:mercy:7", "did:chancery:" + long + ":" + strings.Repeat("z", 64),
	} {
		d, err := Parse(s)
		if err != nil {
			t.Errorf("%s: %v", s, err)
		}
		if d.String() != s {
			t.Errorf("%s comes back as %s", s, d)
		}
	}
	for _, s := range []string{
		"", "did", "did:chancery", "did:chancery:", "did:chancery:a", "did:chancery:1a", "did:chancery:-a", "did:chancery:Mercy",
		"did:chancery:mercy:", "did:chancery:mercy:a:b", "did:chancery:mercy:A", "did:chancery:mercy#k", "did:chancery:mercy?x",
		"did:chancery:mercy/x", "did:chancery:consortium:a", "did:web:mercy", " did:chancery:mercy", "did:chancery:mercy\n",
		"did:chancery:mercy:é", "did:chancery:" + long + "b", "did:chancery:mercy:" + strings.Repeat("z", 65), strings.Repeat("x", 1<<20),
	} {
		if d, err := Parse(s); !errors.Is(err, ErrDID) {
			t.Errorf("%.40q parses as %s: %v", s, d, err)
		} else if len(err.Error()) > 400 {
			t.Errorf("%.40q: the error has %d characters", s, len(err.Error()))
		}
	}
}

func TestFormsOfDID(t *testing.T) {
	for s, want := range map[string][4]any{
		Consortium:                   {true, false, false, Consortium},
		"did:chancery:mercy":         {false, true, false, "did:chancery:mercy"},
		"did:chancery:mercy:scanner": {false, false, true, "did:chancery:mercy"},
	} {
		d, err := Parse(s)
		if err != nil {
			t.Fatal(err)
		}
		if got := [4]any{d.IsConsortium(), d.IsOrganisation(), d.IsMember(), d.Organisation()}; got != want {
			t.Errorf("%s: %v, want %v", s, got, want)
		}
	}
	if (DID{}).IsOrganisation() {
		t.Error("the zero DID is an organisation")
	}
	if Member("mercy", "x") != "did:chancery:mercy:x" || Organisation("mercy") != "did:chancery:mercy" {
		t.Error("Member or Organisation writes another form")
	}
}

// law 1: the id of a person has room for no name with digits, hyphens or of another length.
func TestPersonIDs(t *testing.T) {
	for id, want := range map[string]bool{
		"abcdefghijklmnopqrstuvwxyz":  true,
		"234567aaaaaaaaaaaaaaaaaaaa":  true,
		"abcdefghijklmnopqrstuvwxy":   false,
		"abcdefghijklmnopqrstuvwxyza": false,
		"abcdefghijklmnopqrstuvwx-z":  false,
		"abcdefghijklmnopqrstuvwxy1":  false,
		"Abcdefghijklmnopqrstuvwxyz":  false,
		"":                            false,
	} {
		if IsPersonID(id) != want {
			t.Errorf("%q: %v", id, !want)
		}
	}
}

func TestParseURL(t *testing.T) {
	d, fragment, err := ParseURL("did:chancery:mercy:scanner#key-1")
	if err != nil || d.String() != "did:chancery:mercy:scanner" || fragment != "key-1" || URL(d.String(), fragment) != "did:chancery:mercy:scanner#key-1" {
		t.Errorf("%v %s %v", d, fragment, err)
	}
	for _, s := range []string{
		"", "#", "did:chancery:mercy", "did:chancery:mercy#", "did:chancery:mercy#a#b", "did:chancery:mercy#A", "did:chancery:m#a",
		"did:chancery:mercy#" + strings.Repeat("a", 65), "did:key:z#a", strings.Repeat("a", 1<<16) + "#a",
	} {
		if _, _, err := ParseURL(s); !errors.Is(err, ErrURL) && !errors.Is(err, ErrDID) {
			t.Errorf("%.40q: %v", s, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{Consortium, "did:chancery:mercy", "did:chancery:mercy:a#k", "did:chancery:consortium:a", "did:chancery:é", "#"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if d, err := Parse(s); err == nil {
			if d.String() != s || len(s) > MaxSize || strings.ContainsAny(s, "#/?% \n") {
				t.Errorf("%q parses as %q", s, d)
			}
			if again, err := Parse(d.Organisation()); err != nil || again.IsMember() {
				t.Errorf("%q: organisation %q: %v", s, d.Organisation(), err)
			}
			n := 0
			for _, is := range []bool{d.IsConsortium(), d.IsOrganisation(), d.IsMember()} {
				if is {
					n++
				}
			}
			if n != 1 {
				t.Errorf("%q is %d things", s, n)
			}
		}
		if d, fragment, err := ParseURL(s); err == nil && URL(d.String(), fragment) != s {
			t.Errorf("%q parses as %q and %q", s, d, fragment)
		}
	})
}
