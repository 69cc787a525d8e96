package rpc_test

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protojson"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/errs"
	"github.com/chancery/chancery/modules/identity"
	"github.com/chancery/chancery/node/nodetest"
	"github.com/chancery/chancery/node/receipt"
	"github.com/chancery/chancery/node/rpc"
	nodev1 "github.com/chancery/chancery/proto/chancery/node/v1"
)

// web lets clients in over HTTP too, and is the address of that.
func (d *door) web() string {
	d.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		d.t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- d.server.ServeREST(l) }()
	d.t.Cleanup(func() {
		d.shutdown()
		if err := <-done; err != nil {
			d.t.Errorf("ServeREST: %v", err)
		}
	})
	return "http://" + l.Addr().String()
}

// call makes a request; head is name, value, name, value.
func call(t testing.TB, verb, url, body string, head ...string) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), verb, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if verb == http.MethodPost {
		r.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(head); i += 2 {
		if head[i] == "Host" {
			r.Host = head[i+1]
		}
		r.Header.Set(head[i], head[i+1])
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	raw, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response, string(raw)
}

// problem is a refusal as JSON.
type problem struct {
	Code    int
	Message string
	Details []map[string]any
}

// refusedWith checks that an answer is the refusal, with a status.
func refusedWith(t testing.TB, what string, r *http.Response, body string, code int, want *errs.Error) {
	t.Helper()
	var p problem
	if err := json.Unmarshal([]byte(body), &p); err != nil {
		t.Errorf("%s: %s is not JSON: %s", what, r.Status, body)
		return
	}
	reason := strings.SplitN(want.Error(), ":", 2)[0]
	if r.StatusCode != code || len(p.Details) == 0 || p.Details[0]["reason"] != reason || !strings.Contains(p.Message, want.Text) {
		t.Errorf("%s: %s %s, want %d and %s", what, r.Status, body, code, reason)
	}
	if after := r.Header.Get("Retry-After"); (after != "") != want.Retryable() {
		t.Errorf("%s: Retry-After is %q", what, after)
	}
	if r.Header.Get("Content-Type") != "application/json" {
		t.Errorf("%s: the content type is %s", what, r.Header.Get("Content-Type"))
	}
}

func TestRESTAnswers(t *testing.T) {
	d := open(t, limits())
	for range 3 {
		d.chain.Block()
	}
	base := d.web()
	r, body := call(t, "GET", base+"/v1/node/status", "")
	var status nodev1.StatusResponse
	if err := protojson.Unmarshal([]byte(body), &status); err != nil || r.StatusCode != 200 || status.Height != d.chain.Height() || !status.Healthy {
		t.Errorf("the status: %s %s (%v)", r.Status, body, err)
	}
	if r.Header.Get("Access-Control-Allow-Origin") != "" || r.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("headers: %v", r.Header)
	}

	r, body = call(t, "GET", base+"/v1/identity/identities/"+organisation, "", rpc.HeightKey, "2")
	if r.StatusCode != 200 || !strings.Contains(body, `"`+organisation+`"`) || r.Header.Get(rpc.HeightKey) != "2" {
		t.Errorf("an identity: %s %s %v", r.Status, body, r.Header)
	}
	r, body = call(t, "GET", base+"/v1/identity/organisations?limit=1", "")
	if r.StatusCode != 200 || !strings.Contains(body, organisation) {
		t.Errorf("a list: %s %s", r.Status, body)
	}
	r, body = call(t, "GET", base+"/openapi.json", "")
	var document struct{ OpenAPI string }
	if err := json.Unmarshal([]byte(body), &document); err != nil || r.StatusCode != 200 || document.OpenAPI != "3.1.0" || r.Header.Get("Content-Type") != "application/json" {
		t.Errorf("the description: %s %.100s (%v)", r.Status, body, err)
	}
	// A path has its fields escaped, also where they hold what separates paths.
	_, body = call(t, "GET", base+"/v1/identity/identities/did:chancery:a%2Fb", "")
	if !strings.Contains(body, "did:chancery:a/b") {
		t.Errorf("an escaped path: %s", body)
	}
}

