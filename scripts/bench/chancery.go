package main

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"os"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/keys"
	"github.com/chancery/chancery/chain/tx"
	"github.com/chancery/chancery/modules/consent"
	"github.com/chancery/chancery/modules/identity"
	"github.com/chancery/chancery/modules/threat"
	"github.com/chancery/chancery/modules/threat/detector"
	"github.com/chancery/chancery/node"
	"github.com/chancery/chancery/node/client"
	"github.com/chancery/chancery/node/config"
	consentv1 "github.com/chancery/chancery/proto/chancery/consent/v1"
	identityv1 "github.com/chancery/chancery/proto/chancery/identity/v1"
	nodev1 "github.com/chancery/chancery/proto/chancery/node/v1"
	threatv1 "github.com/chancery/chancery/proto/chancery/threat/v1"
)

// payloadSize is about the size of the consent transactions below, in bytes.
const payloadSize = 430

const chainID = "bench"

// consents is Chancery as a target: each transaction gives a consent of a subject
// of its own, recorded and signed by a clerk of the controller, in turn, or by the
// controller's administrator where it has no clerks.
type consents struct {
	label, binary, tree string
	scored              bool
	nodes               int // validators
	clerks              int // of each organisation; 0: organisations act themselves
	net                 *network
	admins              []admin
	authors             []admin // who record consents, in turn, of one organisation after the other
	count               int
	given, alarms       atomic.Int64 // events that watch was told of
}

// admin is somebody with a key.
type admin struct {
	organisation, did, url string
	signer                 keys.Signer
}

func (a admin) KeyURL() string                  { return a.url }
func (a admin) Sign(msg []byte) ([]byte, error) { return a.signer.Sign(msg) }

func newChancery(name, tree string, scored bool, o options) *consents {
	return &consents{label: name, binary: o.binary, tree: tree, scored: scored, nodes: o.nodes, clerks: o.clerks}
}

func (c *consents) name() string { return c.label }

func (c *consents) start(ctx context.Context, dir string) error {
	var err error
	if c.net, err = layOut(dir, c.tree, c.nodes); err != nil {
		return err
	}
	f := identity.Founding{At: time.Now().UnixMilli(), Threshold: uint32(c.nodes*2/3 + 1)}
	for i, m := range c.net.members {
		signer, err := newSigner()
		if err != nil {
			return err
		}
		pub, err := m.pv.GetPubKey()
		if err != nil {
			return err
		}
		organisation := fmt.Sprintf("did:chancery:org-%d", i+1)
		c.admins = append(c.admins, admin{organisation, organisation, organisation + "#key-1", signer})
		f.Organisations = append(f.Organisations, identity.Founder{
			DID:        organisation,
			Keys:       []identity.FoundingKey{{ID: "key-1", Public: signer.Public(), Purposes: []identityv1.Purpose{identityv1.Purpose_PURPOSE_AUTHENTICATION}}},
			Validators: []identity.FoundingValidator{{PublicKey: pub.Bytes(), Power: 10, Moniker: m.config.Node.Moniker}},
			Nodes:      []string{m.nodeID},
		})
	}
	g, err := identity.NewGenesis(f)
	if err != nil {
		return err
	}
	section, err := chain.WriteGenesis(g)
	if err != nil {
		return err
	}
	sections := map[string]json.RawMessage{"identity": section}
	if c.scored {
		raw, ok := detector.Default()
		if !ok {
			return errors.New("this build has no default detector, so there is nothing to score by")
		}
		g := threat.NewGenesis(raw, 0)
		g.Params.Mode = threatv1.Mode_MODE_LOG
		if sections["threat"], err = chain.WriteGenesis(g); err != nil {
			return err
		}
	}
	appState, err := json.Marshal(sections)
	if err != nil {
		return err
	}
	doc, err := node.NewGenesis(chainID, time.Now(), appState)
	if err != nil {
		return err
	}
	for _, m := range c.net.members {
		if err := config.WriteGenesis(m.home.GenesisFile(), doc); err != nil {
			return err
		}
	}
	if err := c.net.run(func(m *member) []string { return []string{c.binary, "start", "--home", string(m.home)} }); err != nil {
		return err
	}
	if err := c.committing(ctx); err != nil {
		return err
	}
	return c.employ(ctx)
}

func newSigner() (keys.Signer, error) {
	seed := make([]byte, keys.SeedSize)
	if _, err := rand.Read(seed); err != nil {
		return nil, err
	}
	return keys.NewSigner(keys.Ed25519, seed)
}

// clerksPerTx is how many clerks one transaction registers.
const clerksPerTx = 25

// employ registers the clerks of each organisation.
func (c *consents) employ(ctx context.Context) error {
	if c.clerks == 0 {
		c.authors = c.admins
		return nil
	}
	cl, err := c.dial(ctx, 0)
	if err != nil {
		return err
	}
	defer func() { _ = cl.Close() }()
	for n := 0; n < c.clerks; n += clerksPerTx {
		for _, a := range c.admins {
			var messages []proto.Message
			for i := n; i < min(n+clerksPerTx, c.clerks); i++ {
				signer, err := newSigner()
				if err != nil {
					return err
				}
				did := fmt.Sprintf("%s:desk-%d", a.organisation, i)
				key, err := identity.Possess(chainID, did, "key-1", signer, identityv1.Purpose_PURPOSE_AUTHENTICATION)
				if err != nil {
					return err
				}
				messages = append(messages,
					&identityv1.RegisterIdentity{Identity: &identityv1.NewIdentity{Did: did, Kind: identityv1.Kind_KIND_SERVICE, Keys: []*identityv1.NewKey{key}}},
					&identityv1.AssignRole{Did: did, Role: consent.Role})
				c.authors = append(c.authors, admin{a.organisation, did, did + "#key-1", signer})
			}
			raw, err := draft(a, time.Now().Add(time.Minute).UnixMilli(), messages...)
			if err != nil {
				return err
			}
			r, err := cl.Commit(ctx, raw)
			if err != nil {
				return err
			}
			if r.Code != 0 {
				return fmt.Errorf("clerks are not registered: %s", r.Log)
			}
		}
	}
	return nil
}

