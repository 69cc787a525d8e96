package threat

import (
	"slices"
	"strings"

	"github.com/cedar-policy/cedar-go/types"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/state"
	"github.com/chancery/chancery/modules/threat/features"
	chainv1 "github.com/chancery/chancery/proto/chancery/chain/v1"
	threatv1 "github.com/chancery/chancery/proto/chancery/threat/v1"
)

// situation is a transaction with what is known of it.
type situation struct {
	candidate *chain.Candidate
	verdict   *chainv1.Verdict
	facts     []features.Facts // of its messages
	context   *features.Context
	model     []byte               // that decided; nil: none could
	alarming  bool                 // playbooks look at it
	enforced  bool                 // what playbooks say is carried out
	playbooks []*threatv1.Playbook // of when the block began
}

func (s *situation) author() string { return s.candidate.Body.Author }

// alarming tells whether playbooks look at a transaction: it scored
// params.alarm_score, or the common risk of its author or the author's organisation is
// high.
func alarming(p *threatv1.Params, v *chainv1.Verdict, c *features.Context) bool {
	return v.GetScore() >= p.AlarmScore || max(c.Risk, c.OrganisationRisk) >= uint8(threatv1.Risk_RISK_HIGH)
}

// matching are the playbooks whose condition one of the messages meets, sorted by name.
// r is charged before each evaluation.
func (m *Module) matching(r chain.ReadCtx, s *situation) []*threatv1.Playbook {
	if s.verdict == nil || !s.alarming || len(s.playbooks) == 0 {
		return nil
	}
	asked := m.ask(r, s)
	var out []*threatv1.Playbook
	for _, p := range s.playbooks {
		when, err := parseCondition(p.When)
		if err != nil {
			panic(&state.Fault{Where: "parse the condition of playbook " + p.Name, Err: err})
		}
		if slices.ContainsFunc(asked.messages, func(q question) bool {
			r.Charge(chain.PolicyStep, when.steps(asked.longest, asked.widest, uint64(len(q.parents))))
			met, _ := when.ask(&q)
			return met
		}) {
			out = append(out, p)
		}
	}
	return out
}

// asked is the questions about a transaction, one for each message, with the bytes of
// their longest string and the elements of their largest set.
type asked struct {
	messages        []question
	longest, widest uint64
}

// ask puts what is known of a transaction into Cedar's terms.
func (m *Module) ask(r chain.ReadCtx, s *situation) asked {
	id, author, organisation := m.deps.Identity, s.author(), s.candidate.Authority.Organisation
	kind, _ := id.Kind(r, author)
	roles := id.Roles(r, author)
	identityAge, keyAge, ok := id.Ages(r, author)
	if !ok {
		identityAge, keyAge = 0, -1
	}
	var names []string
	for _, message := range s.candidate.Messages {
		names = append(names, string(message.ProtoReflect().Descriptor().FullName()))
	}
	kinds := slices.Compact(slices.Sorted(slices.Values(names)))
	kindSet, longest := stringSet(kinds)
	roleSet, longestRole := stringSet(roles)
	out := asked{longest: max(longest, longestRole, maxSubjectBytes), widest: uint64(max(len(kinds), len(roles)))}
	principal := types.NewEntityUID(principalType(kind), types.String(author))
	entity := types.NewRecord(types.RecordMap{
		"kind": types.String(kind), "organisation": types.String(organisation), "roles": roleSet,
		"identityAge": types.Long(identityAge), "keyAge": types.Long(keyAge),
	})
	var parents []types.EntityUID
	if organisation != author {
		parents = append(parents, types.NewEntityUID("Chancery::Organisation", types.String(organisation)))
	}
	slug := organisation[strings.LastIndexByte(organisation, ':')+1:]
	for _, role := range roles {
		parents = append(parents, types.NewEntityUID("Chancery::Role", types.String(slug+"/"+role)))
	}
	hour, weekday := clock(r.Time())
	risk, organisationRisk := m.CommonRisk(r, author), m.CommonRisk(r, organisation)
	fresh := s.context != nil && s.context.Edge.Known && s.context.Edge.Past == 0
	for i, name := range names {
		var f features.Facts
		if i < len(s.facts) {
			f = s.facts[i]
		}
		sensitivity := f.Sensitivity
		if s.context != nil {
			sensitivity = s.context.Sensitivity(&f)
		}
		out.longest = max(out.longest, uint64(len(f.Resource)), uint64(len(f.Owner)), uint64(len(f.Subject)))
		out.messages = append(out.messages, question{
			principal: principal, entity: entity, parents: parents, kind: name, resource: f.Resource,
			context: types.RecordMap{
				"score": types.Long(s.verdict.Score), "ruling": types.String(rulingName(s.verdict.Ruling)),
				"commonRisk": types.Long(risk), "organisationRisk": types.Long(organisationRisk),
				"kinds": kindSet, "messages": types.Long(len(names)), "signers": types.Long(len(s.candidate.Authority.Signers)),
				"size": types.Long(len(s.candidate.Raw)), "fresh": types.Boolean(fresh), "time": types.Long(r.Time()),
				"hour": types.Long(hour), "weekday": types.Long(weekday), "height": types.Long(r.Height()),
				"class": types.String(f.Class.String()), "sensitivity": types.Long(sensitivity), "items": types.Long(f.Items),
				"owner": types.String(f.Owner), "about": types.String(f.Subject),
				"crossOrganisation": types.Boolean(f.Owner != "" && f.Owner != organisation),
				"privilege":         types.Boolean(f.Privilege), "emergency": types.Boolean(f.Emergency),
				"destructive": types.Boolean(f.Destructive), "onBehalf": types.Boolean(f.OnBehalf), "special": types.Boolean(f.Special),
			},
		})
	}
	return out
}

func rulingName(r chainv1.Ruling) string {
	switch r {
	case chainv1.Ruling_RULING_HOLD:
		return "hold"
	case chainv1.Ruling_RULING_DENY:
		return "deny"
	}
	return "admit"
}

// principalType is the Cedar type of an author, by the kind that identity gives it.
func principalType(kind string) types.EntityType {
	switch kind {
	case "person":
		return "Chancery::Person"
	case "organisation":
		return "Chancery::Organisation"
	case "device":
		return "Chancery::Device"
	case "service":
		return "Chancery::Service"
	case "consortium":
		return "Chancery::Consortium"
	}
	return "Chancery::Unknown"
}
