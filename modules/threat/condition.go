package threat

import (
	"crypto/sha256"
	"fmt"
	"iter"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/types"
	"github.com/cedar-policy/cedar-go/x/exp/ast"
	lru "github.com/hashicorp/golang-lru/v2"
)

// Bounds of a playbook's condition. Each is part of consensus.
const (
	maxConditionBytes    = 8 << 10
	maxConditionPolicies = 32
	maxConditionNodes    = 1024 // of all syntax trees together
	maxConditionDepth    = 32   // of brackets
	maxConditionUnary    = 64   // ! and - in one policy
	maxConditionMembers  = 256  // . and [ in one policy
	maxConditionIfs      = 32   // in one policy
)

// What policies see besides the principal's memberships, with a value of the type that
// each has.
var (
	contextAttributes = types.RecordMap{
		// Of the transaction.
		"score": types.Long(0), "ruling": types.String("admit"), "commonRisk": types.Long(0), "organisationRisk": types.Long(0),
		"kinds": types.NewSet(types.String("")), "messages": types.Long(1), "signers": types.Long(1), "size": types.Long(0),
		"fresh": types.Boolean(false), "time": types.Long(0), "hour": types.Long(0), "weekday": types.Long(1), "height": types.Long(0),
		// Of the message.
		"class": types.String(""), "sensitivity": types.Long(0), "items": types.Long(0), "owner": types.String(""), "about": types.String(""),
		"crossOrganisation": types.Boolean(false), "privilege": types.Boolean(false), "emergency": types.Boolean(false),
		"destructive": types.Boolean(false), "onBehalf": types.Boolean(false), "special": types.Boolean(false),
	}
	principalAttributes = types.RecordMap{
		"kind": types.String(""), "organisation": types.String(""), "roles": types.NewSet(types.String("")),
		"identityAge": types.Long(0), "keyAge": types.Long(0),
	}
)

// condition is a parsed condition. It is shared and never changed.
type condition struct {
	policies []conditionPolicy
	nodes    uint64
	compares uint64 // nodes that compare values
	searches uint64 // nodes that search ancestors
	patterns uint64 // bytes of all like patterns
	longest  uint64 // bytes of the longest literal
	widest   uint64 // elements of the largest literal set
}

type conditionPolicy struct {
	id       cedar.PolicyID
	compiled *cedar.Policy
}

// All yields the policies in their order; cedar.PolicyIterator.
func (c *condition) All() iter.Seq2[cedar.PolicyID, *cedar.Policy] {
	return func(yield func(cedar.PolicyID, *cedar.Policy) bool) {
		for _, p := range c.policies {
			if !yield(p.id, p.compiled) {
				return
			}
		}
	}
}

// conditions keeps parsed conditions by the hash of their text, so that no result
// depends on it. All goroutines share it.
var conditions = func() *lru.Cache[[sha256.Size]byte, *condition] {
	c, err := lru.New[[sha256.Size]byte, *condition](4 * maxPlaybooks)
	if err != nil {
		panic("threat: a cache of fixed size: " + err.Error())
	}
	return c
}()

// parseCondition reads a condition within its bounds. Errors say what is wrong and are
// for ErrBadPlaybook.
func parseCondition(text string) (*condition, error) {
	key := sha256.Sum256([]byte(text))
	if c, ok := conditions.Get(key); ok {
		return c, nil
	}
	if err := scanCondition(text); err != nil {
		return nil, err
	}
	list, err := cedar.NewPolicyListFromBytes("when", []byte(text))
	if err != nil {
		return nil, fmt.Errorf("when is not valid Cedar: %s", clip(err.Error()))
	}
	if len(list) == 0 || len(list) > maxConditionPolicies {
		return nil, fmt.Errorf("when has %d policies, want 1 to %d", len(list), maxConditionPolicies)
	}
	c := new(condition)
	for i, compiled := range list {
		tree := (*ast.Policy)(compiled.AST())
		c.searches += 3
		for _, body := range tree.Conditions {
			ast.Inspect(ast.NewNode(body.Body), func(n ast.IsNode) bool {
				if c.nodes++; c.nodes > maxConditionNodes || err != nil {
					return false
				}
				err = c.node(n)
				return true
			})
		}
		if err != nil {
			return nil, err
		}
		c.policies = append(c.policies, conditionPolicy{id: cedar.PolicyID(fmt.Sprintf("%02d", i)), compiled: compiled})
	}
	if c.nodes > maxConditionNodes {
		return nil, fmt.Errorf("when has more than %d syntax nodes", maxConditionNodes)
	}
	if err := c.try(); err != nil {
		return nil, err
	}
	conditions.Add(key, c)
	return c, nil
}

// node takes a syntax node's share of the cost and refuses attributes that nothing has.
func (c *condition) node(n ast.IsNode) error {
	switch n := n.(type) {
	case ast.NodeTypeAccess:
		return known(n.StrOpNode)
	case ast.NodeTypeHas:
		return known(n.StrOpNode)
	case ast.NodeTypeEquals, ast.NodeTypeNotEquals, ast.NodeTypeContains, ast.NodeTypeContainsAll, ast.NodeTypeContainsAny:
		c.compares++
	case ast.NodeTypeIn, ast.NodeTypeIsIn:
		c.searches++
	case ast.NodeTypeSet:
		c.compares += uint64(len(n.Elements))
		c.widest = max(c.widest, uint64(len(n.Elements)))
	case ast.NodeTypeLike:
		c.patterns += uint64(len(n.Value.MarshalCedar()))
	case ast.NodeValue:
		if s, ok := n.Value.(types.String); ok {
			c.longest = max(c.longest, uint64(len(s)))
		}
	}
	return nil
}