// draft is a signed transaction.
func draft(by admin, until int64, messages ...proto.Message) ([]byte, error) {
	raw, _, err := sign(by, until, messages...)
	return raw, err
}

func sign(by admin, until int64, messages ...proto.Message) ([]byte, tx.ID, error) {
	salt := make([]byte, tx.SaltSize)
	if _, err := rand.Read(salt); err != nil {
		return nil, tx.ID{}, err
	}
	return tx.Draft{ChainID: chainID, Author: by.did, ValidUntil: until, Salt: salt, Messages: messages}.Sign(by)
}

// committing waits for the first blocks of all.
func (c *consents) committing(ctx context.Context) error {
	return eventually(ctx, "the first blocks", func() error {
		for i := range c.net.members {
			cl, err := c.dial(ctx, i)
			if err != nil {
				return err
			}
			s, err := cl.Status(ctx)
			_ = cl.Close()
			if err != nil {
				return err
			}
			if s.Height < 3 {
				return errors.New("no block 3 yet")
			}
		}
		return nil
	})
}

func (c *consents) dial(ctx context.Context, i int) (*client.Client, error) {
	return client.Dial(ctx, c.net.members[i].config.RPC.Listen)
}

func (c *consents) payloads(n int) ([][]byte, [][32]byte, error) {
	txs, ids := make([][]byte, n), make([][32]byte, n)
	notice := sha256.Sum256([]byte("notice"))
	until := time.Now().Add(8 * time.Minute).UnixMilli()
	for i := range txs {
		c.count++
		a := c.authors[c.count%len(c.authors)]
		subject := sha256.Sum256(big.NewInt(int64(c.count)).Bytes())
		evidence := sha256.Sum256(subject[:])
		raw, id, err := sign(a, until, &consentv1.Give{
			Terms: &consentv1.Terms{
				Subject: subject[:], Controller: a.organisation,
				Purposes:     []string{"https://w3id.org/dpv#ServiceProvision"},
				Categories:   []*consentv1.Category{{Iri: "https://w3id.org/dpv/pd#Contact"}},
				LegalBasis:   consentv1.LegalBasis_LEGAL_BASIS_CONSENT,
				Jurisdiction: "NL",
				Notice:       &consentv1.Notice{Version: "1", Hash: notice[:], Language: "en"},
			},
			Method: consentv1.Method_METHOD_ELECTRONIC, EvidenceHash: evidence[:],
		})
		if err != nil {
			return nil, nil, err
		}
		txs[i], ids[i] = raw, id
	}
	return txs, ids, nil
}

func (c *consents) sender(ctx context.Context, i int) (func([][]byte) error, error) {
	cl, err := c.dial(ctx, i)
	if err != nil {
		return nil, err
	}
	refused := make(chan error, 1)
	s, err := cl.Stream(ctx, 64, func(_ uint64, acks []*nodev1.Ack) {
		for _, a := range acks {
			if a.Code != 0 {
				select {
				case refused <- fmt.Errorf("refused with %s/%d: %s", a.Codespace, a.Code, a.Log):
				default:
				}
			}
		}
	})
	if err != nil {
		return nil, err
	}
	return func(batch [][]byte) error {
		select {
		case err := <-refused:
			return err
		default:
		}
		_, err := s.Send(batch)
		return err
	}, nil
}

// The events of consents that were given and of scores that are alarms.
const (
	given = "chancery.consent.v1.Given"
	alarm = "chancery.threat.v1.Alarm"
)

// alarming is the share of consents that were alarms so far, in percent.
func (c *consents) alarming() float64 {
	return 100 * float64(c.alarms.Load()) / float64(max(1, c.given.Load()))
}

func (c *consents) watch(ctx context.Context, fn func([][32]byte)) error {
	cl, err := c.dial(ctx, 0)
	if err != nil {
		return err
	}
	defer func() { _ = cl.Close() }()
	now, err := cl.Now(ctx)
	if err != nil {
		return err
	}
	return cl.Subscribe(ctx, now, []string{given, alarm}, func(b client.Batch) error {
		ids := make([][32]byte, 0, len(b.Events))
		for _, e := range b.Events {
			if e.Event.GetType() == alarm {
				c.alarms.Add(1)
				continue
			}
			c.given.Add(1)
			ids = append(ids, [32]byte(e.TxId))
		}
		fn(ids)
		return nil
	})
}

func (c *consents) profile(ctx context.Context, seconds int, path string) error {
	url := fmt.Sprintf("http://%s/debug/pprof/profile?seconds=%d", c.net.members[0].config.Telemetry.Listen, seconds)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", url, res.Status)
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, res.Body)
	return errors.Join(err, f.Close())
}

func (c *consents) height(ctx context.Context) (int64, error) {
	cl, err := c.dial(ctx, 0)
	if err != nil {
		return 0, err
	}
	defer func() { _ = cl.Close() }()
	s, err := cl.Status(ctx)
	if err != nil {
		return 0, err
	}
	return s.Height, nil
}

func (c *consents) cpu() (time.Duration, error) { return c.net.cpu() }

func (c *consents) stop() { c.net.stop() }
