package webhook

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	standard "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"google.golang.org/protobuf/proto"

	chainv1 "github.com/chancery/chancery/proto/chancery/chain/v1"
)

const (
	secretA = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw" // gitleaks:allow: the libraries' test vector
	secretB = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
	wanted  = "chancery.chain.v1.ParamsChanged"
)

// chain is blocks in memory.
type chain struct {
	mu      sync.Mutex
	blocks  map[int64]*chainv1.BlockRecord
	head    int64
	changed chan struct{}
}

func newChain() *chain {
	return &chain{blocks: map[int64]*chainv1.BlockRecord{}, changed: make(chan struct{})}
}

func (c *chain) Head() int64 { c.mu.Lock(); defer c.mu.Unlock(); return c.head }

func (c *chain) Oldest() (int64, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for h := int64(1); h <= c.head; h++ {
		if c.blocks[h] != nil {
			return h, nil
		}
	}
	return 0, nil
}

func (c *chain) Wait(ctx context.Context, height int64) error {
	for {
		c.mu.Lock()
		head, changed := c.head, c.changed
		c.mu.Unlock()
		if head >= height {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
		}
	}
}

func (c *chain) Block(height int64) (*chainv1.BlockRecord, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if b := c.blocks[height]; b != nil {
		return b, nil
	}
	return nil, errors.New("no record")
}

// add commits a block with an event of another type and so many wanted ones.
func (c *chain) add(t *testing.T, events int) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.head++
	b := &chainv1.BlockRecord{Height: c.head, Time: 1_800_000_000_000 + c.head}
	tx := &chainv1.TxResult{TxId: bytes.Repeat([]byte{byte(c.head)}, 32), Events: []*chainv1.Event{{Type: "chancery.chain.v1.Head"}}}
	for i := range events {
		raw, err := proto.Marshal(&chainv1.ParamsChanged{Params: &chainv1.Params{MaxTxBytes: uint64(c.head*100) + uint64(i)}})
		if err != nil {
			t.Fatal(err)
		}
		e := &chainv1.Event{Type: wanted, Value: raw}
		if i == events-1 && events > 1 {
			b.Events = append(b.Events, e)
		} else {
			tx.Events = append(tx.Events, e)
		}
	}
	b.Txs = append(b.Txs, tx)
	c.blocks[c.head] = b
	close(c.changed)
	c.changed = make(chan struct{})
}

// request is what a receiver got.
type request struct {
	id   string
	head http.Header
	body message
	raw  []byte
}

// receiver is an endpoint's server.
type receiver struct {
	*httptest.Server
	mu     sync.Mutex
	got    []request
	answer func(n int, w http.ResponseWriter, r *http.Request) // n from 0
}

func receive(t *testing.T, answer func(n int, w http.ResponseWriter, r *http.Request)) *receiver {
	r := &receiver{answer: answer}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		raw, _ := io.ReadAll(req.Body)
		x := request{id: req.Header.Get(standard.HeaderWebhookID), head: req.Header.Clone(), raw: raw}
		if err := json.Unmarshal(raw, &x.body); err != nil {
			t.Errorf("%v: %s", err, raw)
		}
		r.mu.Lock()
		n := len(r.got)
		r.got = append(r.got, x)
		r.mu.Unlock()
		if r.answer != nil {
			r.answer(n, w, req)
		}
	}))
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) requests() []request {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.got)
}

type logs struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// world is what stays when a dispatcher is restarted.
type world struct {
	t     *testing.T
	chain *chain
	home  string
	out   *logs
	log   *slog.Logger

	metrics prometheus.Registerer // nil: nowhere
}

func newWorld(t *testing.T) *world {
	w := &world{t: t, chain: newChain(), home: t.TempDir(), out: new(logs)}
	w.log = slog.New(slog.NewTextHandler(w.out, &slog.HandlerOptions{Level: slog.LevelDebug}))
	w.secrets(secretA)
	return w
}

