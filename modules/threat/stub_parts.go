package threat

import (
	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/state"
	"github.com/chancery/chancery/modules/threat/features"
	chainv1 "github.com/chancery/chancery/proto/chancery/chain/v1"
	threatv1 "github.com/chancery/chancery/proto/chancery/threat/v1"
)

// Stand-ins for the part R.

type situation struct {
	candidate *chain.Candidate
	verdict   *chainv1.Verdict
	facts     []features.Facts
	model     []byte
}

func (m *Module) before(chain.ReadCtx, *situation) (hold bool, playbook string, approvals uint32) {
	return false, "", 0
}
func (m *Module) after(*chain.Ctx, *situation)                                    {}
func (m *Module) hear(*chain.Ctx, []*chainv1.Vote)                                {}
func (m *Module) endResponses(*chain.Ctx)                                         {}
func (m *Module) responseRoutes() []chain.Route                                   { return nil }
func (m *Module) CommonRisk(chain.ReadCtx, string) threatv1.Risk                  { return 0 }
func (m *Module) appealResponse(*chain.Ctx, []byte, *threatv1.AppealRecord) error { return ErrNotFound }
func (m *Module) exportResponses(state.Reader, *threatv1.Genesis)                 {}
func (m *Module) importResponses(*chain.Ctx, *threatv1.Genesis) error             { return nil }
