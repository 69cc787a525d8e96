package webhook

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/chancery/chancery/node/internal/clock"
	chainv1 "github.com/chancery/chancery/proto/chancery/chain/v1"
)

const (
	firstPause    = time.Second
	longestPause  = time.Hour
	longestWait   = 24 * time.Hour // that a Retry-After may ask for
	grace         = 5 * time.Second
	maxAnswer     = 64 << 10
	saveBlocks    = 1000 // blocks without a wanted event after which the cursor is saved
	contentType   = "application/json"
	retryAfter    = "Retry-After"
	idPrefix      = "msg_"
	idDigits      = 32
	recordsPause  = time.Second // before records that could not be read are read again
	outcomeDone   = "delivered"
	outcomeFailed = "failed"
	outcomeGiven  = "given_up"
	outcomeLost   = "lost"
)

// Blocks are the committed blocks that a node has records of.
type Blocks interface {
	// Head is the latest block, 0 before the first.
	Head() int64
	// Oldest is the oldest block with a record, 0 when there is none.
	Oldest() (int64, error)
	// Wait returns when Head is at least height, or with the context's error.
	Wait(ctx context.Context, height int64) error
	// Block is the record of a block.
	Block(height int64) (*chainv1.BlockRecord, error)
}

// Deps are what a Dispatcher is made with.
type Deps struct {
	Home         string // folder that secret files are relative to
	Data         string // folder of the cursors, which is made
	ChainID      string
	Blocks       Blocks
	DefaultTypes []string // of endpoints that name none
	Version      string   // of the program, for the User-Agent
	Metrics      prometheus.Registerer
	Log          *slog.Logger
}

// Dispatcher delivers events to endpoints.
type Dispatcher struct {
	deps      Deps
	endpoints []*endpoint
	requests  *prometheus.CounterVec
	behind    *prometheus.GaugeVec
	disabled  *prometheus.GaugeVec
	pauses    struct{ first, longest time.Duration } // shorter in tests
}

// endpoint is one with its cursor; its own goroutine alone touches it.
type endpoint struct {
	Endpoint
	id     string
	path   string
	wanted map[string]bool
	client *http.Client
	cursor cursor
	log    *slog.Logger
}

// New reads the cursors. An endpoint that is new begins with the next block.
func New(o Options, d Deps) (*Dispatcher, error) {
	if err := o.Check(); err != nil {
		return nil, err
	}
	opts := func(n, help string) prometheus.Opts {
		return prometheus.Opts{Namespace: "chancery", Subsystem: "webhook", Name: n, Help: help}
	}
	w := &Dispatcher{
		deps:     d,
		requests: prometheus.NewCounterVec(prometheus.CounterOpts(opts("events_total", "Requests that delivered an event or failed, and events that were given up or lost, by endpoint.")), []string{"endpoint", "outcome"}),
		behind:   prometheus.NewGaugeVec(prometheus.GaugeOpts(opts("blocks_behind", "Blocks that an endpoint is behind the latest.")), []string{"endpoint"}),
		disabled: prometheus.NewGaugeVec(prometheus.GaugeOpts(opts("disabled", "1 when an endpoint answered that it is gone.")), []string{"endpoint"}),
	}
	w.pauses.first, w.pauses.longest = firstPause, longestPause
	if d.Metrics != nil {
		for _, c := range []prometheus.Collector{w.requests, w.behind, w.disabled} {
			if err := d.Metrics.Register(c); err != nil {
				return nil, fmt.Errorf("register the metrics of webhooks: %w", err)
			}
		}
	}
	if err := os.MkdirAll(d.Data, 0o700); err != nil {
		return nil, fmt.Errorf("the cursors of webhooks: %w", err)
	}
	for _, c := range o.Endpoints {
		e := &endpoint{Endpoint: c, wanted: map[string]bool{}, log: d.Log.With("endpoint", c.Name)}
		types := c.Types
		if len(types) == 0 {
			types = d.DefaultTypes
		}
		for _, t := range types {
			e.wanted[t] = true
		}
		if len(e.wanted) == 0 {
			return nil, fmt.Errorf("endpoint %q: there is no type of events to deliver", c.Name)
		}
		if _, err := c.secrets(d.Home, environment); err != nil {
			return nil, fmt.Errorf("endpoint %q: %w", c.Name, err)
		}
		var err error
		if e.client, err = newClient(c); err != nil {
			return nil, err
		}
		var known bool
		e.id, e.path = place(d.Data, c.URL)
		if e.cursor, known, err = loadCursor(e.path, d.ChainID, e.id); err != nil {
			return nil, err
		}
		if !known {
			e.cursor.Height = d.Blocks.Head() + 1
			if err := e.cursor.save(e.path); err != nil {
				return nil, err
			}
		}
		w.endpoints = append(w.endpoints, e)
	}
	return w, nil
}

