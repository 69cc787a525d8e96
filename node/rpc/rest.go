package rpc

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"math"
	"mime"
	"net"
	"net/http"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"github.com/grpc-ecosystem/grpc-gateway/v2/utilities"
	"google.golang.org/genproto/googleapis/api/annotations"
	"google.golang.org/genproto/googleapis/api/httpbody"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	statusv1 "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	nodev1 "github.com/chancery/chancery/proto/chancery/node/v1"
)

// The headers that a REST request may carry beside those of HTTP itself: what a gRPC call
// carries as metadata.
const (
	timeoutHeader = "Grpc-Timeout" // e.g. 30S, 500m (milliseconds)
	eventHeader   = "Last-Event-Id"
)

// lateBody is by how much longer than a call may wait for its request the connection is
// read from, so that the call is answered before the connection is given up.
const lateBody = 5 * time.Second

// Route is a method as it is served over HTTP, by its google.api.http option.
type Route struct {
	Method string // /package.Service/Method
	Verb   string // GET or POST
	Path   string // with {field} for fields of the request
	Stream bool   // whether the answer is a stream

	fields []string // that the path names
	in     protoreflect.MessageType
	out    protoreflect.MessageType
}

var pathField = regexp.MustCompile(`\{([a-z][a-z0-9_]*)\}`)

// routes are those of the methods that are registered, sorted by path and verb. Its
// panics are faults of the protocol buffers.
func (s *Server) routes() []Route {
	var out []Route
	for name := range s.grpc.GetServiceInfo() {
		d, err := protoregistry.GlobalFiles.FindDescriptorByName(protoreflect.FullName(name))
		if err != nil {
			panic(fmt.Sprintf("rpc: %s: %v", name, err))
		}
		methods := d.(protoreflect.ServiceDescriptor).Methods()
		for i := range methods.Len() {
			if r, ok := routeOf(methods.Get(i)); ok {
				out = append(out, r)
			}
		}
	}
	slices.SortFunc(out, func(a, b Route) int {
		return strings.Compare(a.Path+" "+a.Verb, b.Path+" "+b.Verb)
	})
	return out
}

// routeOf is how a method is served; false: it is not.
func routeOf(m protoreflect.MethodDescriptor) (Route, bool) {
	rule, ok := proto.GetExtension(m.Options(), annotations.E_Http).(*annotations.HttpRule)
	if !ok || rule == nil {
		return Route{}, false
	}
	r := Route{Method: fmt.Sprintf("/%s/%s", m.Parent().FullName(), m.Name()), Verb: http.MethodGet, Path: rule.GetGet(), Stream: m.IsStreamingServer()}
	body := ""
	if r.Path == "" {
		r.Verb, r.Path, body = http.MethodPost, rule.GetPost(), "*"
	}
	if r.Path == "" || rule.Body != body || rule.ResponseBody != "" || len(rule.AdditionalBindings) > 0 || m.IsStreamingClient() {
		panic(fmt.Sprintf(`rpc: %s is mapped to HTTP by something else than a get or a post with the body "*"`, m.FullName()))
	}
	for _, f := range pathField.FindAllStringSubmatch(r.Path, -1) {
		if m.Input().Fields().ByName(protoreflect.Name(f[1])) == nil {
			panic(fmt.Sprintf("rpc: %s has no field %s, which its path names", m.Input().FullName(), f[1]))
		}
		r.fields = append(r.fields, f[1])
	}
	r.in, r.out = messageType(m.Input()), messageType(m.Output())
	return r, true
}

func messageType(d protoreflect.MessageDescriptor) protoreflect.MessageType {
	t, err := protoregistry.GlobalTypes.FindMessageByName(d.FullName())
	if err != nil {
		panic(fmt.Sprintf("rpc: %s: %v", d.FullName(), err))
	}
	return t
}

// Routes are all methods that are served over HTTP, sorted by path.
func (s *Server) Routes() []Route { return s.routes() }

// rest serves methods over HTTP. Each request becomes a call of the gRPC server in the
// same process, by its own transport for net/http: there is one way in for both.
type rest struct {
	s   *Server
	mux *http.ServeMux
	srv *http.Server
}

