//go:build linux

package perturb

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain/tx"
	"github.com/chancery/chancery/node/client"
	"github.com/chancery/chancery/testnet"

	chainv1 "github.com/chancery/chancery/proto/chancery/chain/v1"
	consentv1 "github.com/chancery/chancery/proto/chancery/consent/v1"
	nodev1 "github.com/chancery/chancery/proto/chancery/node/v1"
	provenancev1 "github.com/chancery/chancery/proto/chancery/provenance/v1"
)

const (
	clerks      = 3 // that register entities, each beginning with another node
	stewards    = 2 // that record consents and take most of them back
	subscribers = 2
	// thinking is the most that a client rests between two transactions.
	thinking = 100 * time.Millisecond
	// askPatience bounds one question to one node, which may not answer.
	askPatience = time.Second

	purpose  = "https://w3id.org/dpv#ServiceProvision"
	category = "https://w3id.org/dpv#Location"
)

// acknowledged is a transaction whose result a client was told.
type acknowledged struct {
	id     string // 32 bytes
	height int64
	index  uint32
}

// given is a consent, and what became of it.
type given struct {
	id, subject []byte
	// withdrawn is the height of the withdrawal, 0 where there was none; ended tells that
	// one was asked for, whose outcome may not be known.
	withdrawn int64
	ended     bool
}

// told is an event as a subscriber learns of it.
type told struct {
	height int64
	index  uint32
	event  string
}

// load is the clients of a run and what they saw.
type load struct {
	record *testnet.Record
	nodes  []*client.Client // one for each validator
	every  []*client.Client // of all validators, each beginning with another
	who    string           // DID of a registrar
	clerk  tx.Signer
	admin  tx.Signer // of the first organisation, the controller
	group  sync.WaitGroup
	stop   chan struct{} // closed: nothing new is begun

	next, asked atomic.Int64

	mu         sync.Mutex // guards all below
	acks       []acknowledged
	entities   []string // ids of entities whose registration was acknowledged
	consents   []*given
	unanswered int
	faults     []string
	streams    [subscribers][]told
	cursors    [subscribers]client.Cursor
}

func newLoad(ctx context.Context, d testnet.Dir, r *testnet.Record) (*load, error) {
	l := &load{record: r, stop: make(chan struct{})}
	ring, err := testnet.OpenKeyring(d, d.Home(r.Validators[0]))
	if err != nil {
		return nil, err
	}
	for name, to := range map[string]*tx.Signer{"registrar": &l.clerk, "admin-1": &l.admin} {
		entry, err := ring.Lookup(name)
		if err != nil {
			return nil, err
		}
		key, err := ring.Signer(name)
		if err != nil {
			return nil, err
		}
		*to = client.Signer(entry.KeyURL, key)
		if name == "registrar" {
			l.who = entry.DID
		}
	}
	dial := func(addresses ...string) (*client.Client, error) {
		return client.Dial(ctx, strings.Join(addresses, ","), client.ChainID(r.ChainID), client.Backoff(50*time.Millisecond, time.Second))
	}
	var addresses []string
	for _, v := range r.Validators {
		addresses = append(addresses, v.RPC)
	}
	for i := range addresses {
		own, err := dial(addresses[i])
		if err != nil {
			return nil, err
		}
		l.nodes = append(l.nodes, own)
		all, err := dial(slices.Concat(addresses[i:], addresses[:i])...)
		if err != nil {
			return nil, err
		}
		l.every = append(l.every, all)
	}
	return l, nil
}

func (l *load) close() {
	for _, c := range slices.Concat(l.nodes, l.every) {
		_ = c.Close()
	}
}

// begin starts the clients. They end when ctx does; those that submit end before, once stop
// is closed and what they wait for is answered.
func (l *load) begin(ctx context.Context, subscriptions context.Context) *sync.WaitGroup {
	var readers sync.WaitGroup
	for i := range subscribers {
		readers.Go(func() { l.subscribe(subscriptions, i) })
	}
	for i := range clerks {
		l.group.Go(func() { l.work(func() bool { return l.register(ctx, l.every[i]) }) })
	}
	for i := range stewards {
		l.group.Go(func() { l.work(func() bool { return l.consent(ctx, l.every[(i+clerks)%Validators]) }) })
	}
	return &readers
}

func (l *load) work(once func() (goOn bool)) {
	for once() {
		select {
		case <-l.stop:
			return
		case <-time.After(rand.N(thinking)):
		}
	}
}

func (l *load) fault(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.faults = append(l.faults, fmt.Sprintf(format, args...))
}

