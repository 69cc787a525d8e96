package importer_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/chancery/chancery/node/importer"
)

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