func (s *Server) newREST(tlsConfig *tls.Config) *rest {
	h := &rest{s: s, mux: http.NewServeMux()}
	for _, r := range s.routes() {
		h.mux.Handle(r.Verb+" "+r.Path, handling{h, r})
	}
	h.srv = &http.Server{
		Handler: h, TLSConfig: tlsConfig, ReadHeaderTimeout: s.limits.Handshake, IdleTimeout: s.limits.Idle, MaxHeaderBytes: maxHeader,
		HTTP2: &http.HTTP2Config{MaxConcurrentStreams: int(s.limits.Streams), MaxReceiveBufferPerConnection: connectionWindow, MaxReceiveBufferPerStream: flowWindow},
		ConnState: func(_ net.Conn, state http.ConnState) {
			switch state {
			case http.StateNew:
				s.metrics.connections.Inc()
			case http.StateClosed, http.StateHijacked:
				s.metrics.connections.Dec()
			}
		},
		// What clients do wrong below HTTP, such as a handshake that is none, is not the node's to complain of.
		ErrorLog: log.New(debugLog{s.log}, "", 0),
	}
	return h
}

// debugLog writes lines to a log at its lowest level.
type debugLog struct{ log *slog.Logger }

func (d debugLog) Write(b []byte) (int, error) {
	d.log.Debug("a connection over HTTP", "error", string(bytes.TrimSpace(b)))
	return len(b), nil
}

// ServeREST lets clients in over HTTP until Shutdown. It owns the listener. Connections
// count with those of Serve.
func (s *Server) ServeREST(l net.Listener) error {
	limited := &limitListener{Listener: l, connections: s.connections}
	var err error
	if s.tls {
		err = s.rest.srv.ServeTLS(limited, "", "")
	} else {
		err = s.rest.srv.Serve(limited)
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// ServeHTTP implements http.Handler: whatever is not a route is answered here.
func (h *rest) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	if err := h.ownPage(r); err != nil {
		h.fail(w, err)
		return
	}
	// A path that is not in its plain form is no other one's, to which the standard
	// library would lead.
	plain := path.Clean(r.URL.EscapedPath()) == r.URL.EscapedPath()
	if _, pattern := h.mux.Handler(r); pattern != "" && plain {
		h.mux.ServeHTTP(w, r)
		return
	}
	var verbs []string
	for _, verb := range []string{http.MethodGet, http.MethodPost} {
		other := r.Clone(r.Context())
		other.Method = verb
		if _, pattern := h.mux.Handler(other); pattern != "" && plain {
			verbs = append(verbs, verb)
		}
	}
	if len(verbs) > 0 {
		allow := strings.Join(verbs, ", ")
		w.Header().Set("Allow", allow)
		h.failAs(w, http.StatusMethodNotAllowed, ErrNoPath.With("%s has no %s, but %s", r.URL.Path, r.Method, allow))
		return
	}
	h.fail(w, ErrNoPath.With("%s %s", r.Method, r.URL.Path))
}

// ownPage refuses what pages in a browser have it send: no origin but none is let in. A
// door without TLS is for this machine, under a name of its own: a page that gave its own
// name the address of this machine gets nothing.
func (h *rest) ownPage(r *http.Request) error {
	if o := r.Header.Get("Origin"); o != "" {
		return ErrCrossOrigin.With("origin %s", o)
	}
	if from := r.Header.Get("Sec-Fetch-Site"); from != "" && from != "none" {
		return ErrCrossOrigin.With("from a page, %s", from)
	}
	if h.s.tls {
		return nil
	}
	host := r.Host
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	if ip := net.ParseIP(strings.Trim(host, "[]")); host == "localhost" || ip != nil && ip.IsLoopback() {
		return nil
	}
	return ErrCrossOrigin.With("host %s", host)
}

// handling serves one route.
type handling struct {
	*rest
	route Route
}

var validTimeout = regexp.MustCompile(`^[0-9]{1,8}[HMSmun]$`)

// ServeHTTP implements http.Handler.
func (h handling) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if h.route.Verb == http.MethodPost {
		if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
			h.failAs(w, http.StatusUnsupportedMediaType, ErrBadRequest.With("the content type is %q, want application/json", r.Header.Get("Content-Type")))
			return
		}
	}
	header := http.Header{"Content-Type": {"application/grpc"}, "Te": {"trailers"}}
	for _, name := range []string{HeightKey, ProveKey, "authorization"} {
		if v := r.Header.Values(name); len(v) > 0 {
			header[http.CanonicalHeaderKey(name)] = v
		}
	}
	if t := r.Header.Get(timeoutHeader); t != "" {
		if !validTimeout.MatchString(t) {
			h.fail(w, ErrBadRequest.With("%s is %q, want up to 8 digits and a unit of H, M, S, m, u or n", timeoutHeader, t))
			return
		}
		header.Set(timeoutHeader, t)
	}
	sse := h.route.Stream && strings.Contains(r.Header.Get("Accept"), "text/event-stream")
	control := http.NewResponseController(w)
	a := &arrival{admitted: make(chan struct{}), over: make(chan struct{}), control: control}
	a.decode = func() ([]byte, error) { return h.request(w, r, a, sse) }
	ctx, cancel := context.WithCancel(context.WithValue(r.Context(), arrivalKey{}, a))
	defer cancel()
	call := (&http.Request{
		Method: http.MethodPost, URL: &url.URL{Path: h.route.Method}, Proto: "HTTP/2.0", ProtoMajor: 2, Header: header,
		Body: a, Host: r.Host, RemoteAddr: r.RemoteAddr, TLS: r.TLS,
	}).WithContext(ctx)
	out := &answer{handling: h, w: w, control: control, cancel: cancel, arrival: a, head: make(http.Header), sse: sse}
	h.s.grpc.ServeHTTP(out, call)
	out.end()
}

