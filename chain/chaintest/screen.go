package chaintest

import (
	"crypto/sha256"
	"strings"

	"github.com/chancery/chancery/chain"
	chainv1 "github.com/chancery/chancery/proto/chancery/chain/v1"
)

// Screen is a screen for tests of what surrounds one. The last part of the author's
// DID decides: held, denied, full (held, without room), dear (more work than a
// transaction may need), anything else is admitted. The score is how many
// transactions were noted before in the block.
type Screen struct {
	// Hash of the model, 32 bytes; empty: none.
	Hash []byte
}

// ScreenKey is the key under which a Screen keeps a transaction, in its block alone:
// its value is the bytes.
func ScreenKey(c *chain.Candidate) []byte { return append([]byte{0x7f, 0x01}, c.ID[:]...) }

// VotesKey is the key under which a Screen puts the extensions of the latest docket.
var VotesKey = []byte{0x7f, 0x02}

// Open implements chain.Screen.
func (s *Screen) Open(ctx *chain.Ctx, votes []*chainv1.Vote) chain.Screening {
	var all []byte
	for _, v := range votes {
		all = append(all, v.Extension...)
	}
	if len(all) > 0 {
		ctx.Set(VotesKey, all)
		ctx.Emit(&chainv1.Seen{Ids: all})
	}
	return &screening{s: s}
}

type screening struct {
	s     *Screen
	noted uint32
}

func (s *screening) Model() []byte { return s.s.Hash }

func (s *screening) Gather(r chain.ReadCtx, c *chain.Candidate) any {
	r.Charge(chain.ModelStep, 1)
	parts := strings.Split(c.Body.Author, ":")
	return parts[len(parts)-1]
}

func (s *screening) Judge(r chain.ReadCtx, _ *chain.Candidate, gathered func() any) (*chainv1.Verdict, []int64) {
	v := &chainv1.Verdict{Ruling: chainv1.Ruling_RULING_ADMIT, Score: s.noted}
	switch gathered() {
	case "held", "full":
		v.Ruling = chainv1.Ruling_RULING_HOLD
	case "denied":
		v.Ruling = chainv1.Ruling_RULING_DENY
	case "dear":
		r.Charge(chain.ModelStep, 1<<60)
	}
	return v, []int64{int64(s.noted)}
}

func (s *screening) Full(_ chain.ReadCtx, c *chain.Candidate) bool {
	return strings.HasSuffix(c.Body.Author, ":full")
}

func (s *screening) Keep(ctx *chain.Ctx, c *chain.Candidate, v *chainv1.Verdict) error {
	ctx.Set(ScreenKey(c), c.Raw)
	ctx.Emit(v)
	if strings.HasSuffix(c.Body.Author, ":full") {
		return chain.ErrBusy
	}
	return nil
}

func (s *screening) Respond(ctx *chain.Ctx, c *chain.Candidate, v *chainv1.Verdict) { ctx.Emit(v) }

func (s *screening) Note(*chain.Candidate, *chainv1.Verdict, *chainv1.TxResult) { s.noted++ }

func (s *screening) Close(ctx *chain.Ctx) {
	sum := sha256.Sum256([]byte{byte(s.noted)})
	ctx.Emit(&chainv1.Seen{Ids: sum[:], Until: int64(s.noted)})
}
