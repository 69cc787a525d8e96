package node

import (
	"cmp"
	"context"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/consensus"
	"github.com/chancery/chancery/modules/threat"
	"github.com/chancery/chancery/node/evidence"
	"github.com/chancery/chancery/node/intel"
	threatv1 "github.com/chancery/chancery/proto/chancery/threat/v1"
)

// voice says with a validator's votes what the node believes of others.
type voice struct {
	book *intel.Book
	log  *slog.Logger
}

var _ consensus.Voice = (*voice)(nil)

// perExtension is how many opinions fit into an extension whatever their subjects are.
const perExtension = 20

// Extension implements consensus.Voice. It waits for nobody.
func (v *voice) Extension(height, now int64) []byte {
	said := new(threatv1.Assessments)
	for _, o := range v.book.Next(height, now, perExtension) {
		a := &threatv1.Assessment{Subject: o.Subject, Risk: threatv1.Risk(o.Level), Cause: threatv1.Cause(o.Reason), Until: o.Until}
		if o.Source != ([32]byte{}) {
			a.Source = o.Source[:]
		}
		said.Assessments = append(said.Assessments, a)
	}
	if len(said.Assessments) == 0 {
		return nil
	}
	slices.SortFunc(said.Assessments, func(a, b *threatv1.Assessment) int { return cmp.Compare(a.Subject, b.Subject) })
	raw, err := said.MarshalVT()
	if err != nil {
		v.log.Error("what this validator has to say does not marshal", "error", err)
		return nil
	}
	return raw
}

// Check implements consensus.Voice.
func (v *voice) Check(extension []byte) error {
	_, err := threat.ParseExtension(extension)
	return err
}

// accuserQueue is how many refused proposals may wait to be written down.
const accuserQueue = 64

// lieLife is how long a validator thinks ill of an organisation whose validator lied.
const lieLife = time.Hour

// accuser writes refused proposals down and makes them opinions.
type accuser struct {
	app      *chain.App
	evidence *evidence.Log
	book     *intel.Book
	powers   func(r chain.ReadCtx) ([]threat.Power, int64)
	log      *slog.Logger
	pending  chan consensus.Lie
}

// tell never waits: consensus calls it.
func (a *accuser) tell(l consensus.Lie) {
	select {
	case a.pending <- l:
	default:
		a.log.Warn("refused proposals come faster than they can be written down; one is left out", "height", l.Height)
	}
}

// run works until ctx ends.
func (a *accuser) run(ctx context.Context) {
	for {
		select {
		case l := <-a.pending:
			a.accuse(l)
		case <-ctx.Done():
			return
		}
	}
}

func (a *accuser) accuse(l consensus.Lie) {
	e := evidence.Entry{Height: l.Height, Proposer: fmt.Sprintf("%X", l.Proposer), Reason: l.Reason.Error()}
	powers, _ := a.powers(a.app.Latest())
	for _, p := range powers {
		if string(p.Address[:]) == string(l.Proposer) {
			e.Organisation = p.Organisation
		}
	}
	a.evidence.Add(e, l.Docket)
	if e.Organisation == "" {
		return
	}
	now := a.app.Head().Time
	err := a.book.Set(intel.OriginNode, now, intel.Opinion{
		Subject: e.Organisation, Level: intel.LevelHigh, Reason: intel.ReasonProposerLied,
		Source: sha256.Sum256(l.Docket), Until: now + lieLife.Milliseconds(),
	})
	if err != nil {
		a.log.Error("an opinion about a proposer that lied is not kept", "organisation", e.Organisation, "error", err)
	}
}