// request makes the bytes of a gRPC request of what an HTTP request says.
func (h handling) request(w http.ResponseWriter, r *http.Request, a *arrival, sse bool) ([]byte, error) {
	m := h.route.in.New().Interface()
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, ErrBadRequest.With("the query: %v", err)
	}
	if h.route.Verb == http.MethodPost {
		if len(query) > 0 {
			return nil, ErrBadRequest.With("fields of a POST go into its body, not into the query")
		}
		raw, err := a.read(http.MaxBytesReader(w, r.Body, jsonFactor*int64(h.s.limits.Message)), h.s.limits.Deadline+lateBody)
		if err != nil {
			return nil, ErrBadRequest.With("read the body: %v", err)
		}
		if err := protojson.Unmarshal(raw, m); err != nil {
			return nil, ErrBadRequest.With("the body: %v", err)
		}
	} else {
		for name, values := range query {
			f := fieldOf(m.ProtoReflect().Descriptor(), name)
			if f == nil {
				return nil, ErrBadRequest.With("there is no parameter %s", name)
			}
			for i := range values {
				values[i] = padded(f, values[i])
			}
		}
		used := make([][]string, len(h.route.fields))
		for i, f := range h.route.fields {
			used[i] = []string{f}
			if query.Has(f) {
				return nil, ErrBadRequest.With("%s is in the path", f)
			}
		}
		if err := runtime.PopulateQueryParameters(m, query, utilities.NewDoubleArray(used)); err != nil {
			return nil, ErrBadRequest.With("%v", err)
		}
	}
	for _, f := range h.route.fields {
		if err := runtime.PopulateFieldFromPath(m, f, padded(m.ProtoReflect().Descriptor().Fields().ByName(protoreflect.Name(f)), r.PathValue(f))); err != nil {
			return nil, ErrBadRequest.With("%s: %v", f, err)
		}
	}
	if id := r.Header.Get(eventHeader); id != "" && sse {
		if err := resume(m, id); err != nil {
			return nil, err
		}
	}
	raw, err := proto.Marshal(m)
	if err != nil {
		return nil, ErrBadRequest.With("%v", err)
	}
	return raw, nil
}

// fieldOf is the field of a message that a path of fields, a.b, leads to; nil: none.
func fieldOf(d protoreflect.MessageDescriptor, path string) protoreflect.FieldDescriptor {
	first, rest, more := strings.Cut(path, ".")
	f := d.Fields().ByName(protoreflect.Name(first))
	if f == nil {
		f = d.Fields().ByJSONName(first)
	}
	if f == nil || !more {
		return f
	}
	if f.Message() == nil || f.IsList() {
		return nil
	}
	return fieldOf(f.Message(), rest)
}