// do submits a transaction until its result is known; nil: it is not.
func (l *load) do(ctx context.Context, c *client.Client, author string, key tx.Signer, m proto.Message) *chainv1.TxResult {
	r, err := c.Do(ctx, author, []tx.Signer{key}, m)
	l.mu.Lock()
	defer l.mu.Unlock()
	if r != nil {
		l.acks = append(l.acks, acknowledged{string(r.TxId), r.Height, r.Index})
	}
	switch {
	case err == nil:
		return r
	case ctx.Err() != nil, errors.Is(err, client.ErrTimeout), errors.Is(err, client.ErrUnreachable):
		l.unanswered++
	default:
		l.faults = append(l.faults, fmt.Sprintf("an honest transaction, %T, was refused: %v", m, err))
	}
	return nil
}

func (l *load) register(ctx context.Context, c *client.Client) bool {
	id := fmt.Sprintf("file-%d", l.next.Add(1))
	r := l.do(ctx, c, l.who, l.clerk, &provenancev1.RegisterEntity{Id: id, Entity: &provenancev1.Entity{MediaType: "text/plain"}})
	if r == nil {
		return ctx.Err() == nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.entities = append(l.entities, id)
	return true
}

// consent records one and takes most back, and asks every node at the withdrawal's height.
func (l *load) consent(ctx context.Context, c *client.Client) bool {
	subject := sha256.Sum256(client.NewSalt())
	evidence := sha256.Sum256([]byte("on file"))
	controller := l.record.Validators[0].Organisation
	r := l.do(ctx, c, controller, l.admin, &consentv1.Give{
		Terms: &consentv1.Terms{
			Subject: subject[:], Controller: controller, Purposes: []string{purpose},
			Categories: []*consentv1.Category{{Iri: category}}, Recipients: []string{l.record.Validators[1].Organisation},
			LegalBasis: consentv1.LegalBasis_LEGAL_BASIS_CONSENT, Jurisdiction: "NL",
			Notice: &consentv1.Notice{Version: "1", Hash: evidence[:], Language: "en"},
		},
		Method: consentv1.Method_METHOD_ELECTRONIC, EvidenceHash: evidence[:],
	})
	if r == nil {
		return ctx.Err() == nil
	}
	response := new(consentv1.GiveResponse)
	if err := proto.Unmarshal(r.Responses[0], response); err != nil {
		l.fault("the answer to a consent cannot be read: %v", err)
		return true
	}
	g := &given{id: response.Id, subject: subject[:]}
	l.mu.Lock()
	l.consents = append(l.consents, g)
	l.mu.Unlock()
	if rand.IntN(4) == 0 {
		return true
	}
	l.mu.Lock()
	g.ended = true
	l.mu.Unlock()
	if r = l.do(ctx, c, controller, l.admin, &consentv1.Withdraw{Id: g.id}); r == nil {
		return ctx.Err() == nil
	}
	l.mu.Lock()
	g.withdrawn = r.Height
	l.mu.Unlock()
	var group sync.WaitGroup
	for i := range l.nodes {
		group.Go(func() {
			// A node that has not come so far refuses, and is asked at the end.
			if permitted, err := l.permitted(client.AtHeight(ctx, r.Height), i, g); err == nil && permitted {
				l.fault("validator %d permits at height %d what was withdrawn there: consent %x", i, r.Height, g.id)
			}
		})
	}
	group.Wait()
	return true
}

// permitted asks one node whether a consent covers its use.
func (l *load) permitted(ctx context.Context, i int, g *given) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, askPatience)
	defer cancel()
	p, err := consentv1.NewQueryClient(l.nodes[i].Conn()).Permitted(ctx, &consentv1.PermittedRequest{
		Subject: g.subject, Controller: l.record.Validators[0].Organisation, Recipient: l.record.Validators[1].Organisation,
		Purpose: purpose, Categories: []string{category},
	})
	if err != nil {
		return false, err
	}
	l.asked.Add(1)
	return p.Permitted, nil
}

// subscribe follows the events from the first block, at whichever node answers.
func (l *load) subscribe(ctx context.Context, i int) {
	err := l.every[(2*i+1)%Validators].Subscribe(ctx, client.Cursor{Height: 1}, nil, func(b client.Batch) error {
		l.mu.Lock()
		defer l.mu.Unlock()
		for _, e := range b.Events {
			l.streams[i] = append(l.streams[i], tell(e))
		}
		l.cursors[i] = b.Cursor
		return nil
	})
	if ctx.Err() == nil {
		l.fault("subscriber %d was ended: %v", i, err)
	}
}

func tell(e *nodev1.BlockEvent) told {
	return told{e.Height, e.Index, fmt.Sprintf("%x %s %x", e.TxId, e.Event.Type, e.Event.Value)}
}
