package scenarios

import (
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"fmt"
	"iter"
	"math/rand/v2"
	"strings"

	"github.com/chancery/chancery/chain/keys"
	"github.com/chancery/chancery/chain/tx"
	"github.com/chancery/chancery/modules/identity"
	"github.com/chancery/chancery/node/client"
)

// ChainID is the chain of plans that name no other.
const ChainID = "chancery-scenarios"

// Bounds on a plan.
const (
	MaxDays      = 400
	MaxCampaigns = 100 // of each kind
)

// Options is what a plan follows from.
type Options struct {
	Seed uint64
	// Days of life, 1 to MaxDays, from a Monday on.
	Days int
	// Start is midnight at the beginning of that Monday, Unix milliseconds. 0:
	// DefaultStart.
	Start int64
	// Warmup is how many days pass before the first attack. 0: a quarter, at least one
	// and at most ten; none when there is a single day.
	Warmup int
	// Attacks are the kinds of attacks.
	Attacks []Kind
	// Campaigns of each kind, at most MaxCampaigns. 0: one, and one more for every two weeks.
	Campaigns int
	// AttackAt is when all campaigns begin, Unix milliseconds, each within five minutes of
	// it or as soon after it as its nature allows. 0: they are spread over the days after
	// the warm-up.
	AttackAt int64
	// Life scales how much everybody does, 1 being docs/scenarios.md's. 0: 1.
	Life float64
	// Force scales how much an attack does, and so how loud it is. 0: 1.
	Force float64
	// ChainID of the chain that the plan is for. Empty: ChainID.
	ChainID string
	// Organisations, four to seven; 0: as many as the seed says. The first four are a
	// hospital, a laboratory, an insurer and another hospital, the rest some of a
	// research institute, a public registry and a logistics firm.
	Organisations int
	// Sites are organisations that exist already, in the order of Organisations. Empty:
	// a genesis of their own, see Plan.Founding.
	Sites []Site
}

// Site is an organisation that exists already, with who acts for it.
type Site struct {
	Organisation string
	// Administrators and their keys; the first Needed of them act for it.
	Administrators []Holder
	Needed         int
	// Registrar is a member with the role registrar.
	Registrar Holder
}

// Holder is a DID and the DID URL of its key.
type Holder struct{ DID, Key string }

// Plan is life and attacks, not yet executed.
type Plan struct{ o Options }

// New refuses options that no plan follows from.
func New(o Options) (*Plan, error) {
	if o.Start == 0 {
		o.Start = DefaultStart
	}
	if o.Life == 0 {
		o.Life = 1
	}
	if o.Force == 0 {
		o.Force = 1
	}
	if o.ChainID == "" {
		o.ChainID = ChainID
	}
	if o.Warmup == 0 && o.Days > 1 {
		o.Warmup = min(10, max(1, o.Days/4))
	}
	if o.Campaigns == 0 {
		o.Campaigns = 1 + o.Days/14
	}
	switch {
	case o.Days < 1 || o.Days > MaxDays:
		return nil, fmt.Errorf("scenarios: %d days, want 1 to %d", o.Days, MaxDays)
	case o.Warmup < 0 || o.Warmup >= o.Days:
		return nil, fmt.Errorf("scenarios: a warm-up of %d days leaves nothing of %d", o.Warmup, o.Days)
	case o.Campaigns < 0 || o.Campaigns > MaxCampaigns:
		return nil, fmt.Errorf("scenarios: %d campaigns of each kind, at most %d", o.Campaigns, MaxCampaigns)
	case !(o.Life >= 0.01 && o.Life <= 100) || !(o.Force >= 0.01 && o.Force <= 100):
		return nil, fmt.Errorf("scenarios: life and force must be 0.01 to 100")
	case o.AttackAt != 0 && (o.AttackAt < o.Start || o.AttackAt >= o.Start+int64(o.Days)*day):
		return nil, fmt.Errorf("scenarios: the attacks would begin outside of the plan's %d days", o.Days)
	case len(o.Sites) > 0 && o.Organisations == 0:
		o.Organisations = len(o.Sites)
	}
	if o.Organisations == 0 {
		o.Organisations = 4 + stream(o.Seed, "organisations").IntN(4)
	}
	switch {
	case o.Organisations < 4 || o.Organisations > 7:
		return nil, fmt.Errorf("scenarios: %d organisations, want 4 to 7", o.Organisations)
	case len(o.Sites) > 0 && len(o.Sites) != o.Organisations:
		return nil, fmt.Errorf("scenarios: %d sites for %d organisations", len(o.Sites), o.Organisations)
	}
	return &Plan{o}, nil
}

// Options are those that the plan follows from, with defaults filled in.
func (p *Plan) Options() Options { return p.o }

// Actions are the plan's transactions in order of time. Each call begins anew.
func (p *Plan) Actions() iter.Seq[*Action] {
	return func(yield func(*Action) bool) {
		g := newGenerator(p.o)
		g.yield = yield
		g.run()
	}
}

// Founding is the genesis state in which the plan begins. With Sites there is none.
func (p *Plan) Founding() (identity.Founding, error) {
	return newWorld(p.o).founding()
}

// Signer is the key of a DID URL that the plan made up. Whoever knows the seed knows
// all keys: they are for simulations and test networks.
func (p *Plan) Signer(url string) tx.Signer { return client.Signer(url, p.o.signer(url)) }

// signer derives a key from the seed.
func (o *Options) signer(url string) keys.Signer {
	seed := o.digest("key", url)
	s, err := keys.NewSigner(keys.Ed25519, seed[:])
	if err != nil {
		panic("scenarios: 32 bytes are no seed: " + err.Error())
	}
	return s
}

// digest is 32 bytes that follow from the seed and what they are for.
func (o *Options) digest(parts ...string) [32]byte { return digest(o.Seed, parts...) }

func digest(seed uint64, parts ...string) [32]byte {
	raw := binary.BigEndian.AppendUint64([]byte("chancery/scenarios/v1\x00"), seed)
	for _, p := range parts {
		raw = binary.BigEndian.AppendUint32(raw, uint32(len(p)))
		raw = append(raw, p...)
	}
	return sha256.Sum256(raw)
}

// stream is randomness of its own for one purpose, so that what one part of the plan
// draws changes no other.
func stream(seed uint64, purpose string) *rand.Rand {
	d := digest(seed, "stream", purpose)
	return rand.New(rand.NewPCG(binary.BigEndian.Uint64(d[:]), binary.BigEndian.Uint64(d[8:])))
}

// token is 26 characters of base32, the form of a person's id.
func (o *Options) token(parts ...string) string {
	d := o.digest(parts...)
	return strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(d[:16]))
}