// padded is a parameter as the gateway reads it: bytes may be in either alphabet of
// base64, with or without padding, as in a body. What is neither stays as it is.
func padded(f protoreflect.FieldDescriptor, value string) string {
	if f.Kind() != protoreflect.BytesKind {
		return value
	}
	plain := strings.NewReplacer("-", "+", "_", "/").Replace(strings.TrimRight(value, "="))
	raw, err := base64.RawStdEncoding.DecodeString(plain)
	if err != nil {
		return value
	}
	return base64.StdEncoding.EncodeToString(raw)
}

// eventID is the place of a stream after a message: what to ask from to go on.
func eventID(m proto.Message) string {
	switch m := m.(type) {
	case *nodev1.SubscribeResponse:
		return fmt.Sprintf("%d.%d", m.Cursor.GetHeight(), m.Cursor.GetIndex())
	case *nodev1.WatchResponse:
		return strconv.FormatInt(m.Next, 10)
	}
	return ""
}

// resume has a request begin where the event with the id left off.
func resume(m proto.Message, id string) error {
	bad := ErrBadRequest.With("%s %q is not the id of an event of this stream", eventHeader, id)
	switch m := m.(type) {
	case *nodev1.SubscribeRequest:
		height, index, _ := strings.Cut(id, ".")
		at, err := strconv.ParseInt(height, 10, 64)
		if err != nil {
			return bad
		}
		i, err := strconv.ParseUint(index, 10, 32)
		if err != nil {
			return bad
		}
		m.From = &nodev1.Cursor{Height: at, Index: uint32(i)}
	case *nodev1.WatchRequest:
		at, err := strconv.ParseInt(id, 10, 64)
		if err != nil {
			return bad
		}
		m.From = at
	default:
		return ErrBadRequest.With("this stream cannot be resumed; ask without %s", eventHeader)
	}
	return nil
}

// fail answers with an error.
func (h *rest) fail(w http.ResponseWriter, err error) { h.failAs(w, 0, err) }

// failAs answers with an error and a status of HTTP, 0 for the one that its code maps to.
func (h *rest) failAs(w http.ResponseWriter, code int, err error) {
	h.refuse(w, http.NewResponseController(w), code, status.Convert(toStatus(h.s.log, "HTTP", err)).Proto())
}

// refuse writes a status as JSON.
func (h *rest) refuse(w http.ResponseWriter, control *http.ResponseController, code int, st *statusv1.Status) {
	if code == 0 {
		code = runtime.HTTPStatusFromCode(codes.Code(st.Code)) //nolint:gosec // codes are small
	}
	if code == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", "Bearer")
	}
	if after := retryOf(st); after > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(max(1, int(math.Ceil(after.Seconds())))))
	}
	w.Header().Set("Content-Type", "application/json")
	_ = control.SetWriteDeadline(time.Now().Add(h.s.limits.SlowReader))
	w.WriteHeader(code)
	_, _ = w.Write(marshal(st))
}

// retryOf is the pause that a status asks for; 0: none.
func retryOf(st *statusv1.Status) time.Duration {
	for _, d := range st.Details {
		var retry errdetails.RetryInfo
		if d.MessageIs(&retry) && d.UnmarshalTo(&retry) == nil {
			return retry.RetryDelay.AsDuration()
		}
	}
	return 0
}

// marshal is a message as JSON, as the standard mapping has it, with fields that are unset.
func marshal(m proto.Message) []byte {
	raw, err := protojson.MarshalOptions{EmitDefaultValues: true}.Marshal(m)
	if err != nil {
		// An Any of a type that the node lacks, or text that is not UTF-8.
		raw, _ = protojson.Marshal(&statusv1.Status{Code: int32(codes.Internal), Message: "the answer has no form as JSON; ask over gRPC"})
	}
	return raw
}

type arrivalKey struct{}

