package features

import (
	"github.com/chancery/chancery/modules/threat/stream/fixed"
	"github.com/chancery/chancery/modules/threat/trees"
)

// AuthorKind is what an author is. The numbers are permanent.
type AuthorKind uint8

// The kinds.
const (
	AuthorUnknown AuthorKind = iota
	AuthorConsortium
	AuthorOrganisation
	AuthorPerson
	AuthorDevice
	AuthorService
)

// AuthorKindOf is the kind of a name as module identity gives it.
func AuthorKindOf(name string) AuthorKind {
	switch name {
	case "consortium":
		return AuthorConsortium
	case "organisation":
		return AuthorOrganisation
	case "person":
		return AuthorPerson
	case "device":
		return AuthorDevice
	case "service":
		return AuthorService
	}
	return AuthorUnknown
}

// Context is what is known of a transaction besides its messages. NewContext returns one in which nothing is.
type Context struct {
	Now        int64 // block time, Unix ms
	ValidUntil int64 // of the transaction, Unix ms; 0: not known
	Size       int   // bytes of the transaction
	Signers    int   // signatures

	Author             string // DID
	AuthorOrganisation string // DID; of an organisation, itself
	Consortium         string // DID
	Kind               AuthorKind
	Roles              int  // how many the author has
	Administrator      bool // the author administers its organisation
	Depth              int  // 0: own key, 1: administrators for an organisation, 2: members for the consortium

	IdentityAge int64 // ms; trees.Missing where not known
	KeyAge      int64 // ms, of the newest key that may sign; trees.Missing where not known

	// What the author and its organisation did, in transactions that came before, those in the block among them.
	Actor, Organisation History
	// EdgeInBlock is how often the author used the resource in the block before.
	EdgeInBlock uint32

	Risk, OrganisationRisk uint8 // common risk: 0 unknown to 4 severe

	Senses
}

// Senses are what the streaming scorers know of a transaction; a detector fills them in. Surprises, Estrangement and
// Distance are in bits, Q12, and trees.Missing where there is no profile.
type Senses struct {
	Edge           Use // of the resource by the author
	Resource       Use // of the resource by anybody
	Kin            Use // of resources of the same kin by the author; Now is since about ten days
	Kins           Use // of resources that have a kin by the author, in the same way
	OwnSurprise    int64
	AnchorSurprise int64
	PeerSurprise   int64
	Estrangement   int64
	Distance       int64
}

// Use is how often something was used before.
type Use struct {
	Known bool
	Past  uint64 // times, ever
	Now   uint64 // times in the present tick and, decayed, before it, Q16
	Idle  int64  // ms since the latest, in whole ticks; of no meaning where Past is 0
}

// Fresh tells whether the author never used the resource before.
func (s *Senses) Fresh() bool { return s.Edge.Known && s.Edge.Past == 0 }

// strayBits is from above how many bits, Q12, on the kin of a fresh resource is none of the author's usual ones: less
// than an eighth of its uses.
const strayBits = 3 * fixed.LogScale

func stray(wander uint32) bool { return wander > strayBits }

// Wander is how rare the kin of a resource is among those that the author used of late, in bits, Q12, where it uses the
// resource for the first time; else 0. Each count has one more, so that nobody wanders far in its first uses.
func (s *Senses) Wander() uint32 {
	if !s.Fresh() || !s.Kin.Known {
		return 0
	}
	return uint32(max(pace(s.Kins.Now, 1, s.Kin.Now), 0))
}

// Stray tells whether the author uses a resource for the first time, and rarely used its kin of late.
func (s *Senses) Stray() bool { return stray(s.Wander()) }

// NoSenses are the senses that know nothing.
func NoSenses() Senses {
	return Senses{
		OwnSurprise: trees.Missing, AnchorSurprise: trees.Missing, PeerSurprise: trees.Missing,
		Estrangement: trees.Missing, Distance: trees.Missing,
	}
}

// NewContext is a context in which nothing is known.
func NewContext() Context {
	return Context{IdentityAge: trees.Missing, KeyAge: trees.Missing, Senses: NoSenses()}
}

// Sensitivity is how sensitive a message is in its context: that of its facts, and the largest for keys of somebody
// other than the author.
func (c *Context) Sensitivity(f *Facts) uint8 {
	if c.keyOfOther(f) {
		return MaxSensitivity
	}
	return min(f.Sensitivity, MaxSensitivity)
}

func (c *Context) keyOfOther(f *Facts) bool { return f.Class == ClassKeys && c.other(f) }

func (c *Context) other(f *Facts) bool { return f.Subject != "" && f.Subject != c.Author }

func (c *Context) foreign(f *Facts) bool { return f.Owner != "" && f.Owner != c.AuthorOrganisation }

// Sensitive tells whether a transaction counts as sensitive in histories: one of its messages has a sensitivity of 3
// or more.
func Sensitive(facts []Facts, c *Context) bool {
	for i := range facts {
		if c.Sensitivity(&facts[i]) >= 3 {
			return true
		}
	}
	return false
}
