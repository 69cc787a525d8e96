package checkpoint

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

const (
	// AddPath is where a witness takes checkpoints, below its prefix.
	AddPath = "/add-checkpoint"
	// SizeType is the type of a witness's answer that tells another size than was assumed.
	SizeType = "text/x.tlog.size"
	// maxAnswer is how much of a witness's answer is read.
	maxAnswer = 64 << 10
	// maxTurns is how often one round asks a witness that tells another size each time, as
	// it does while other nodes of the chain come first.
	maxTurns = 3
)

// Outcomes of a request to a witness, for measurements.
const (
	outcomeSigned  = "cosigned"
	outcomeAhead   = "ahead"   // the witness has signed a later one, of another node
	outcomeRefused = "refused" // 4xx
	outcomeFailed  = "failed"  // no answer, 5xx, or not a signature
)

// Witness is a witness that is asked to co-sign.
type Witness struct {
	// URL is its submission prefix: https, or http to loopback.
	URL string
	// Key is its public key, of WitnessRole.
	Key *Verifier
	// CA are the authorities that sign its certificate; nil: the system's.
	CA *x509.CertPool
	// Timeout bounds one request.
	Timeout time.Duration
}

// CheckWitness says what is wrong with a witness's URL.
func CheckWitness(prefix string) error {
	u, err := url.Parse(prefix)
	if err != nil || u.Hostname() == "" || len(prefix) > 2048 {
		return errors.New("is none, or longer than 2048 bytes")
	}
	ip := net.ParseIP(u.Hostname())
	local := u.Hostname() == "localhost" || ip != nil && ip.IsLoopback()
	switch {
	case u.User != nil || u.Fragment != "" || u.RawQuery != "":
		return errors.New("must not hold a name, a password, a query or a fragment")
	case u.Scheme != "https" && (u.Scheme != "http" || !local):
		return errors.New("must be https, or http to loopback")
	}
	return nil
}

// witness is a Witness and what is known of it.
type witness struct {
	Witness
	client *http.Client
	agent  string
	// size is what the witness has signed last, as far as known; one round asks at a time.
	size int64

	mu      sync.Mutex // guards all below
	signed  int64      // size of the latest checkpoint of this node that it co-signed
	since   time.Time  // when it did
	failure error      // of the latest request; nil: none
}

func newWitness(w Witness, version string) (*witness, error) {
	if err := CheckWitness(w.URL); err != nil {
		return nil, fmt.Errorf("the URL of the witness %s: %w", w.Key.Name(), err)
	}
	if w.Key.Role() != WitnessRole {
		return nil, ErrKey.With("the key %s is none of a witness", w.Key.Name())
	}
	return &witness{Witness: w, agent: "chancery/" + version, client: &http.Client{
		Timeout:       w.Timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true, MaxConnsPerHost: 1, IdleConnTimeout: 10 * time.Minute,
			TLSHandshakeTimeout: w.Timeout, ResponseHeaderTimeout: w.Timeout, MaxResponseHeaderBytes: 64 << 10,
			TLSClientConfig: &tls.Config{RootCAs: w.CA, MinVersion: tls.VersionTLS12},
		},
	}}, nil
}

// at is the size of the latest checkpoint that the witness co-signed.
func (w *witness) at() int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.signed
}

func (w *witness) tell(size int64, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.failure = err; err == nil {
		w.signed, w.since = size, time.Now()
	}
}

// ask submits a checkpoint and returns the lines that the witness answered, unverified.
func (w *witness) ask(ctx context.Context, l *Log, c published) (lines []byte, outcome string, err error) {
	for range maxTurns {
		if w.size > c.Size {
			size := w.size
			w.size = 0 // it is asked again next time
			return nil, outcomeAhead, fmt.Errorf("it has signed a checkpoint of %d blocks already", size)
		}
		path, err := l.Consistency(w.size, c.Checkpoint)
		if err != nil {
			return nil, outcomeFailed, err
		}
		answer, err := w.post(ctx, Consistency{Old: w.size, Path: path, Checkpoint: c.note}.Text())
		if err != nil {
			return nil, outcomeFailed, err
		}
		switch {
		case answer.code == http.StatusOK:
			w.size = c.Size
			return answer.body, outcomeSigned, nil
		case answer.code == http.StatusConflict && answer.kind == SizeType:
			size, ok := parseSize(strings.TrimSuffix(string(answer.body), "\n"))
			if !ok {
				return nil, outcomeFailed, errors.New("it answered 409 without a size")
			}
			if size == w.size {
				return nil, outcomeRefused, ErrFork.With("the witness has another root of %d blocks", size)
			}
			w.size = size
		case answer.code >= 500 || answer.code < 400:
			return nil, outcomeFailed, fmt.Errorf("it answered %d %s", answer.code, http.StatusText(answer.code))
		default:
			w.size = 0
			return nil, outcomeRefused, fmt.Errorf("it answered %d: %s", answer.code, meaning(answer.code))
		}
	}
	return nil, outcomeFailed, errors.New("it told another size each time")
}

// meaning is what a refusal says, by https://c2sp.org/tlog-witness.
func meaning(code int) string {
	switch code {
	case http.StatusForbidden:
		return "it does not know this node's checkpoint key; give its operator what 'chancery checkpoint key' prints"
	case http.StatusNotFound:
		return "it does not know this chain's log, or witness.url is not its prefix; give its operator what 'chancery checkpoint key' prints"
	case http.StatusUnprocessableEntity:
		return "this node's chain does not go on from what the witness has signed: one of the two was forked"
	}
	return http.StatusText(code)
}

type answer struct {
	code int
	kind string
	body []byte
}

func (w *witness) post(ctx context.Context, body []byte) (answer, error) {
	ctx, cancel := context.WithTimeout(ctx, w.Timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimSuffix(w.URL, "/")+AddPath, bytes.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	req.Header.Set("Content-Type", "text/plain; charset=utf-8")
	req.Header.Set("User-Agent", w.agent)
	resp, err := w.client.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer func() { _ = resp.Body.Close() }()
	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err == nil && len(raw) > maxAnswer {
		err = fmt.Errorf("its answer has more than %d bytes", maxAnswer)
	}
	return answer{resp.StatusCode, resp.Header.Get("Content-Type"), raw}, err
}