func TestRESTProves(t *testing.T) {
	d := open(t, limits())
	for range 3 {
		d.chain.Block()
	}
	r, body := call(t, "GET", d.web()+"/v1/identity/identities/"+organisation, "", rpc.ProveKey, "1")
	raw, err := base64.RawStdEncoding.DecodeString(r.Trailer.Get(rpc.ReceiptKey))
	if err != nil || r.StatusCode != 200 || len(raw) == 0 {
		t.Fatalf("%s %s, trailer %v: %v", r.Status, body, r.Trailer, err)
	}
	if _, err := receipt.Parse(raw); err != nil {
		t.Errorf("the receipt: %v", err)
	}
}

func TestRESTRefuses(t *testing.T) {
	d := open(t, limits())
	d.chain.Block()
	base := d.web()
	for _, c := range []struct {
		what, verb, path, body string
		head                   []string
		code                   int
		want                   *errs.Error
	}{
		{"a path that is none", "GET", "/v1/nothing", "", nil, 404, rpc.ErrNoPath},
		{"the root", "GET", "/", "", nil, 404, rpc.ErrNoPath},
		{"a gRPC path", "POST", "/chancery.node.v1.Node/Status", "", nil, 404, rpc.ErrNoPath},
		{"a path with a slash at its end", "GET", "/v1/node/status/", "", nil, 404, rpc.ErrNoPath},
		{"a path with two slashes", "GET", "/v1//node/status", "", nil, 404, rpc.ErrNoPath},
		{"a path that goes up", "GET", "/v1/x/../node/status", "", nil, 404, rpc.ErrNoPath},
		{"another verb", "DELETE", "/v1/node/status", "", nil, 405, rpc.ErrNoPath},
		{"a verb that is overridden", "POST", "/v1/node/status", "{}", []string{"X-HTTP-Method-Override", "GET"}, 405, rpc.ErrNoPath},
		{"options", "OPTIONS", "/v1/txs", "", nil, 405, rpc.ErrNoPath},
		{"a parameter that is none", "GET", "/v1/node/status?verbose=1", "", nil, 400, rpc.ErrBadRequest},
		{"a parameter of the path", "GET", "/v1/identity/identities/a?did=b", "", nil, 400, rpc.ErrBadRequest},
		{"a parameter that is no number", "GET", "/v1/node/block?height=one", "", nil, 400, rpc.ErrBadRequest},
		{"a query that is none", "GET", "/v1/node/block?height=%zz", "", nil, 400, rpc.ErrBadRequest},
		{"a path that is no bytes", "GET", "/v1/txs/!!!", "", nil, 400, rpc.ErrBadRequest},
		{"a body that is no JSON", "POST", "/v1/txs", "{", nil, 400, rpc.ErrBadRequest},
		{"a field that is none", "POST", "/v1/txs", `{"txn": ""}`, nil, 400, rpc.ErrBadRequest},
		{"a query of a post", "POST", "/v1/txs?tx=AA", `{}`, nil, 400, rpc.ErrBadRequest},
		{"a form", "POST", "/v1/txs", "tx=AA", []string{"Content-Type", "application/x-www-form-urlencoded"}, 415, rpc.ErrBadRequest},
		{"a body that is too long", "POST", "/v1/txs", `{"tx": "` + strings.Repeat("A", 3<<20) + `"}`, nil, 400, rpc.ErrBadRequest},
		{"a timeout that is none", "GET", "/v1/node/status", "", []string{"Grpc-Timeout", "soon"}, 400, rpc.ErrBadRequest},
		{"a height that is none", "GET", "/v1/identity/identities/" + organisation, "", []string{rpc.HeightKey, "high"}, 400, rpc.ErrBadRequest},
		{"a height that is not there", "GET", "/v1/identity/identities/" + organisation, "", []string{rpc.HeightKey, "99"}, 404, chain.ErrBadHeight},
		{"a result that is not there", "GET", "/v1/txs/" + strings.Repeat("A", 43), "", nil, 404, rpc.ErrNoResult},
		{"an event that is none", "GET", "/v1/events", "", []string{"Accept", "text/event-stream", "Last-Event-ID", "x"}, 400, rpc.ErrBadRequest},
		{"a stream that cannot be resumed", "GET", "/v1/node/state", "", []string{"Accept", "text/event-stream", "Last-Event-ID", "1"}, 400, rpc.ErrBadRequest},
		{"a cursor ahead", "GET", "/v1/events?from.height=99", "", nil, 400, rpc.ErrCursorAhead},
		{"a page of another origin", "GET", "/v1/node/status", "", []string{"Origin", "https://example.org"}, 403, rpc.ErrCrossOrigin},
		{"a page without an origin", "GET", "/v1/node/status", "", []string{"Sec-Fetch-Site", "cross-site"}, 403, rpc.ErrCrossOrigin},
		{"a name that was given this address", "GET", "/v1/node/status", "", []string{"Host", "example.org"}, 403, rpc.ErrCrossOrigin},
	} {
		r, body := call(t, c.verb, base+c.path, c.body, c.head...)
		refusedWith(t, c.what, r, body, c.code, c.want)
		if r.StatusCode == 405 && r.Header.Get("Allow") == "" {
			t.Errorf("%s: no Allow", c.what)
		}
	}
	if log := d.log.String(); strings.Contains(log, "incident") {
		t.Errorf("what clients did wrong is on the log as the node's fault: %s", log)
	}
}

