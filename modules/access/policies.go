package access

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"regexp"
	"slices"
	"strings"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/types"
	"github.com/cedar-policy/cedar-go/x/exp/ast"

	"github.com/chancery/chancery/chain/errs"
	accessv1 "github.com/chancery/chancery/proto/chancery/access/v1"
)

var (
	documentName = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,63}$`)
	policyName   = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._:/-]{0,127}$`)
)

// policySet is a parsed set of policies. It is shared and never changed.
type policySet struct {
	policies []policy // sorted by id
	nodes    uint64   // of all policies
	index    index
}

type policy struct {
	id       string
	compiled *cedar.Policy
	tree     *ast.Policy
	nodes    int
	guards   int               // has and hasTag
	literals []types.EntityUID // in its conditions
	hops     int               // how many attributes that hold entities are followed, at most
	cost     cost
}

// cost is what of policies evaluation's work depends on.
type cost struct {
	nodes     uint64
	compares  uint64 // nodes that compare values
	ins       uint64 // nodes that search ancestors
	patterns  uint64 // bytes of all like patterns
	maxString uint64 // bytes of the longest literal
	maxSet    uint64 // elements of the longest literal set
}

func (c *cost) add(o *cost) {
	c.nodes += o.nodes
	c.compares += o.compares
	c.ins += o.ins
	c.patterns += o.patterns
	c.maxString = max(c.maxString, o.maxString)
	c.maxSet = max(c.maxSet, o.maxSet)
}

var emptySet = &policySet{}

// All yields the selected policies by id; cedar.PolicyIterator.
func (s *selection) All() iter.Seq2[cedar.PolicyID, *cedar.Policy] {
	return func(yield func(cedar.PolicyID, *cedar.Policy) bool) {
		for _, i := range s.chosen {
			if !yield(cedar.PolicyID(s.set.policies[i].id), s.set.policies[i].compiled) {
				return
			}
		}
	}
}

func (s *policySet) ids() []string {
	out := make([]string, len(s.policies))
	for i, p := range s.policies {
		out[i] = p.id
	}
	return out
}

