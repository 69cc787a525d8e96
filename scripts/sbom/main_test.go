package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/CycloneDX/cyclonedx-go"
)

// The document lists the modules that go version -m lists, each with a hash and a licence.
func TestTheBillListsEveryModule(t *testing.T) {
	// This test's own binary is one with modules in it.
	own, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	listsEveryModule(t, own, 2)
}

// So does that of the program itself.
func TestTheProgramsBillListsEveryModule(t *testing.T) {
	binary := os.Getenv("CHANCERY_BIN")
	if binary == "" {
		t.Skip("looks at the built binary, which CHANCERY_BIN names; 'make e2e' does")
	}
	listsEveryModule(t, binary, 100)
}

func listsEveryModule(t *testing.T, binary string, least int) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "bom.json")
	if err := run(binary, path, false); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b := new(cyclonedx.BOM)
	if err := cyclonedx.NewBOMDecoder(bytes.NewReader(raw), cyclonedx.BOMFileFormatJSON).Decode(b); err != nil {
		t.Fatal(err)
	}
	listed := make(map[string]cyclonedx.Component)
	for _, c := range *b.Components {
		listed[c.Name+" "+c.Version] = c
	}
	out, err := exec.Command("go", "version", "-m", binary).Output()
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for line := range strings.Lines(string(out)) {
		f := strings.Fields(line)
		if len(f) < 4 || f[0] != "dep" {
			continue
		}
		n++
		c, ok := listed[f[1]+" "+f[2]]
		switch {
		case !ok:
			t.Errorf("%s %s is not listed", f[1], f[2])
		case c.Hashes == nil || len((*c.Hashes)[0].Value) != 64:
			t.Errorf("%s has no hash", f[1])
		case c.Licenses == nil:
			t.Errorf("%s has no licence", f[1])
		}
	}
	if n < least || len(listed) != n+1 { // and the standard library
		t.Errorf("%d modules are in the binary, %d in the bill", n, len(listed))
	}
	again := filepath.Join(t.TempDir(), "again.json")
	if err := run(binary, again, false); err != nil {
		t.Fatal(err)
	}
	if second, err := os.ReadFile(again); err != nil || !bytes.Equal(raw, second) {
		t.Errorf("the bill is another the second time: %v", err)
	}
}

func TestLicencesThatAreRefused(t *testing.T) {
	got := refused([]module{
		{path: "a", version: "v1", licences: []string{"MIT"}},
		{path: "b", version: "v1", licences: []string{"MIT", "AGPL-3.0"}},
		{path: "c", version: "v1"},
	})
	if len(got) != 2 || !strings.Contains(got[0], "AGPL-3.0") || !strings.Contains(got[1], "no licence") {
		t.Errorf("%q", got)
	}
}

// Two builds of a commit on different paths, one of them with an empty build cache, are equal byte for byte.
func TestBuildsAreReproducible(t *testing.T) {
	if os.Getenv("CHANCERY_LONG") != "1" {
		t.Skip("builds the program twice, once without a cache; 'make test-long' or 'make reproducible' does")
	}
	out, err := exec.Command("../reproducible.sh").CombinedOutput()
	if err != nil || !strings.Contains(string(out), "equal byte for byte") {
		t.Fatalf("%v: %s", err, out)
	}
	t.Log(string(out))
}