func TestRESTStreams(t *testing.T) {
	c := nodetest.New(t, nodetest.Config{Modules: []chain.Module{identity.New()}, Genesis: genesis(t)})
	d := serve(t, c, limits())
	for range 4 {
		c.Block()
	}
	base := d.web()
	r, body := call(t, "GET", base+"/v1/events?from.height=1", "")
	if r.Header.Get("Content-Type") != "application/x-ndjson" {
		t.Errorf("the content type is %s", r.Header.Get("Content-Type"))
	}
	var last struct {
		Result struct {
			Cursor struct{ Height string }
			Head   string
		}
	}
	lines := strings.Split(strings.TrimSpace(body), "\n")
	for _, l := range lines {
		if err := json.Unmarshal([]byte(l), &last); err != nil {
			t.Fatalf("%q: %v", l, err)
		}
	}
	if last.Result.Cursor.Height != fmt.Sprint(d.chain.Height()+1) || last.Result.Head != fmt.Sprint(d.chain.Height()) {
		t.Errorf("the last of %d lines is %s", len(lines), lines[len(lines)-1])
	}

	// A stream of events goes on where it left off.
	_, body = call(t, "GET", base+"/v1/events?from.height=1", "", "Accept", "text/event-stream")
	ids := idsOf(body)
	if len(ids) == 0 || !slices.Contains(ids, fmt.Sprintf("%d.0", d.chain.Height()+1)) {
		t.Fatalf("ids %v of %s", ids, body)
	}
	_, body = call(t, "GET", base+"/v1/events?from.height=1", "", "Accept", "text/event-stream", "Last-Event-ID", "3.0")
	if ids := idsOf(body); len(ids) == 0 || ids[0] != "3.0" {
		t.Errorf("after 3.0: %v", ids)
	}
	_, body = call(t, "GET", base+"/v1/sentinel/verdicts?from=1", "", "Accept", "text/event-stream", "Last-Event-ID", "3")
	if ids := idsOf(body); len(ids) == 0 || ids[0] != "3" {
		t.Errorf("verdicts after 3: %v of %s", ids, body)
	}

	// The whole of something that has many parts.
	_, body = call(t, "GET", base+"/v1/node/genesis", "")
	total := 0
	for l := range strings.Lines(body) {
		var part struct{ Result struct{ Part []byte } }
		if err := json.Unmarshal([]byte(l), &part); err != nil {
			t.Fatal(err)
		}
		total += len(part.Result.Part)
	}
	if total != 4_000_000 {
		t.Errorf("the parts have %d bytes", total)
	}
}

// idsOf are the ids of events.
func idsOf(body string) (out []string) {
	for l := range strings.Lines(body) {
		if id, ok := strings.CutPrefix(strings.TrimSpace(l), "id: "); ok {
			out = append(out, id)
		}
	}
	return out
}

// A stream that follows tells of each block as it comes, and of the node's end.
func TestRESTFollows(t *testing.T) {
	d := open(t, limits())
	d.chain.Block()
	base := d.web()
	response, err := http.Get(base + "/v1/events?follow=true")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	in := bufio.NewScanner(response.Body)
	next := func() string {
		if !in.Scan() {
			t.Fatalf("the stream ended: %v", in.Err())
		}
		return in.Text()
	}
	next()
	want := fmt.Sprintf(`"height":"%d"`, d.chain.Height()+2)
	d.chain.Block()
	for !strings.Contains(strings.ReplaceAll(next(), " ", ""), want) {
	}
	go d.shutdown()
	for line := next(); ; line = next() {
		if strings.HasPrefix(line, `{"error":`) {
			if !strings.Contains(line, rpc.ErrStopping.Text) {
				t.Errorf("the end: %s", line)
			}
			return
		}
	}
}