func known(n ast.StrOpNode) error {
	v, ok := n.Arg.(ast.NodeTypeVariable)
	if !ok {
		return nil
	}
	switch v.Name {
	case "context":
		_, ok = contextAttributes[n.Value]
	case "principal":
		_, ok = principalAttributes[n.Value]
	default:
		ok = false
	}
	if !ok {
		return fmt.Errorf("%s has no attribute %s", v.Name, clip(string(n.Value)))
	}
	return nil
}

// try evaluates the condition once, so that one that compares what cannot be compared
// is refused rather than never met.
func (c *condition) try() error {
	q := question{
		principal: types.NewEntityUID("Chancery::Person", "did:chancery:example:person"),
		entity:    types.NewRecord(principalAttributes),
		context:   contextAttributes,
	}
	if _, failed := c.ask(&q); failed != "" {
		return fmt.Errorf("when does not evaluate: %s", clip(failed))
	}
	return nil
}

// question is what a condition is asked about one message.
type question struct {
	principal types.EntityUID
	entity    types.Record // the principal's attributes
	parents   []types.EntityUID
	kind      string // full name of the message
	resource  string // what it touches; may be empty
	context   types.RecordMap
}

// ask tells whether the condition is met. failed is the first error of a policy, which
// then does not count.
func (c *condition) ask(q *question) (met bool, failed string) {
	entities := types.EntityMap{q.principal: {
		UID: q.principal, Parents: types.NewEntityUIDSet(q.parents...), Attributes: q.entity,
	}}
	decision, diagnostic := cedar.Authorize(c, entities, types.Request{
		Principal: q.principal,
		Action:    types.NewEntityUID("Action", types.String(q.kind)),
		Resource:  types.NewEntityUID("Chancery::Resource", types.String(q.resource)),
		Context:   types.NewRecord(q.context),
	})
	if len(diagnostic.Errors) > 0 {
		failed = diagnostic.Errors[0].Message
	}
	return decision == types.Allow, failed
}

// steps bounds the work of one evaluation: one step for each syntax node and attribute;
// for a node that compares, by the largest value that it could meet, sets pairwise; for
// a node that searches ancestors, by the principal's; for a like, by pattern and string.
func (c *condition) steps(longest, widest, parents uint64) uint64 {
	longest, widest = max(longest, c.longest), max(widest, c.widest)
	return c.nodes + uint64(len(contextAttributes)+len(principalAttributes)) +
		c.compares*(longest/64+widest+widest*widest/64+1) + c.searches*(parents+1) + c.patterns*(longest/256+1)
}

// scanCondition refuses what the parser must not meet: nesting, chains of members,
// unary operators and ifs beyond the bounds. It knows strings and comments; text that it
// accepts may still be wrong Cedar.
func scanCondition(text string) error {
	switch {
	case text == "" || len(text) > maxConditionBytes:
		return fmt.Errorf("when has %d bytes, want 1 to %d", len(text), maxConditionBytes)
	case !utf8.ValidString(text) || strings.IndexByte(text, 0) >= 0:
		return fmt.Errorf("when is not UTF-8 without NUL")
	}
	depth, unary, members, ifs := 0, 0, 0, 0
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '"':
			for i++; i < len(text) && text[i] != '"'; i++ {
				if text[i] == '\\' {
					i++
				}
			}
		case c == '/' && strings.HasPrefix(text[i:], "//"):
			for i < len(text) && text[i] != '\n' {
				i++
			}
		case c == '/' && strings.HasPrefix(text[i:], "/*"):
			return fmt.Errorf("when has a comment other than //")
		case c == '(' || c == '{' || c == '[':
			depth++
			if c == '[' {
				members++
			}
		case c == ')' || c == '}' || c == ']':
			depth = max(0, depth-1)
		case c == '.':
			members++
		case c == '!' || c == '-':
			unary++
		case c == ';':
			unary, members, ifs = 0, 0, 0
		case wordByte(c):
			start := i
			for i+1 < len(text) && wordByte(text[i+1]) {
				i++
			}
			if text[start:i+1] == "if" {
				ifs++
			}
		}
		switch {
		case depth > maxConditionDepth:
			return fmt.Errorf("when nests brackets deeper than %d", maxConditionDepth)
		case unary > maxConditionUnary || members > maxConditionMembers || ifs > maxConditionIfs:
			return fmt.Errorf("a policy of when has more than %d signs ! and -, %d members or %d ifs", maxConditionUnary, maxConditionMembers, maxConditionIfs)
		}
	}
	return nil
}

func wordByte(c byte) bool {
	return c == '_' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= 0x80
}

// clip bounds the text of a foreign error.
func clip(s string) string {
	const most = 500
	if len(s) > most {
		return strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}

// stringSet is a Cedar set of strings, with the bytes of the longest.
func stringSet(list []string) (types.Set, uint64) {
	longest := uint64(0)
	values := make([]types.Value, len(list))
	for i, s := range list {
		values[i] = types.String(s)
		longest = max(longest, uint64(len(s)))
	}
	return types.NewSet(values...), longest
}

// clock is the hour, 0 to 23, and the weekday, 1 for Monday to 7, in UTC.
func clock(ms int64) (hour, weekday int) {
	t := time.UnixMilli(ms).UTC()
	return t.Hour(), (int(t.Weekday())+6)%7 + 1
}