// arrival is a request whose bytes are made when the door has let the call in. It is the
// body of a gRPC request.
type arrival struct {
	decode   func() ([]byte, error)
	control  *http.ResponseController
	admitted chan struct{}
	over     chan struct{}
	letIn    sync.Once
	failure  atomic.Pointer[error]
	frame    *bytes.Reader // of Read alone

	mu      sync.Mutex // guards all below
	closed  bool
	reading bool // whether the client's body is being read
	cut     bool // whether that was broken off
}

// read reads the client's body, for so long at most.
func (a *arrival) read(body io.Reader, most time.Duration) ([]byte, error) {
	a.mu.Lock()
	if a.closed {
		a.mu.Unlock()
		return nil, io.ErrUnexpectedEOF
	}
	a.reading = true
	_ = a.control.SetReadDeadline(time.Now().Add(most))
	a.mu.Unlock()
	raw, err := io.ReadAll(body)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.reading = false
	if !a.cut {
		_ = a.control.SetReadDeadline(time.Time{})
	}
	return raw, err
}

// Read implements io.Reader.
func (a *arrival) Read(p []byte) (int, error) {
	if a.frame == nil {
		select {
		case <-a.admitted:
		case <-a.over:
			return 0, io.ErrUnexpectedEOF
		}
		raw, err := a.decode()
		if err != nil {
			a.failure.Store(&err)
			return 0, io.ErrUnexpectedEOF
		}
		a.frame = bytes.NewReader(append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(raw))), raw...)) //nolint:gosec // bounded
	}
	return a.frame.Read(p)
}

// Close implements io.Closer. A client that is being waited for is waited for no more.
func (a *arrival) Close() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return nil
	}
	a.closed = true
	close(a.over)
	if a.reading {
		a.cut = true
		_ = a.control.SetReadDeadline(time.Now())
	}
	return nil
}

// arrives lets the request of a call in that came over HTTP.
func arrives(ctx context.Context) {
	if a, ok := ctx.Value(arrivalKey{}).(*arrival); ok {
		a.letIn.Do(func() { close(a.admitted) })
	}
}

// arrived is why the request of a call did not arrive: of one that came over HTTP, what is
// wrong with it.
func arrived(ctx context.Context, err error) error {
	if a, ok := ctx.Value(arrivalKey{}).(*arrival); ok && err != nil {
		if failure := a.failure.Load(); failure != nil && !errors.Is(err, errElapsed) {
			return *failure
		}
	}
	return err
}

// answer turns what the gRPC server writes into the answer over HTTP: one JSON object, or
// one a line, or one an event. It belongs to the goroutine that serves the request.
type answer struct {
	handling
	w       http.ResponseWriter
	control *http.ResponseController
	cancel  context.CancelFunc
	arrival *arrival
	head    http.Header // as the gRPC server wrote it, trailers among it
	sse     bool

	pending []byte // bytes of frames that are not whole
	message []byte // the answer of a call that is no stream; nil: none yet
	begun   bool   // whether the answer of a stream has begun
	broken  bool   // whether the client takes nothing more
}

// Header implements http.ResponseWriter.
func (a *answer) Header() http.Header { return a.head }

// WriteHeader implements http.ResponseWriter.
func (a *answer) WriteHeader(int) {}

// Flush implements http.Flusher.
func (a *answer) Flush() {}

// frameHead is the length of what is before each message: whether it is compressed, which
// none is, and how many bytes follow.
const frameHead = 5

// Write implements http.ResponseWriter.
func (a *answer) Write(b []byte) (int, error) {
	a.pending = append(a.pending, b...)
	for len(a.pending) >= frameHead {
		size := int(binary.BigEndian.Uint32(a.pending[1:]))
		if len(a.pending) < frameHead+size {
			break
		}
		message := bytes.Clone(a.pending[frameHead : frameHead+size])
		a.pending = a.pending[frameHead+size:]
		if !a.route.Stream {
			a.message = message
			continue
		}
		m := a.route.out.New().Interface()
		if err := proto.Unmarshal(message, m); err != nil {
			a.stop()
			return 0, fmt.Errorf("read an answer: %w", err)
		}
		if a.sse {
			a.event(eventID(m), "message", marshal(m))
		} else {
			a.line("result", marshal(m))
		}
	}
	return len(b), nil
}

