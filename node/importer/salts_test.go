package importer_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/chancery/chancery/node/importer"
)

// A last line without its end, as an editor or an interruption leaves it, is kept when
// it is whole.
func TestSaltFileWithoutLastNewline(t *testing.T) {
	path := filepath.Join(t.TempDir(), "salts")
	s, err := importer.OpenSaltFile(path)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string][]byte{}
	for _, who := range []string{"Patient/1", "Patient/2", "Patient/3"} {
		if who == "Patient/3" { // the end of the line of 2 is gone
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			raw, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.Truncate(path, int64(len(raw)-1)); err != nil {
				t.Fatal(err)
			}
			if s, err = importer.OpenSaltFile(path); err != nil {
				t.Fatal(err)
			}
		}
		if want[who], err = s.Salt("scope", who); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	read, err := importer.ReadSaltFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for who, salt := range want {
		if got, _ := read.Salt("scope", who); !bytes.Equal(got, salt) {
			t.Errorf("the salt of %s is lost", who)
		}
	}
	raw, err := os.ReadFile(path)
	if err != nil || bytes.Count(raw, []byte("\n")) != 3 {
		t.Errorf("not three lines: %q, %v", raw, err)
	}
}

// A salt survives, one process has the file at a time, others may not read it, and
// a line that an interruption cut off is no obstacle.
func TestSaltFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "salts")
	open := func() *importer.SaltFile {
		t.Helper()
		s, err := importer.OpenSaltFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	s := open()
	first, err := s.Salt("scope", "Patient/1")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := importer.OpenSaltFile(path); !errors.Is(err, importer.ErrSaltFile) {
		t.Errorf("opened twice: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.WriteString(`{"scope":"scope","identif`)
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	s = open()
	again, _ := s.Salt("scope", "Patient/1")
	other, _ := s.Salt("scope", "Patient/2")
	elsewhere, _ := s.Salt("elsewhere", "Patient/1")
	if !bytes.Equal(first, again) || bytes.Equal(first, other) || bytes.Equal(first, elsewhere) {
		t.Error("salts are lost, or shared")
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	read, err := importer.ReadSaltFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if kept, _ := read.Salt("scope", "Patient/2"); !bytes.Equal(kept, other) {
		t.Error("what followed the cut-off line is lost")
	}
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := importer.ReadSaltFile(path); !errors.Is(err, importer.ErrSaltFile) {
		t.Errorf("a file that others can read: %v", err)
	}
}