// sortedDocuments is the canonical order of a set's documents.
func sortedDocuments(documents []*accessv1.Document) []*accessv1.Document {
	out := slices.Clone(documents)
	slices.SortFunc(out, func(a, b *accessv1.Document) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// documentsHash names the content of a set of sorted documents.
func documentsHash(documents []*accessv1.Document) []byte {
	h := sha256.New()
	for _, d := range documents {
		for _, part := range []string{d.Name, d.Text} {
			var n [8]byte
			binary.BigEndian.PutUint64(n[:], uint64(len(part)))
			h.Write(n[:])
			h.Write([]byte(part))
		}
	}
	return h.Sum(nil)
}

// parseDocuments checks the bounds of a set of documents and parses it.
func (c *caches) parseDocuments(documents []*accessv1.Document) (*policySet, error) {
	if len(documents) == 0 {
		return emptySet, nil
	}
	if len(documents) > maxDocuments {
		return nil, ErrTooLarge.With("%d documents, at most %d", len(documents), maxDocuments)
	}
	total := 0
	for i, d := range documents {
		if d == nil || !documentName.MatchString(d.Name) {
			return nil, ErrField.With("documents[%d].name must match %s", i, documentName)
		}
		total += len(d.Text)
		if len(d.Text) > maxDocumentBytes {
			return nil, ErrTooLarge.With("document %s has %d bytes, at most %d", d.Name, len(d.Text), maxDocumentBytes)
		}
	}
	if total > maxSetBytes {
		return nil, ErrTooLarge.With("the documents have %d bytes together, at most %d", total, maxSetBytes)
	}
	documents = sortedDocuments(documents)
	for i := 1; i < len(documents); i++ {
		if documents[i].Name == documents[i-1].Name {
			return nil, ErrDuplicatePolicies.With("document %s", documents[i].Name)
		}
	}
	return c.policySet(documentsHash(documents), documents)
}

// policySet returns the parsed form of documents that have a hash.
func (c *caches) policySet(hash []byte, documents []*accessv1.Document) (*policySet, error) {
	if set, ok := c.sets.Get(string(hash)); ok {
		return set, nil
	}
	set, err := parseSet(documents)
	if err != nil {
		return nil, err
	}
	c.keepSet(string(hash), set)
	return set, nil
}

func parseSet(documents []*accessv1.Document) (*policySet, error) {
	set := &policySet{}
	for _, d := range documents {
		if err := scanPolicies(d.Text); err != nil {
			return nil, in("document "+d.Name, err)
		}
		list, err := cedar.NewPolicyListFromBytes(d.Name, []byte(d.Text))
		if err != nil {
			return nil, ErrSyntax.With("document %s: %s", d.Name, clip(err.Error()))
		}
		for i, compiled := range list {
			p, err := newPolicy(d.Name, i, compiled)
			if err != nil {
				return nil, err
			}
			set.policies = append(set.policies, p)
			set.nodes += uint64(p.nodes)
		}
		if len(set.policies) > maxPolicies {
			return nil, ErrTooLarge.With("more than %d policies", maxPolicies)
		}
	}
	if set.nodes > maxSetNodes {
		return nil, ErrTooLarge.With("the policies' syntax trees have %d nodes together, at most %d", set.nodes, maxSetNodes)
	}
	slices.SortFunc(set.policies, func(a, b policy) int { return strings.Compare(a.id, b.id) })
	for i := 1; i < len(set.policies); i++ {
		if set.policies[i].id == set.policies[i-1].id {
			return nil, ErrDuplicatePolicies.With("policy %s", set.policies[i].id)
		}
	}
	set.index = newIndex(set.policies)
	return set, nil
}

// newPolicy names and measures a policy.
func newPolicy(document string, position int, compiled *cedar.Policy) (policy, error) {
	p := policy{
		id:       fmt.Sprintf("%s#%d", document, position),
		compiled: compiled,
		tree:     (*ast.Policy)(compiled.AST()),
	}
	for _, a := range p.tree.Annotations {
		if a.Key != "id" {
			continue
		}
		if !policyName.MatchString(string(a.Value)) {
			return p, ErrField.With("document %s: the @id of policy %d must match %s", document, position, policyName)
		}
		p.id = string(a.Value)
	}
	for _, scope := range p.scopes() {
		p.cost.scope(scope)
	}
	p.nodes = 3
	for _, c := range p.tree.Conditions {
		ast.Inspect(ast.NewNode(c.Body), func(n ast.IsNode) bool {
			p.nodes++
			p.node(n)
			return p.nodes <= maxNodes
		})
		if p.nodes > maxNodes {
			return p, ErrTooLarge.With("policy %s has more than %d syntax nodes", p.id, maxNodes)
		}
		p.hops = max(p.hops, hops(c.Body))
	}
	p.cost.nodes = uint64(p.nodes)
	p.literals = sortedUIDs(p.literals)
	return p, nil
}

func (c *cost) scope(n ast.IsScopeNode) {
	switch n := n.(type) {
	case ast.ScopeTypeIn, ast.ScopeTypeIsIn:
		c.ins++
	case ast.ScopeTypeInSet:
		c.ins++
		c.maxSet = max(c.maxSet, uint64(len(n.Entities)))
	}
}

func (p *policy) node(n ast.IsNode) {
	switch n := n.(type) {
	case ast.NodeTypeEquals, ast.NodeTypeNotEquals, ast.NodeTypeContains, ast.NodeTypeContainsAll, ast.NodeTypeContainsAny:
		p.cost.compares++
	case ast.NodeTypeIn, ast.NodeTypeIsIn:
		p.cost.ins++
	case ast.NodeTypeSet:
		p.cost.compares += uint64(len(n.Elements))
		p.cost.maxSet = max(p.cost.maxSet, uint64(len(n.Elements)))
	case ast.NodeTypeLike:
		p.cost.patterns += uint64(len(n.Value.MarshalCedar()))
	case ast.NodeTypeHas, ast.NodeTypeHasTag:
		p.guards++
	case ast.NodeValue:
		switch v := n.Value.(type) {
		case types.EntityUID:
			p.literals = append(p.literals, v)
		case types.String:
			p.cost.maxString = max(p.cost.maxString, uint64(len(v)))
		}
	}
}

// hops bounds how many entity attributes an expression follows one after the
// other to reach a value.
func hops(n ast.IsNode) int {
	deepest := func(ns ...ast.IsNode) int {
		out := 0
		for _, n := range ns {
			out = max(out, hops(n))
		}
		return out
	}
	switch n := n.(type) {
	case ast.NodeTypeAccess:
		if v, ok := n.Arg.(ast.NodeTypeVariable); ok && v.Name == "context" {
			return 0
		}
		return 1 + hops(n.Arg)
	case ast.NodeTypeHas:
		return hops(n.Arg)
	case ast.NodeTypeGetTag:
		return max(1+hops(n.Left), hops(n.Right))
	case ast.NodeTypeLike:
		return hops(n.Arg)
	case ast.NodeTypeIs:
		return hops(n.Left)
	case ast.NodeTypeIsIn:
		return deepest(n.Left, n.Entity)
	case ast.NodeTypeIfThenElse:
		return deepest(n.If, n.Then, n.Else)
	case ast.NodeTypeNegate:
		return hops(n.Arg)
	case ast.NodeTypeNot:
		return hops(n.Arg)
	case ast.NodeTypeIsEmpty:
		return hops(n.Arg)
	case ast.NodeTypeExtensionCall:
		return deepest(n.Args...)
	case ast.NodeTypeSet:
		return deepest(n.Elements...)
	case ast.NodeTypeRecord:
		out := 0
		for _, e := range n.Elements {
			out = max(out, hops(e.Value))
		}
		return out
	case ast.NodeValue, ast.NodeTypeVariable:
		return 0
	}
	if left, right, ok := operands(n); ok {
		return deepest(left, right)
	}
	panic(fmt.Sprintf("access: no rule for syntax node %T", n))
}

// operands of the nodes that have exactly two.
func operands(n ast.IsNode) (left, right ast.IsNode, ok bool) {
	switch n := n.(type) {
	case ast.NodeTypeOr:
		return n.Left, n.Right, true
	case ast.NodeTypeAnd:
		return n.Left, n.Right, true
	case ast.NodeTypeLessThan:
		return n.Left, n.Right, true
	case ast.NodeTypeLessThanOrEqual:
		return n.Left, n.Right, true
	case ast.NodeTypeGreaterThan:
		return n.Left, n.Right, true
	case ast.NodeTypeGreaterThanOrEqual:
		return n.Left, n.Right, true
	case ast.NodeTypeNotEquals:
		return n.Left, n.Right, true
	case ast.NodeTypeEquals:
		return n.Left, n.Right, true
	case ast.NodeTypeIn:
		return n.Left, n.Right, true
	case ast.NodeTypeHasTag:
		return n.Left, n.Right, true
	case ast.NodeTypeSub:
		return n.Left, n.Right, true
	case ast.NodeTypeAdd:
		return n.Left, n.Right, true
	case ast.NodeTypeMult:
		return n.Left, n.Right, true
	case ast.NodeTypeContains:
		return n.Left, n.Right, true
	case ast.NodeTypeContainsAll:
		return n.Left, n.Right, true
	case ast.NodeTypeContainsAny:
		return n.Left, n.Right, true
	}
	return nil, nil, false
}

// refusePermits keeps guard rails to forbidding.
func refusePermits(set *policySet) error {
	for _, p := range set.policies {
		if p.tree.Effect == ast.EffectPermit {
			return ErrPermit.With("policy %s", p.id)
		}
	}
	return nil
}

// clip bounds the text of a foreign error.
func clip(s string) string {
	const most = 2000
	if len(s) > most {
		return strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}

// in says where an error of the module happened.
func in(where string, err error) error {
	if e := new(errs.Error); errors.As(err, &e) {
		return e.With("%s: %s", where, e.Detail)
	}
	return fmt.Errorf("%s: %w", where, err)
}