// Run delivers until ctx ends. A request that is then under way has five seconds more.
func (w *Dispatcher) Run(ctx context.Context) error {
	var all sync.WaitGroup
	for _, e := range w.endpoints {
		all.Go(func() { w.serve(ctx, e) })
	}
	all.Wait()
	return nil
}

// serve delivers to one endpoint until ctx ends or the endpoint is gone.
func (w *Dispatcher) serve(ctx context.Context, e *endpoint) {
	defer e.client.CloseIdleConnections()
	unsaved := 0
	save := func() {
		if err := e.cursor.save(e.path); err != nil {
			e.log.Error("the cursor is not saved; after a crash events are delivered again", "error", err)
			return
		}
		unsaved = 0
	}
	for {
		if err := w.deps.Blocks.Wait(ctx, e.cursor.Height); err != nil {
			if unsaved > 0 {
				save()
			}
			return
		}
		w.behind.WithLabelValues(e.Name).Set(float64(w.deps.Blocks.Head() - e.cursor.Height))
		block, err := w.deps.Blocks.Block(e.cursor.Height)
		if err != nil {
			w.skip(ctx, e, err)
			continue
		}
		for _, x := range eventsOf(block)[min(e.cursor.Index, count(block)):] {
			if e.wanted[x.event.Type] {
				switch w.deliver(ctx, e, x) {
				case stopped:
					if unsaved > 0 {
						save()
					}
					return
				case gone:
					w.disabled.WithLabelValues(e.Name).Set(1)
					e.log.Error("the endpoint answered 410 Gone and is disabled; the node's next start tries it again, from this event on", "height", x.height, "index", x.index)
					return
				}
				e.cursor.Height, e.cursor.Index = x.height, x.index+1
				save()
			}
		}
		e.cursor.Height, e.cursor.Index = block.Height+1, 0
		if unsaved++; unsaved >= saveBlocks {
			save()
		}
	}
}

// skip goes on where records begin, if the cursor's are gone, and else waits.
func (w *Dispatcher) skip(ctx context.Context, e *endpoint, cause error) {
	oldest, err := w.deps.Blocks.Oldest()
	if err == nil && oldest > e.cursor.Height {
		e.log.Error("events are lost to the endpoint: the node no longer has their records", "from", e.cursor.Height, "to", oldest-1)
		w.requests.WithLabelValues(e.Name, outcomeLost).Inc()
		e.cursor.Height, e.cursor.Index = oldest, 0
		return
	}
	e.log.Error("the record of a block cannot be read; it is tried again", "height", e.cursor.Height, "error", errors.Join(cause, err))
	clock.Wait(ctx, recordsPause)
}

// happened is an event with its place.
type happened struct {
	height int64
	index  int
	time   int64
	tx     []byte
	event  *chainv1.Event
}

func count(b *chainv1.BlockRecord) int {
	n := len(b.Events)
	for _, t := range b.Txs {
		n += len(t.Events)
	}
	return n
}

// eventsOf lists a block's events in order, with the indices that Events.Subscribe
// tells.
func eventsOf(b *chainv1.BlockRecord) []happened {
	out := make([]happened, 0, count(b))
	add := func(tx []byte, events []*chainv1.Event) {
		for _, e := range events {
			out = append(out, happened{b.Height, len(out), b.Time, tx, e})
		}
	}
	for _, t := range b.Txs {
		add(t.TxId, t.Events)
	}
	add(nil, b.Events)
	return out
}

// message is the body of a request.
type message struct {
	Type      string          `json:"type"`
	Timestamp string          `json:"timestamp"` // of the block, RFC 3339
	Chain     string          `json:"chain"`
	Height    int64           `json:"height"`
	Index     int             `json:"index"`
	Time      int64           `json:"time"` // of the block, Unix milliseconds
	TxID      string          `json:"txId"` // hexadecimal; empty where no transaction caused it
	Event     json.RawMessage `json:"event"`
}

// body is the same bytes each time.
func (w *Dispatcher) body(x happened) ([]byte, error) {
	event, err := eventJSON(x.event)
	if err != nil {
		return nil, fmt.Errorf("event %d of block %d: %w", x.index, x.height, err)
	}
	return json.Marshal(message{
		Type: x.event.Type, Timestamp: time.UnixMilli(x.time).UTC().Format(time.RFC3339Nano), Chain: w.deps.ChainID,
		Height: x.height, Index: x.index, Time: x.time, TxID: hex.EncodeToString(x.tx), Event: event,
	})
}

// eventJSON is protobuf JSON with the names of the .proto files. Of a type that this
// program does not know it is {"value": base64 of its bytes}.
func eventJSON(e *chainv1.Event) ([]byte, error) {
	t, err := protoregistry.GlobalTypes.FindMessageByName(protoreflect.FullName(e.Type))
	if err != nil {
		return json.Marshal(map[string]string{"value": base64.StdEncoding.EncodeToString(e.Value)})
	}
	m := t.New().Interface()
	if err := proto.Unmarshal(e.Value, m); err != nil {
		return nil, err
	}
	raw, err := protojson.MarshalOptions{UseProtoNames: true, EmitDefaultValues: true}.Marshal(m)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	err = json.Compact(&out, raw) // protojson varies its white space on purpose
	return out.Bytes(), err
}

