package access

import (
	"bytes"
	"slices"

	"github.com/cedar-policy/cedar-go"
	publicast "github.com/cedar-policy/cedar-go/ast"
	"github.com/cedar-policy/cedar-go/types"
	"github.com/cedar-policy/cedar-go/x/exp/ast"
	"github.com/cedar-policy/cedar-go/x/exp/eval"

	"github.com/chancery/chancery/chain"
	accessv1 "github.com/chancery/chancery/proto/chancery/access/v1"
)

// explain shows how a recorded or a hypothetical decision comes about. It names
// attributes and never shows their values.
func (m *Module) explain(r chain.ReadCtx, q *accessv1.ExplainRequest) (*accessv1.ExplainResponse, error) {
	out := &accessv1.ExplainResponse{Reproduced: true}
	var in *inputs
	var want []byte
	asked := false
	switch what := q.What.(type) {
	case *accessv1.ExplainRequest_DecisionId:
		d, ok := m.store.decisions.Lookup(r, what.DecisionId)
		if !ok {
			return nil, ErrNotFound.With("decision %x", what.DecisionId)
		}
		in, want = m.recorded(r, d, &asked), d.Verdict.InputsHash
		out.Verdict = d.Verdict
	case *accessv1.ExplainRequest_Request:
		if err := checkRequest(what.Request); err != nil {
			return nil, err
		}
		if err := m.checkOrganisation(r, what.Request.Organisation); err != nil {
			return nil, err
		}
		in = m.live(r, what.Request)
	default:
		return nil, ErrField.With("give decision_id or request")
	}
	e, err := m.caches.evaluate(in)
	if err != nil {
		return nil, err
	}
	if want != nil {
		out.Reproduced = !asked && bytes.Equal(want, e.verdict.InputsHash) && e.verdict.EqualVT(out.Verdict)
	} else {
		out.Verdict = e.verdict
	}
	out.Request, out.Principal, out.Risk, out.Height, out.Time = in.request, in.principal, in.risk, in.height, in.time
	if e.answer == nil {
		return out, nil
	}
	a, cq := e.answer, e.question
	out.SchemaError = a.detail
	for _, key := range slices.Sorted(cq.request.Context.Keys()) {
		out.Context = append(out.Context, string(key))
	}
	for _, v := range a.slice.versions() {
		out.Entities = append(out.Entities, fact(a.slice, v))
	}
	if a.malformed != "" {
		return out, nil
	}
	env := eval.Env{
		Entities: a.slice, Principal: cq.request.Principal, Action: cq.request.Action,
		Resource: cq.request.Resource, Context: cq.request.Context,
	}
	for _, p := range cq.guardRails.policies {
		f := finding(p, cq.request, env, a.guardRails)
		f.GuardRail = true
		out.Policies = append(out.Policies, f)
	}
	for _, p := range cq.policies.policies {
		out.Policies = append(out.Policies, finding(p, cq.request, env, a.policies))
	}
	return out, nil
}

// fact describes an entity of a slice.
func fact(s *slice, v *accessv1.EntityVersion) *accessv1.EntityFact {
	out := &accessv1.EntityFact{Uid: v.Uid, Version: v.Version}
	e, ok := s.Get(toCedar(v.Uid))
	if !ok {
		return out
	}
	for _, name := range slices.Sorted(e.Attributes.Keys()) {
		out.Attributes = append(out.Attributes, string(name))
	}
	for _, p := range slices.SortedFunc(e.Parents.All(), compareUIDs) {
		out.Parents = append(out.Parents, fromCedar(p))
	}
	return out
}

// finding evaluates one policy by its parts.
func finding(p policy, request types.Request, env eval.Env, determining []string) *accessv1.PolicyFinding {
	out := &accessv1.PolicyFinding{
		Id: p.id, Effect: accessv1.Effect_EFFECT_PERMIT,
		Status:      accessv1.PolicyStatus_POLICY_STATUS_SATISFIED,
		Determining: slices.Contains(determining, p.id),
		Reads:       reads(p.tree),
	}
	if p.tree.Effect == ast.EffectForbid {
		out.Effect = accessv1.Effect_EFFECT_FORBID
	}
	scope := &ast.Policy{Effect: ast.EffectPermit, Principal: p.tree.Principal, Action: p.tree.Action, Resource: p.tree.Resource}
	only := cedar.PolicyMap{"scope": cedar.NewPolicyFromAST((*publicast.Policy)(scope))}
	if decision, _ := cedar.Authorize(only, env.Entities, request); decision != types.Allow {
		out.Status = accessv1.PolicyStatus_POLICY_STATUS_NOT_APPLICABLE
		return out
	}
	for _, c := range p.tree.Conditions {
		f := &accessv1.ConditionFinding{Kind: "when"}
		holds := types.True
		if c.Condition == ast.ConditionUnless {
			f.Kind, holds = "unless", types.False
		}
		out.Conditions = append(out.Conditions, f)
		value, err := eval.Eval(c.Body, env)
		b, isBool := value.(types.Boolean)
		switch {
		case err != nil:
			f.Result, f.Error = "error", clip(err.Error())
		case !isBool:
			f.Result, f.Error = "error", "it is no boolean"
		case bool(b):
			f.Result = "true"
		default:
			f.Result = "false"
		}
		if f.Result == "error" && out.Status == accessv1.PolicyStatus_POLICY_STATUS_SATISFIED {
			out.Status, out.Error = accessv1.PolicyStatus_POLICY_STATUS_ERROR, f.Error
		}
		if f.Result != "error" && b != holds && out.Status == accessv1.PolicyStatus_POLICY_STATUS_SATISFIED {
			out.Status = accessv1.PolicyStatus_POLICY_STATUS_NOT_SATISFIED
		}
	}
	return out
}

// reads are the attributes and tags that a policy's conditions name, sorted.
func reads(p *ast.Policy) []string {
	var out []string
	for _, c := range p.Conditions {
		ast.Inspect(ast.NewNode(c.Body), func(n ast.IsNode) bool {
			switch n := n.(type) {
			case ast.NodeTypeAccess:
				out = append(out, path(n.Arg)+"."+string(n.Value))
			case ast.NodeTypeHas:
				out = append(out, path(n.Arg)+"."+string(n.Value))
			case ast.NodeTypeGetTag:
				out = append(out, path(n.Left)+".getTag()")
			case ast.NodeTypeHasTag:
				out = append(out, path(n.Left)+".getTag()")
			}
			return true
		})
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// path names the value that an attribute is read of.
func path(n ast.IsNode) string {
	switch n := n.(type) {
	case ast.NodeTypeVariable:
		return string(n.Name)
	case ast.NodeTypeAccess:
		return path(n.Arg) + "." + string(n.Value)
	case ast.NodeTypeGetTag:
		return path(n.Left) + ".getTag()"
	case ast.NodeValue:
		if uid, ok := n.Value.(types.EntityUID); ok {
			return uid.String()
		}
	}
	return "(…)"
}
