package rpc

import (
	_ "embed"
	"fmt"
	"regexp"
	"strings"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/types"
)

// maxPolicies is the largest text of policies, in bytes.
const maxPolicies = 256 << 10

//go:embed doors.cedar
var defaultPolicies []byte

// Policies say who may call which method: a set of Cedar policies, denied by default.
// See doors.cedar for what they may ask. They never change.
type Policies struct {
	set   *cedar.PolicySet
	audit map[cedar.PolicyID]bool
	named map[string]bool // methods that some policy names
}

var methodName = regexp.MustCompile(`Action::"(/[^"/]+/[^"/]+)"`)

// ParsePolicies reads policies in Cedar's text form.
func ParsePolicies(text []byte) (*Policies, error) {
	if len(text) > maxPolicies {
		return nil, fmt.Errorf("the policies have %d bytes, at most %d", len(text), maxPolicies)
	}
	set, err := cedar.NewPolicySetFromBytes("", text)
	if err != nil {
		return nil, fmt.Errorf("read the policies: %w", err)
	}
	p := &Policies{set: set, audit: make(map[cedar.PolicyID]bool), named: make(map[string]bool)}
	for id, policy := range set.All() {
		p.audit[id] = policy.Annotations()["audit"] == "true"
		for _, m := range methodName.FindAllStringSubmatch(string(policy.MarshalCedar()), -1) {
			p.named[m[1]] = true
		}
	}
	return p, nil
}

// DefaultPolicies are those that a node has unless its operator gives others.
func DefaultPolicies() *Policies {
	p, err := ParsePolicies(defaultPolicies)
	if err != nil {
		panic("rpc: doors.cedar: " + err.Error())
	}
	return p
}

// Named tells whether some policy names a method, /package.Service/Method.
func (p *Policies) Named(method string) bool { return p.named[method] }

// permits tells whether a caller may call a method, and whether the call is written to
// the log.
func (p *Policies) permits(c principal, method string) (ok, audit bool) {
	service, _, _ := strings.Cut(strings.TrimPrefix(method, "/"), "/")
	uid := types.NewEntityUID("Client", types.String(c.name()))
	roles := make([]types.Value, len(c.roles))
	for i, r := range c.roles {
		roles[i] = types.String(r)
	}
	entities := types.EntityMap{uid: {UID: uid, Attributes: types.NewRecord(types.RecordMap{
		"known": types.Boolean(c.known), "organisation": types.String(c.organisation), "kind": types.String(c.kind),
		"roles": types.NewSet(roles...), "own": types.Boolean(c.own), "administrator": types.Boolean(c.administrator),
		"token": types.Boolean(c.token),
	})}}
	decision, why := cedar.Authorize(p.set, entities, cedar.Request{
		Principal: uid, Action: types.NewEntityUID("Action", types.String(method)), Resource: types.NewEntityUID("Service", types.String(service)),
	})
	for _, reason := range why.Reasons {
		audit = audit || p.audit[reason.PolicyID]
	}
	return decision == types.Allow, audit
}
