package webhook

import (
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/chancery/chancery/consensus/alerttest"
)

// An endpoint that answers 500 raises its alert, and is well when it answers again.
func TestAlertOfAFailingEndpoint(t *testing.T) {
	w := newWorld(t)
	var well atomic.Bool
	r := receive(t, func(_ int, rw http.ResponseWriter, _ *http.Request) {
		if !well.Load() {
			rw.WriteHeader(http.StatusInternalServerError)
		}
	})
	registry := prometheus.NewRegistry()
	w.metrics = registry
	rec := alerttest.Record(t, "ChanceryWebhookFailing")
	w.start(w.endpoint("siem", r.URL))
	rec.Gather(0, "node", registry)
	w.chain.add(t, 1)
	eventually(t, "five requests fail", func() bool { return len(r.requests()) > 5 })
	if text := rec.Gather(5, "node", registry); !strings.Contains(text, `outcome="failed"`) || strings.Contains(text, `outcome="delivered"`) {
		t.Error(text)
	}
	well.Store(true)
	eventually(t, "it is delivered", func() bool {
		return strings.Contains(rec.Gather(10, "node", registry), `chancery_webhook_events_total{endpoint="siem",outcome="delivered"} 1`)
	})
}
