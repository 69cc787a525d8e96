package threat

import (
	"context"
	"regexp"
	"slices"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/state"
	threatv1 "github.com/chancery/chancery/proto/chancery/threat/v1"
)

const (
	maxPlaybooks     = 16
	maxPlaybookText  = 500
	maxStepUp        = 32
	minResponseMs    = int64(60 * 1000)
	maxResponseMs    = int64(30 * 24 * 60 * 60 * 1000)
	conditionParsing = 16 // bytes of a condition that are parsed for one chain.PolicyStep
)

var playbookName = regexp.MustCompile(`^[a-z0-9-]{1,40}$`)

// lasting are the actions that become a response.
var lasting = []threatv1.Action{
	threatv1.Action_ACTION_NOTIFY, threatv1.Action_ACTION_SUSPEND, threatv1.Action_ACTION_REVOKE_GRANTS, threatv1.Action_ACTION_ROTATE_KEYS,
}

// checkPlaybook refuses a playbook that could not be carried out.
func checkPlaybook(p *threatv1.Playbook) error {
	if p == nil {
		return ErrBadPlaybook.With("it is missing")
	}
	stepUp := slices.Contains(p.Actions, threatv1.Action_ACTION_STEP_UP)
	lasts := slices.ContainsFunc(p.Actions, func(a threatv1.Action) bool { return slices.Contains(lasting, a) })
	switch {
	case !playbookName.MatchString(p.Name):
		return ErrBadPlaybook.With("name must match %s", playbookName)
	case len(p.Text) > maxPlaybookText || !utf8.ValidString(p.Text):
		return ErrBadPlaybook.With("text has more than %d bytes, or is not UTF-8", maxPlaybookText)
	case len(p.Actions) == 0:
		return ErrBadPlaybook.With("it has no action")
	case stepUp && slices.Contains(p.Actions, threatv1.Action_ACTION_HOLD):
		return ErrBadPlaybook.With("it holds for reviewers or for more approvals, not both")
	case stepUp && (p.StepUpApprovals < 1 || p.StepUpApprovals > maxStepUp):
		return ErrBadPlaybook.With("step_up_approvals is %d, want 1 to %d", p.StepUpApprovals, maxStepUp)
	case !stepUp && p.StepUpApprovals != 0:
		return ErrBadPlaybook.With("step_up_approvals is for ACTION_STEP_UP alone")
	case p.LastsMs < 0 || p.LastsMs > maxResponseMs || lasts && p.LastsMs < minResponseMs:
		return ErrBadPlaybook.With("lasts_ms is %d, want a minute to 30 days; 0 where it only holds", p.LastsMs)
	}
	for i, a := range p.Actions {
		if _, ok := threatv1.Action_name[int32(a)]; !ok || a == threatv1.Action_ACTION_UNSPECIFIED || i > 0 && p.Actions[i-1] >= a {
			return ErrBadPlaybook.With("actions must be known and ascending")
		}
	}
	if _, err := parseCondition(p.When); err != nil {
		return ErrBadPlaybook.With("%v", err)
	}
	return nil
}

// setPlaybook is the route of SetPlaybook. A version is the block's height, or one more
// than the version before where that is higher, so that a name never has one twice.
func (m *Module) setPlaybook() chain.Route {
	return chain.Handle(chain.Handler[*threatv1.SetPlaybook]{
		Validate: func(msg *threatv1.SetPlaybook) error {
			if msg.Playbook.GetVersion() != 0 {
				return ErrBadPlaybook.With("leave the version out")
			}
			return checkPlaybook(msg.Playbook)
		},
		Check: func(r chain.ReadCtx, msg *threatv1.SetPlaybook) error {
			if err := m.byConsortium(r); err != nil {
				return err
			}
			r.Charge(chain.PolicyStep, uint64(len(msg.Playbook.When))/conditionParsing)
			if m.playbooks.Has(r, msg.Playbook.Name) {
				return nil
			}
			if n := len(m.playbooksIn(r)); n >= maxPlaybooks {
				return ErrTooMany.With("%d playbooks, at most %d", n, maxPlaybooks)
			}
			return nil
		},
		Execute: func(ctx *chain.Ctx, msg *threatv1.SetPlaybook) (proto.Message, error) {
			p := msg.Playbook.CloneVT()
			before, _ := m.playbooks.Lookup(ctx, p.Name)
			p.Version = max(before.GetVersion()+1, uint64(ctx.Height()))
			m.playbooks.Put(ctx, p.Name, p)
			ctx.Emit(&threatv1.PlaybookChanged{Name: p.Name, Playbook: p})
			return &threatv1.SetPlaybookResponse{Version: p.Version}, nil
		},
	})
}

func (m *Module) removePlaybook() chain.Route {
	return chain.Handle(chain.Handler[*threatv1.RemovePlaybook]{
		Validate: func(msg *threatv1.RemovePlaybook) error {
			if !playbookName.MatchString(msg.Name) {
				return ErrInvalid.With("name must match %s", playbookName)
			}
			return nil
		},
		Check: func(r chain.ReadCtx, msg *threatv1.RemovePlaybook) error {
			if err := m.byConsortium(r); err != nil {
				return err
			}
			if !m.playbooks.Has(r, msg.Name) {
				return ErrNotFound.With("playbook %s", msg.Name)
			}
			return nil
		},
		Execute: func(ctx *chain.Ctx, msg *threatv1.RemovePlaybook) (proto.Message, error) {
			m.playbooks.Remove(ctx, msg.Name)
			ctx.Emit(&threatv1.PlaybookChanged{Name: msg.Name})
			return &threatv1.RemovePlaybookResponse{}, nil
		},
	})
}

// responseRoutes handle playbooks and what is said on responses.
func (m *Module) responseRoutes() []chain.Route {
	return []chain.Route{m.setPlaybook(), m.removePlaybook(), m.lift()}
}

// playbooksIn are the playbooks, sorted by name, not to be changed.
func (m *Module) playbooksIn(r state.Reader) []*threatv1.Playbook {
	return m.playbooks.PeekPage(r, state.All(), maxPlaybooks)
}

// Playbooks implements threatv1.QueryServer.
func (q *queries) Playbooks(ctx context.Context, _ *threatv1.PlaybooksRequest) (*threatv1.PlaybooksResponse, error) {
	r, err := q.at.At(ctx)
	if err != nil {
		return nil, err
	}
	return &threatv1.PlaybooksResponse{Playbooks: q.m.playbooksIn(r)}, nil
}
