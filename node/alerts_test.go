package node

import (
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/chancery/chancery/consensus/alerttest"
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