func TestRESTIsBounded(t *testing.T) {
	l := limits()
	l.Calls, l.Subscribers = 1, 1
	d := open(t, l)
	d.chain.Block()
	base := d.web()

	// A request that does not arrive holds its slot no longer than any other.
	conn, err := net.Dial("tcp", strings.TrimPrefix(base, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	begun := time.Now()
	_, _ = fmt.Fprint(conn, "POST /v1/txs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 100\r\nExpect: 100-continue\r\n\r\n")
	in := bufio.NewReader(conn)
	response, err := http.ReadResponse(in, nil)
	if err != nil || response.StatusCode != http.StatusContinue { // it has the slot, and waits
		t.Fatal(response, err)
	}
	_, _ = fmt.Fprint(conn, "{")
	r, body := call(t, "GET", base+"/v1/node/status", "")
	refusedWith(t, "a second call", r, body, 429, rpc.ErrBusy)
	if response, err = http.ReadResponse(in, nil); err != nil {
		t.Fatal(err)
	}
	raw, _ := io.ReadAll(response.Body)
	refusedWith(t, "a request that does not arrive", response, string(raw), 504, rpc.ErrTimeout)
	if took := time.Since(begun); took > 10*time.Second {
		t.Errorf("it took %s", took)
	}
	until(t, "its slot is free", func() bool {
		r, _ := call(t, "GET", base+"/v1/node/status", "")
		return r.StatusCode == 200
	})

	// Subscriptions have slots of their own.
	first, err := http.Get(base + "/v1/events?follow=true")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = first.Body.Close() }()
	r, body = call(t, "GET", base+"/v1/events?follow=true", "")
	refusedWith(t, "a second subscription", r, body, 429, rpc.ErrBusy)
}

// A client that takes nothing is cut off, and costs no slot.
func TestRESTCutsOffSlowReaders(t *testing.T) {
	d := open(t, limits())
	d.chain.Block()
	base := d.web()
	conn, err := net.Dial("tcp", strings.TrimPrefix(base, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_ = conn.(*net.TCPConn).SetReadBuffer(4 << 10)
	for range 8 { // each 4 MB of genesis
		_, _ = fmt.Fprintf(conn, "GET /v1/node/genesis HTTP/1.1\r\nHost: localhost\r\n\r\n")
	}
	// The first byte of an answer, so that the connection has been counted.
	if _, err := io.ReadFull(conn, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	until(t, "the connection is closed", func() bool { return d.measured("chancery_rpc_connections") == 0 })
}

// Connections over HTTP are counted with the others.
func TestRESTConnectionsCount(t *testing.T) {
	d := open(t, limits())
	d.chain.Block()
	base := d.web()
	client := &http.Client{Transport: &http.Transport{}}
	r, err := client.Get(base + "/v1/node/status")
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, r.Body)
	_ = r.Body.Close()
	if n := d.measured("chancery_rpc_connections"); n != 1 {
		t.Errorf("%v connections", n)
	}
	client.CloseIdleConnections()
	until(t, "it is gone", func() bool { return d.measured("chancery_rpc_connections") == 0 })
}

func FuzzREST(f *testing.F) {
	f.Add("GET", "/v1/node/block?height=1", []byte{})
	f.Add("POST", "/v1/txs", []byte(`{"tx": "AAAA"}`))
	f.Add("GET", "/v1/events?from.height=1&types=a&types=b", []byte{})
	f.Add("GET", "/v1/identity/by-key?type=KEY_TYPE_ED25519&public=AAAA", []byte{})
	d := open(f, limits())
	d.chain.Block()
	base := d.web()
	f.Fuzz(func(t *testing.T, verb, path string, body []byte) {
		r, err := http.NewRequestWithContext(t.Context(), verb, base+path, bytes.NewReader(body))
		if err != nil || r.URL.Host != strings.TrimPrefix(base, "http://") || strings.Contains(path, "follow") {
			return
		}
		r.Header.Set("Content-Type", "application/json")
		response, err := http.DefaultClient.Do(r)
		if err != nil {
			return
		}
		defer func() { _ = response.Body.Close() }()
		if response.StatusCode >= 500 && response.StatusCode != 501 && response.StatusCode != 504 {
			raw, _ := io.ReadAll(response.Body)
			t.Errorf("%s %s: %s %s", verb, path, response.Status, raw)
		}
	})
}