// messageID is the same whenever an event is delivered to a URL. It holds no dot.
func messageID(chain string, height int64, index int, url string) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "chancery.webhook\x00%s\x00%d\x00%d\x00%s", chain, height, index, url))
	return idPrefix + hex.EncodeToString(sum[:])[:idDigits]
}

// fate is what became of a delivery.
type fate int

const (
	done fate = iota // delivered or given up
	stopped
	gone
)

// errGone is the answer 410.
var errGone = errors.New("410 Gone")

// failure is a request that did not deliver.
type failure struct {
	cause error
	after time.Duration // what Retry-After asks for
}

// deliver tries until the event is delivered or given up, ctx ends, or the endpoint
// is gone.
func (w *Dispatcher) deliver(ctx context.Context, e *endpoint, x happened) fate {
	id := messageID(w.deps.ChainID, x.height, x.index, e.URL)
	log := e.log.With("id", id, "type", x.event.Type, "height", x.height, "index", x.index)
	body, err := w.body(x)
	if err != nil {
		w.requests.WithLabelValues(e.Name, outcomeGiven).Inc()
		log.Error("an event cannot be written as JSON and is given up", "error", err)
		return done
	}
	pause := w.pauses.first
	for attempt := 1; ; attempt++ {
		if ctx.Err() != nil {
			return stopped
		}
		f := w.attempt(ctx, e, id, body)
		if f == nil {
			w.requests.WithLabelValues(e.Name, outcomeDone).Inc()
			log.Debug("delivered", "attempt", attempt)
			return done
		}
		w.requests.WithLabelValues(e.Name, outcomeFailed).Inc()
		if errors.Is(f.cause, errGone) {
			return gone
		}
		if e.MaxAttempts > 0 && attempt >= e.MaxAttempts {
			w.requests.WithLabelValues(e.Name, outcomeGiven).Inc()
			log.Error("an event is given up", "attempts", attempt, "error", f.cause)
			return done
		}
		// Between half of the pause and all of it, so that receivers that failed
		// together are not asked together.
		next := pause/2 + rand.N(pause/2+1)
		next = max(next, f.after)
		pause = min(2*pause, w.pauses.longest)
		log.Warn("an event was not delivered and is tried again", "attempt", attempt, "in", next, "error", f.cause)
		if !clock.Wait(ctx, next) {
			return stopped
		}
	}
}

// attempt makes one request. Its errors hold neither secrets nor the URL.
func (w *Dispatcher) attempt(ctx context.Context, e *endpoint, id string, body []byte) *failure {
	secrets, err := e.secrets(w.deps.Home, environment)
	if err != nil {
		return &failure{cause: err}
	}
	limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), e.Timeout)
	defer cancel()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(grace, cancel) })()
	req, err := http.NewRequestWithContext(limited, http.MethodPost, e.URL, bytes.NewReader(body))
	if err != nil {
		return &failure{cause: plain(err)}
	}
	req.Header.Set("Content-Type", contentType)
	req.Header.Set("User-Agent", "chancery/"+w.deps.Version)
	if err := sign(req.Header, secrets, id, time.Now(), body); err != nil {
		return &failure{cause: err}
	}
	resp, err := e.client.Do(req)
	if err != nil {
		return &failure{cause: plain(err)}
	}
	defer func() { _ = resp.Body.Close() }()
	// Reading to the end keeps the connection; what is longer costs it.
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, maxAnswer))
	switch code := resp.StatusCode; {
	case code >= 200 && code < 300:
		return nil
	case code == http.StatusGone:
		return &failure{cause: errGone}
	case code >= 300 && code < 400:
		return &failure{cause: fmt.Errorf("the endpoint answered %d, and redirects are not followed; configure the URL that it leads to", code), after: after(resp.Header)}
	default:
		return &failure{cause: fmt.Errorf("the endpoint answered %d %s", code, http.StatusText(code)), after: after(resp.Header)}
	}
}

// plain is an error of net/http without the URL.
func plain(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

// after is how long Retry-After (RFC 9110, section 10.2.3) asks to wait, within
// bounds, and 0 where it does not.
func after(h http.Header) time.Duration {
	text := h.Get(retryAfter)
	if text == "" {
		return 0
	}
	if n, err := strconv.ParseInt(text, 10, 64); err == nil {
		return time.Duration(min(max(n, 0), int64(longestWait/time.Second))) * time.Second
	}
	if at, err := http.ParseTime(text); err == nil {
		return min(max(time.Until(at), 0), longestWait)
	}
	return 0
}