func (w *world) secrets(list ...string) {
	w.t.Helper()
	if err := os.WriteFile(filepath.Join(w.home, "secret"), []byte("# ours\n"+strings.Join(list, "\n")+"\n"), 0o600); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) endpoint(name, url string) Endpoint {
	e := DefaultEndpoint()
	e.Name, e.URL, e.SecretFiles, e.Timeout = name, url, []string{"secret"}, 5*time.Second
	return e
}

func (w *world) new(endpoints ...Endpoint) (*Dispatcher, error) {
	d, err := New(Options{Endpoints: endpoints}, Deps{
		Home: w.home, Data: filepath.Join(w.home, "data"), ChainID: "test-1", Blocks: w.chain, DefaultTypes: []string{wanted}, Version: "0.0.0", Metrics: w.metrics, Log: w.log,
	})
	if err == nil {
		d.pauses.first, d.pauses.longest = 4*time.Millisecond, 40*time.Millisecond
	}
	return d, err
}

// start runs a dispatcher and returns what stops it.
func (w *world) start(endpoints ...Endpoint) (*Dispatcher, func()) {
	w.t.Helper()
	d, err := w.new(endpoints...)
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	over := make(chan error, 1)
	go func() { over <- d.Run(ctx) }()
	stop := sync.OnceFunc(func() {
		cancel()
		if err := <-over; err != nil {
			w.t.Error(err)
		}
	})
	w.t.Cleanup(stop)
	return d, stop
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("never happened: %s", what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

func places(list []request) string {
	var out []string
	for _, r := range list {
		out = append(out, fmt.Sprintf("%d/%d", r.body.Height, r.body.Index))
	}
	return strings.Join(out, " ")
}

// The vector is the one that the libraries of Standard Webhooks test themselves with.
func TestSignaturesAreThoseOfStandardWebhooks(t *testing.T) {
	a, err := ParseSecret(secretA)
	if err != nil {
		t.Fatal(err)
	}
	h := http.Header{}
	body := []byte(`{"test": 2432232314}`)
	if err := sign(h, []Secret{a}, "msg_p5jXN8AQM9LWM0D4loKWxJek", time.Unix(1614265330, 0), body); err != nil {
		t.Fatal(err)
	}
	if h.Get("webhook-signature") != "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=" || h.Get("webhook-timestamp") != "1614265330" || h.Get("webhook-id") != "msg_p5jXN8AQM9LWM0D4loKWxJek" {
		t.Errorf("%v", h)
	}
	if err := Verify(h, body, []Secret{a}, true); err != nil {
		t.Error(err)
	}
	if err := Verify(h, body, []Secret{a}, false); err == nil {
		t.Error("an old request was taken for a new one")
	}
	if err := Verify(h, []byte(`{"test": 2432232315}`), []Secret{a}, true); err == nil {
		t.Error("another body verifies")
	}
	b, err := ParseSecret(secretB)
	if err != nil {
		t.Fatal(err)
	}
	if err := Verify(h, body, []Secret{b}, true); err == nil {
		t.Error("another secret verifies")
	}
	if err := Verify(h, body, nil, true); err == nil {
		t.Error("no secret verifies")
	}
	// While a secret is rotated, receivers with either one are served.
	if err := sign(h, []Secret{b, a}, "msg_1", time.Now(), body); err != nil {
		t.Fatal(err)
	}
	for _, s := range []Secret{a, b} {
		if err := Verify(h, body, []Secret{s}, false); err != nil {
			t.Error(err)
		}
	}
	for _, bad := range []string{"", "whsec_", "whsec_MfKQ", "not base64!", "whsec_" + strings.Repeat("AAAA", 22)} {
		if _, err := ParseSecret(bad); err == nil || bad != "" && strings.Contains(err.Error(), strings.TrimPrefix(bad, "whsec_")) && len(bad) > 6 {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestEventsAreDeliveredInOrderAndSigned(t *testing.T) {
	w := newWorld(t)
	w.chain.add(t, 1) // before the endpoint is new
	r := receive(t, nil)
	w.secrets(secretA, secretB)
	_, stop := w.start(w.endpoint("siem", r.URL+"/hook?token=in-the-url"))
	for _, n := range []int{2, 0, 3} {
		w.chain.add(t, n)
	}
	eventually(t, "five events", func() bool { return len(r.requests()) == 5 })
	stop()
	got := r.requests()
	if places(got) != "2/1 2/2 4/1 4/2 4/3" {
		t.Error(places(got))
	}
	x := got[0]
	if x.body.Type != wanted || x.body.Chain != "test-1" || x.body.Time != 1_800_000_000_002 || x.body.Timestamp != "2027-01-15T08:00:00.002Z" ||
		x.body.TxID != strings.Repeat("02", 32) || !strings.Contains(string(x.body.Event), `"max_tx_bytes":"200"`) || got[1].body.TxID != "" {
		t.Errorf("%s", x.raw)
	}
	if x.head.Get("Content-Type") != "application/json" || len(x.id) != 36 || strings.Contains(x.id, ".") {
		t.Errorf("%v", x.head)
	}
	for _, text := range []string{secretA, secretB} {
		hook, err := standard.NewWebhook(text) // as a receiver has it
		if err != nil {
			t.Fatal(err)
		}
		if err := hook.Verify(x.raw, x.head); err != nil {
			t.Error(err)
		}
	}
}

func TestAFailedDeliveryIsTriedAgainWithTheSameIdAndBody(t *testing.T) {
	w := newWorld(t)
	r := receive(t, func(n int, rw http.ResponseWriter, req *http.Request) {
		switch n {
		case 0:
			rw.WriteHeader(http.StatusInternalServerError)
		case 1:
			rw.Header().Set("Retry-After", "1")
			rw.WriteHeader(http.StatusTooManyRequests)
		case 2:
			http.Redirect(rw, req, "/elsewhere", http.StatusPermanentRedirect)
		case 3:
			panic(http.ErrAbortHandler) // the connection breaks
		}
	})
	w.start(w.endpoint("siem", r.URL))
	began := time.Now()
	w.chain.add(t, 1)
	w.chain.add(t, 1)
	eventually(t, "both events", func() bool { return len(r.requests()) == 6 })
	got := r.requests()
	if places(got) != "1/1 1/1 1/1 1/1 1/1 2/1" {
		t.Error(places(got))
	}
	for _, x := range got[1:5] {
		if x.id != got[0].id || !bytes.Equal(x.raw, got[0].raw) {
			t.Errorf("%s became %s", got[0].id, x.id)
		}
	}
	if got[5].id == got[0].id {
		t.Error("two events have one id")
	}
	if time.Since(began) < time.Second {
		t.Error("Retry-After was not honoured")
	}
	if !strings.Contains(w.out.String(), "redirects are not followed") {
		t.Error("the redirect is not told")
	}
}

func TestARestartLosesNothingAndADuplicateHasTheSameId(t *testing.T) {
	w := newWorld(t)
	up := make(chan struct{})
	r := receive(t, func(n int, rw http.ResponseWriter, _ *http.Request) {
		select {
		case <-up:
		default:
			if n >= 2 {
				rw.WriteHeader(http.StatusServiceUnavailable)
			}
		}
	})
	e := w.endpoint("siem", r.URL)
	_, stop := w.start(e)
	w.chain.add(t, 3)
	w.chain.add(t, 1)
	eventually(t, "the third event fails", func() bool { return len(r.requests()) >= 4 })
	stop()
	w.chain.add(t, 2) // while it is down
	before := len(r.requests())
	close(up)
	_, stop = w.start(e)
	eventually(t, "the rest", func() bool { return len(r.requests()) == before+4 })
	stop()
	var ids []string
	for _, x := range r.requests() {
		if !slices.Contains(ids, x.id) {
			ids = append(ids, x.id)
		}
	}
	if got := places(r.requests()[before:]); got != "1/3 2/1 3/1 3/2" || len(ids) != 6 {
		t.Errorf("%s, %d ids", got, len(ids))
	}

	// A crash after the answer and before the cursor was saved: the event comes again.
	_, path := place(filepath.Join(w.home, "data"), r.URL)
	c, _, err := loadCursor(path, "test-1", func() string { id, _ := place("", r.URL); return id }())
	if err != nil {
		t.Fatal(err)
	}
	c.Height, c.Index = 3, 2
	if err := c.save(path); err != nil {
		t.Fatal(err)
	}
	_, stop = w.start(e)
	eventually(t, "the duplicate", func() bool { return len(r.requests()) == before+5 })
	stop()
	all := r.requests()
	if all[before+4].id != all[before+3].id {
		t.Error("the duplicate has another id")
	}
}

func TestASlowEndpointBlocksNoOtherAndStoppingIsGraceful(t *testing.T) {
	w := newWorld(t)
	release, entered := make(chan struct{}), make(chan struct{}, 1)
	slow := receive(t, func(n int, _ http.ResponseWriter, _ *http.Request) {
		if n == 0 {
			entered <- struct{}{}
			<-release
		}
	})
	fast := receive(t, nil)
	es, ef := w.endpoint("slow", slow.URL), w.endpoint("fast", fast.URL)
	_, stop := w.start(es, ef)
	for range 20 {
		w.chain.add(t, 1)
	}
	eventually(t, "the fast one has all", func() bool { return len(fast.requests()) == 20 })
	<-entered
	go func() {
		time.Sleep(50 * time.Millisecond)
		close(release)
	}()
	stop() // lets the request under way finish
	if n := len(slow.requests()); n != 1 {
		t.Errorf("the slow one had %d requests", n)
	}
	_, stop = w.start(es, ef)
	eventually(t, "the slow one has all", func() bool { return len(slow.requests()) == 20 })
	stop()
	if places(slow.requests()) != places(fast.requests()) {
		t.Errorf("%s", places(slow.requests())) // the finished request was not repeated
	}
}

func TestGoneDisablesUntilTheNextStart(t *testing.T) {
	w := newWorld(t)
	r := receive(t, func(n int, rw http.ResponseWriter, _ *http.Request) {
		if n == 1 {
			rw.WriteHeader(http.StatusGone)
		}
	})
	_, stop := w.start(w.endpoint("siem", r.URL))
	for range 4 {
		w.chain.add(t, 1)
	}
	eventually(t, "it says so", func() bool { return strings.Contains(w.out.String(), "410 Gone") })
	stop()
	if n := len(r.requests()); n != 2 {
		t.Errorf("%d requests", n)
	}
	w.start(w.endpoint("siem", r.URL))
	eventually(t, "the rest", func() bool { return len(r.requests()) == 5 })
	if got := places(r.requests()); got != "1/1 2/1 2/1 3/1 4/1" {
		t.Error(got)
	}
}

func TestAnEventIsGivenUpLoudly(t *testing.T) {
	w := newWorld(t)
	r := receive(t, func(n int, rw http.ResponseWriter, _ *http.Request) {
		if n < 3 {
			rw.WriteHeader(http.StatusBadRequest)
		}
	})
	e := w.endpoint("siem", r.URL)
	e.MaxAttempts = 3
	w.start(e)
	w.chain.add(t, 1)
	w.chain.add(t, 1)
	eventually(t, "the second event", func() bool { return len(r.requests()) == 4 })
	if got := places(r.requests()); got != "1/1 1/1 1/1 2/1" || !strings.Contains(w.out.String(), "given up") {
		t.Error(got, w.out)
	}
}

func TestRecordsThatAreGoneAreToldAsLost(t *testing.T) {
	w := newWorld(t)
	r := receive(t, nil)
	e := w.endpoint("siem", r.URL)
	_, stop := w.start(e)
	stop()
	for range 5 {
		w.chain.add(t, 1)
	}
	for h := range int64(3) {
		delete(w.chain.blocks, h+1)
	}
	w.start(e)
	eventually(t, "what is left", func() bool { return len(r.requests()) == 2 })
	if !strings.Contains(w.out.String(), "events are lost") {
		t.Error(w.out)
	}
}

func TestSecretsAndURLsAreInNoLogAndNoError(t *testing.T) {
	w := newWorld(t)
	w.secrets(secretA, secretB)
	closed := receive(t, nil)
	url := closed.URL + "/services/T0000/url-secret?token=url-token"
	closed.Close() // so that requests fail with errors of net/http
	failing := receive(t, func(_ int, rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(http.StatusBadGateway) })
	a, b := w.endpoint("away", url), w.endpoint("failing", failing.URL+"/url-secret")
	t.Setenv("WEBHOOK_TEST_SECRET", secretB)
	b.SecretEnv = []string{"WEBHOOK_TEST_SECRET"}
	a.MaxAttempts, b.MaxAttempts = 3, 3
	d, stop := w.start(a, b)
	w.chain.add(t, 1)
	eventually(t, "both are given up", func() bool { return strings.Count(w.out.String(), "given up") == 2 })
	secrets, err := b.secrets(w.home, os.LookupEnv)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := json.Marshal(secrets)
	if err != nil {
		t.Fatal(err)
	}
	w.log.Info("all of it", "secrets", secrets, "secret", secrets[0], "json", string(raw), "text", fmt.Sprintf("%v %+v %#v %s %x %q", secrets, secrets[0], secrets[0], secrets[0], secrets[0], secrets[0]))
	stop()
	_ = d
	for _, bad := range []string{"whsec_short", "WHSEC"} {
		t.Setenv("WEBHOOK_TEST_SECRET", bad)
		if _, err := w.new(b); err == nil {
			t.Error("a bad secret was taken")
		} else {
			w.log.Info("refused", "error", err)
		}
	}
	b.URL = "https://user:url-secret@x.example/"
	w.log.Info("refused", "error", Options{Endpoints: []Endpoint{b}}.Check())
	b.SecretEnv = []string{secretA}
	w.log.Info("refused", "error", b.Check())
	text := w.out.String()
	for _, s := range []string{"MfKQ9r8G", "C2FVsBQI", "url-secret", "url-token", "whsec_s", "WHSEC", string(secrets[0].key), fmt.Sprintf("%x", secrets[0].key), fmt.Sprint(secrets[0].key)} {
		if strings.Contains(text, s) {
			t.Errorf("the log holds %q:\n%s", s, text)
		}
	}
}

func TestSecretsAreRotatedWithoutARestart(t *testing.T) {
	w := newWorld(t)
	r := receive(t, nil)
	w.start(w.endpoint("siem", r.URL))
	for _, list := range [][]string{{secretA}, {secretB, secretA}, {secretB}} {
		w.secrets(list...)
		n := len(r.requests())
		w.chain.add(t, 1)
		eventually(t, "the event", func() bool { return len(r.requests()) == n+1 })
		if got := strings.Count(r.requests()[n].head.Get("webhook-signature"), "v1,"); got != len(list) {
			t.Errorf("%d signatures of %d secrets", got, len(list))
		}
	}
}

func TestRequestsGoNowhereThatTheyMustNot(t *testing.T) {
	for _, c := range []struct {
		ip             string
		local, private bool
		ok             bool
	}{
		{"93.184.216.34", false, false, true}, {"2606:2800:220:1::1", false, false, true},
		{"10.0.0.1", false, false, false}, {"10.0.0.1", false, true, true}, {"192.168.1.1", false, false, false}, {"172.16.0.1", false, false, false},
		{"169.254.169.254", false, false, false}, {"169.254.169.254", false, true, true}, {"fe80::1%eth0", false, false, false}, {"fd00::1", false, false, false},
		{"100.64.0.1", false, false, false}, {"198.18.0.1", false, false, false}, {"::ffff:10.0.0.1", false, false, false},
		{"127.0.0.1", false, false, false}, {"127.0.0.1", false, true, false}, {"::1", false, true, false}, {"::ffff:127.0.0.1", false, true, false},
		{"127.0.0.1", true, false, true}, {"::1", true, false, true}, {"10.0.0.1", true, true, false}, {"93.184.216.34", true, false, false},
		{"0.0.0.0", false, true, false}, {"::", false, true, false}, {"224.0.0.1", false, true, false}, {"ff02::1", false, true, false},
		{"64:ff9b::a00:1", false, true, false}, {"2002:a00:1::1", false, true, false}, {"255.255.255.255", false, true, false},
	} {
		if err := permitted(netip.MustParseAddr(c.ip), c.local, c.private); (err == nil) != c.ok {
			t.Errorf("%s local=%v private=%v: %v", c.ip, c.local, c.private, err)
		}
	}
	// The guard is in the connection itself: a server on loopback is not reached by a
	// URL that does not name it.
	reached := 0
	r := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached++ }))
	defer r.Close()
	e := DefaultEndpoint()
	e.URL = "http://localhost:1/"
	client, err := newClient(e)
	if err != nil {
		t.Fatal(err)
	}
	if resp, err := client.Get(r.URL); err != nil {
		t.Error(err)
	} else {
		_ = resp.Body.Close()
	}
	e.URL = "https://siem.example/"
	if client, err = newClient(e); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Get(r.URL); !errors.Is(err, errForbidden) {
		t.Errorf("%v", err)
	}
	if reached != 1 {
		t.Errorf("the server was reached %d times", reached)
	}
}

func TestCorruptCursorsAreErrorsThatNameTheFile(t *testing.T) {
	w := newWorld(t)
	e := w.endpoint("siem", "https://siem.example/")
	if _, err := w.new(e); err != nil {
		t.Fatal(err)
	}
	_, path := place(filepath.Join(w.home, "data"), e.URL)
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for name, raw := range map[string][]byte{
		"empty": {}, "cut": good[:20], "other chain": bytes.Replace(good, []byte("test-1"), []byte("test-2"), 1),
		"height": bytes.Replace(good, []byte(`"height":1`), []byte(`"height":0`), 1), "two": append(bytes.Clone(good), good...),
	} {
		if err := os.WriteFile(path, raw, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := w.new(e); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestOptionsAreChecked(t *testing.T) {
	good := DefaultEndpoint()
	good.Name, good.URL, good.SecretEnv = "siem", "https://siem.example/hook", []string{"SIEM_SECRET"}
	if err := (Options{Endpoints: []Endpoint{good}}).Check(); err != nil {
		t.Error(err)
	}
	if (Options{Endpoints: []Endpoint{good, good}}).Check() == nil {
		t.Error("two of one name passed")
	}
	for name, spoil := range map[string]func(*Endpoint){
		"name":         func(e *Endpoint) { e.Name = "a b" },
		"no url":       func(e *Endpoint) { e.URL = "" },
		"plain":        func(e *Endpoint) { e.URL = "http://siem.example/" },
		"scheme":       func(e *Endpoint) { e.URL = "ftp://siem.example/" },
		"user":         func(e *Endpoint) { e.URL = "https://a:b@siem.example/" },
		"fragment":     func(e *Endpoint) { e.URL = "https://siem.example/#x" },
		"no secret":    func(e *Endpoint) { e.SecretEnv = nil },
		"many secrets": func(e *Endpoint) { e.SecretEnv = slices.Repeat([]string{"X"}, maxSecrets+1) },
		"type":         func(e *Endpoint) { e.Types = []string{"threat"} },
		"timeout":      func(e *Endpoint) { e.Timeout = 0 },
		"attempts":     func(e *Endpoint) { e.MaxAttempts = -1 },
	} {
		e := good
		spoil(&e)
		if e.Check() == nil {
			t.Errorf("%s: passed", name)
		}
	}
	local := good
	local.URL = "http://127.0.0.1:8080/hook"
	if err := local.Check(); err != nil {
		t.Error(err)
	}
}

func TestRetryAfterIsBounded(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"": 0, "7": 7 * time.Second, "-1": 0, "999999999999": longestWait, "soon": 0, "Wed, 21 Oct 2015 07:28:00 GMT": 0, "Fri, 31 Dec 2999 23:59:59 GMT": longestWait,
	} {
		if got := after(http.Header{"Retry-After": {text}}); got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
}

func TestAnEventOfAnUnknownTypeIsDeliveredAsBytes(t *testing.T) {
	raw, err := eventJSON(&chainv1.Event{Type: "chancery.later.v1.Thing", Value: []byte{1, 2}})
	if err != nil || string(raw) != `{"value":"AQI="}` {
		t.Errorf("%s, %v", raw, err)
	}
}
