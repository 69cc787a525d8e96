package node

import (
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/chancery/chancery/consensus/alerttest"
	"github.com/chancery/chancery/node/config"
)

// A certificate of the door that ends raises an alert at each threshold, until another is in
// its place.
func TestAlertsOfACertificateThatEnds(t *testing.T) {
	const day = 24 * time.Hour
	home, a, _ := secured(t, 90*day)
	n := open(t, home)
	t.Cleanup(func() { _ = n.Stop() })
	if err := n.Start(); err != nil {
		t.Fatal(err)
	}
	form := regexp.MustCompile(`(?m)^chancery_node_certificate_expires_seconds{.*use="server"} (\S+)$`)
	for _, c := range []struct {
		alert string
		life  time.Duration
	}{{"ChanceryCertificateEnds", 29 * day}, {"ChanceryCertificateEndsSoon", 6 * day}, {"ChanceryCertificateEndsToday", 23 * time.Hour}} {
		rec := alerttest.Record(t, c.alert)
		for i, life := range []time.Duration{90 * day, c.life, 90 * day} {
			serverPair(t, home, a, life)
			n.secrets.reload()
			text := rec.Scrape(5*i, "node", n.TelemetryAddress())
			m := form.FindStringSubmatch(text)
			if m == nil {
				t.Fatal(text)
			}
			at, err := strconv.ParseFloat(m[1], 64)
			if left := time.Until(time.Unix(int64(at), 0)); err != nil || left > life || left < life-time.Hour {
				t.Errorf("%s: it ends in %v, want %v (%v)", c.alert, left, life, err)
			}
		}
	}
}

// A foreign file takes a node's data to 91 % and then to 96 % of their budget, and is removed.
func TestAlertsOfADiskBudget(t *testing.T) {
	home, c := newHome(t)
	c.Pruning.Mode, c.Pruning.DiskBytes = config.PruningPruned, 1<<30
	if err := config.Write(home, c); err != nil {
		t.Fatal(err)
	}
	n := open(t, home)
	t.Cleanup(func() { _ = n.Stop() })
	if err := n.Start(); err != nil {
		t.Fatal(err)
	}
	foreign := filepath.Join(home.Data(), "foreign")
	level := func(rec *alerttest.Recording, minute int, want string) {
		t.Helper()
		form := regexp.MustCompile(`(?m)^chancery_disk_budget_level (\S+)$`)
		for end := time.Now().Add(20 * time.Second); ; time.Sleep(100 * time.Millisecond) {
			m := form.FindStringSubmatch(alerttest.Ask(n.TelemetryAddress()))
			if m != nil && m[1] == want {
				break
			}
			if time.Now().After(end) {
				t.Fatalf("the level is %v, want %s", m, want)
			}
		}
		rec.Scrape(minute, "node", n.TelemetryAddress())
	}
	for _, x := range []struct {
		alert, level string
		hundredths   int64
	}{{"ChanceryDiskBudgetNear", "2", 91}, {"ChanceryDiskBudgetReached", "3", 96}} {
		rec := alerttest.Record(t, x.alert)
		level(rec, 0, "0")
		// It has the size, and takes no room.
		f, err := os.Create(foreign)
		if err != nil {
			t.Fatal(err)
		}
		size := c.Pruning.DiskBytes/100*x.hundredths - bytesUnder(home.Data())
		if err := errors.Join(f.Truncate(size), f.Close()); err != nil {
			t.Fatal(err)
		}
		level(rec, 5, x.level)
		if err := os.Remove(foreign); err != nil {
			t.Fatal(err)
		}
		level(rec, 15, "0")
	}
}
