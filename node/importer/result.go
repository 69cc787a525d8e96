package importer

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain/errs"
	consentv1 "github.com/chancery/chancery/proto/chancery/consent/v1"
	provenancev1 "github.com/chancery/chancery/proto/chancery/provenance/v1"
)

// Options is what the importers need beside the document.
type Options struct {
	// Organisation is the DID of the organisation that imports: the controller of
	// consents that name none, the namespace of provenance, the owner of policies.
	Organisation string
	// Salts keeps the salts of commitments. Required by FHIR and OpenLineage.
	Salts Salts
	// DIDs are DIDs of this chain by what documents call their holders: a FHIR
	// reference (Organization/1), an identifier (system|value) or the name of an
	// OpenLineage owner.
	DIDs map[string]string

	// Jurisdiction of consents, ISO 3166, e.g. NL. Required when there is a consent.
	Jurisdiction string
	// Notice is what subjects were told. Zero: taken from the document.
	Notice Notice
	// Purposes are IRIs for consents that name none. Empty: by the consent's scope.
	Purposes []string
	// Base is Permit or Deny for consents that do not say.
	Base string
	// RootRule is how a consent's first rule is read, which FHIR R4 leaves without a
	// type: Strict, Limit or Except. Empty: Strict.
	RootRule string
	// Now is the time of the import in Unix milliseconds.
	Now int64

	// HideNames replaces the names of data sets, jobs and columns by commitments.
	HideNames bool
	// PublishHash registers the SHA-256 of OpenLineage documents, so that chancery
	// verify finds them by their content. Not for documents with personal data.
	PublishHash bool

	// StripComments leaves the comments of Cedar policies out.
	StripComments bool

	// Chain is what the chain holds already. nil: nothing.
	Chain Chain
}

// Chain reads what the importers must know of the chain. An error ends the import.
type Chain interface {
	// Node is the latest version of a node of the organisation, nil when there is none.
	Node(id string) (*provenancev1.Node, error)
	// Consents are the records of a subject with a controller.
	Consents(subject []byte, controller string) ([]*consentv1.ConsentResponse, error)
}

// The values of Options.Base and of rules.
const (
	Permit = "permit"
	Deny   = "deny"
)

// The values of Options.RootRule. A consent that opts in and whose first rule names
// a nurse permits the nurse alone (Limit) or everybody but the nurse (Except); what
// both permit is nothing (Strict). With a rule of its own inside, both permit what
// the two rules name together.
const (
	Strict = "strict"
	Limit  = "limit"
	Except = "except"
)

// Notice is what a subject was told.
type Notice struct {
	Version  string
	Hash     []byte // SHA-256 of the text
	Language string // BCP 47
	URL      string
}

// Mapping says where a part of the document went.
type Mapping struct {
	Place   string `json:"place"`   // JSON pointer, or "line N" of a text
	Message string `json:"message"` // full name of the message's type
	Field   string `json:"field"`
}

// Note says what did not reach the chain, or how something was read.
type Note struct {
	Place  string `json:"place"`  // JSON pointer, or "line N" of a text
	Kind   string `json:"kind"`   // JSON kind of the value, or text
	Class  Class  `json:"class"`  // by the code
	Code   uint32 `json:"code"`   // permanent, in codespace import
	Reason string `json:"reason"` // what the code means, and the detail
}

// Assumption says what the chain asks for and the document does not say.
type Assumption struct {
	Message string `json:"message"`
	Field   string `json:"field"`
	Value   string `json:"value"`
	Reason  string `json:"reason"`
}

// Result is what a document comes to.
type Result struct {
	Format   string // e.g. fhir-r4-consent
	Messages []proto.Message
	// Present is what the chain holds of the document already: ids of records.
	Present []string
	Mapped  []Mapping
	Notes   []Note
	Assumed []Assumption

	nodes map[string]*provenancev1.Node // that the messages make
}

// ledger accounts for every leaf of a document.
type ledger struct {
	result *Result
	sha256 string
	seen   map[*value]bool
	taken  map[Assumption]bool
}

func newLedger(raw []byte, format string) *ledger {
	sum := sha256.Sum256(raw)
	return &ledger{result: &Result{Format: format}, sha256: hex.EncodeToString(sum[:]), seen: map[*value]bool{}, taken: map[Assumption]bool{}}
}

// to says that all leaves beneath v went into a field.
func (l *ledger) to(v *value, m proto.Message, format string, args ...any) {
	name, field := string(proto.MessageName(m)), fmt.Sprintf(format, args...)
	v.leaves(func(leaf *value) {
		l.seen[leaf] = true
		l.result.Mapped = append(l.result.Mapped, Mapping{Place: leaf.pointer(), Message: name, Field: field})
	})
}

// toRest is to for the leaves beneath v that nothing was said of yet.
func (l *ledger) toRest(v *value, m proto.Message, format string, args ...any) {
	v.leaves(func(leaf *value) {
		if !l.seen[leaf] {
			l.to(leaf, m, format, args...)
		}
	})
}

// off says why all leaves beneath v did not reach the chain.
func (l *ledger) off(v *value, reason *errs.Error) {
	v.leaves(func(leaf *value) {
		l.seen[leaf] = true
		l.note(leaf, reason)
	})
}

// note says something of v itself, which may have leaves of its own.
func (l *ledger) note(v *value, reason *errs.Error) {
	if v != nil {
		l.result.note(v.pointer(), string(v.kind), reason)
	}
}

func (r *Result) note(place, kind string, reason *errs.Error) {
	said := reason.Text
	if reason.Detail != "" {
		said += ": " + reason.Detail
	}
	n := Note{Place: place, Kind: kind, Class: classOf(reason.Code), Code: reason.Code, Reason: said}
	if !slices.Contains(r.Notes[max(0, len(r.Notes)-8):], n) {
		r.Notes = append(r.Notes, n)
	}
}

// rest is off for the leaves beneath v that nothing was said of yet.
func (l *ledger) rest(v *value, reason *errs.Error) {
	v.leaves(func(leaf *value) {
		if !l.seen[leaf] {
			l.off(leaf, reason)
		}
	})
}

func (l *ledger) assume(m proto.Message, field, value, reason string) {
	a := Assumption{Message: string(proto.MessageName(m)), Field: field, Value: value, Reason: reason}
	if !l.taken[a] {
		l.taken[a] = true
		l.result.Assumed = append(l.result.Assumed, a)
	}
}

// finish closes the account.
func (l *ledger) finish(root *value, messages []proto.Message) *Result {
	root.leaves(func(leaf *value) {
		if leaf.is(object) || leaf.is(array) {
			l.rest(leaf, unmappedEmpty)
		}
	})
	l.rest(root, unmappedElement)
	l.result.Messages = messages
	return l.result
}

// with is finish for what made a graph. Of a document that the chain has already
// there are no messages.
func (r *Result) with(root *value, l *ledger, g *graph, messages []proto.Message) (*Result, error) {
	if g.err != nil {
		return nil, g.err
	}
	r.nodes = g.made
	if !g.present || len(g.last) > 0 {
		messages = append(messages, g.messages()...)
	}
	return l.finish(root, messages), nil
}