// begin writes the head of a stream's answer.
func (a *answer) begin() {
	if a.begun {
		return
	}
	a.begun = true
	kind := "application/x-ndjson"
	if a.sse {
		kind = "text/event-stream"
	}
	a.w.Header().Set("Content-Type", kind)
	a.w.WriteHeader(http.StatusOK)
}

func (a *answer) line(name string, raw []byte) {
	a.send([]byte(`{"`+name+`":`), raw, []byte("}\n"))
}

func (a *answer) event(id, name string, raw []byte) {
	head := ""
	if id != "" {
		head = "id: " + id + "\n"
	}
	if name != "message" {
		head += "event: " + name + "\n"
	}
	a.send([]byte(head+"data: "), raw, []byte("\n\n"))
}

// send gives the client its time to take a part of a stream.
func (a *answer) send(parts ...[]byte) {
	if a.broken {
		return
	}
	a.begin()
	_ = a.control.SetWriteDeadline(time.Now().Add(a.s.limits.SlowReader))
	if _, err := a.w.Write(bytes.Join(parts, nil)); err != nil {
		a.stop()
		return
	}
	if err := a.control.Flush(); err != nil {
		a.stop()
	}
}

// stop ends a call whose client takes nothing more.
func (a *answer) stop() {
	a.broken = true
	a.cancel()
}

// end writes what is left when the gRPC server is done.
func (a *answer) end() {
	st := a.status()
	if a.arrival.cut {
		// What is left of the body would be taken for the next request.
		a.w.Header().Set("Connection", "close")
	}
	height := a.head.Get(HeightKey)
	switch {
	case a.broken:
		// There is nobody to tell.
	case a.begun && st.Code != int32(codes.OK):
		if a.sse {
			a.event("", "error", marshal(st))
		} else {
			a.line("error", marshal(st))
		}
	case st.Code != int32(codes.OK):
		if height != "" {
			a.w.Header().Set(HeightKey, height)
		}
		a.refuse(a.w, a.control, 0, st)
	case a.route.Stream:
		a.begin()
	default:
		a.whole(height)
	}
}

// whole writes the answer of a call that is no stream.
func (a *answer) whole(height string) {
	m := a.route.out.New().Interface()
	if err := proto.Unmarshal(a.message, m); err != nil {
		a.fail(a.w, fmt.Errorf("read an answer: %w", err))
		return
	}
	kind, raw := "application/json", []byte(nil)
	if b, ok := m.(*httpbody.HttpBody); ok {
		kind, raw = b.ContentType, b.Data
	} else {
		raw = marshal(m)
	}
	if height != "" {
		a.w.Header().Set(HeightKey, height)
	}
	receipt := a.head.Values(http.TrailerPrefix + ReceiptKey)
	if len(receipt) > 0 {
		a.w.Header().Set("Trailer", ReceiptKey)
	}
	a.w.Header().Set("Content-Type", kind)
	_ = a.control.SetWriteDeadline(time.Now().Add(a.s.limits.SlowReader))
	_, _ = a.w.Write(raw)
	for _, r := range receipt {
		a.w.Header().Set(ReceiptKey, r)
	}
}

// status is how the call ended.
func (a *answer) status() *statusv1.Status {
	if failure := a.arrival.failure.Load(); failure != nil && !a.arrival.cut {
		// The gRPC server says of a request that ends early just that.
		return status.Convert(toStatus(a.s.log, a.route.Method, *failure)).Proto()
	}
	if raw := a.head.Get("Grpc-Status-Details-Bin"); raw != "" {
		st := new(statusv1.Status)
		if bin, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(raw, "=")); err == nil && proto.Unmarshal(bin, st) == nil {
			return st
		}
	}
	code, err := strconv.ParseInt(a.head.Get("Grpc-Status"), 10, 32)
	if err != nil {
		// The gRPC server takes no calls any more.
		return status.Convert(refusal(ErrStopping)).Proto()
	}
	message := a.head.Get("Grpc-Message")
	if plain, err := url.PathUnescape(message); err == nil {
		message = plain
	}
	return &statusv1.Status{Code: int32(code), Message: message}
}
