//go:build linux

package node

import (
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"syscall"
	"testing"

	"github.com/chancery/chancery/consensus/alerttest"
)

// Something else fills the file system of the node's data, and is removed.
func TestAlertOfAFullDisk(t *testing.T) {
	home, _ := newHome(t)
	const size = 256 << 20
	elsewhere := t.TempDir()
	if err := os.CopyFS(elsewhere, os.DirFS(home.Data())); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", home.Data(), "tmpfs", 0, "size=256m"); err != nil {
		t.Skipf("no file system can be mounted here: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(home.Data(), syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	if err := os.CopyFS(home.Data(), os.DirFS(elsewhere)); err != nil {
		t.Fatal(err)
	}
	n := open(t, home)
	t.Cleanup(func() { _ = n.Stop() })
	if err := n.Start(); err != nil {
		t.Fatal(err)
	}
	free := func(text string) float64 {
		t.Helper()
		m := regexp.MustCompile(`(?m)^chancery_disk_free_bytes (\S+)$`).FindStringSubmatch(text)
		if m == nil {
			t.Fatal(text)
		}
		v, err := strconv.ParseFloat(m[1], 64)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	rec := alerttest.Record(t, "ChanceryDiskLow")
	if f := free(rec.Scrape(0, "node", n.TelemetryAddress())); f < size/2 {
		t.Errorf("%v bytes are free", f)
	}
	foreign := filepath.Join(home.Data(), "foreign")
	f, err := os.Create(foreign)
	if err != nil {
		t.Fatal(err)
	}
	var s syscall.Statfs_t
	if err := syscall.Statfs(home.Data(), &s); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Fallocate(int(f.Fd()), 0, 0, int64(s.Bavail)*s.Bsize-size/20); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if f := free(rec.Scrape(5, "node", n.TelemetryAddress())); f > size/10 {
		t.Errorf("%v bytes are free", f)
	}
	if err := os.Remove(foreign); err != nil {
		t.Fatal(err)
	}
	if f := free(rec.Scrape(15, "node", n.TelemetryAddress())); f < size/2 {
		t.Errorf("%v bytes are free", f)
	}
}
