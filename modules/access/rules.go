package access

import (
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/state"
	accessv1 "github.com/chancery/chancery/proto/chancery/access/v1"
)

// Roles that the module knows.
const (
	rolePolicyAdmin = "policy-admin"
	roleEntityAdmin = "entity-admin"
	roleEnforcement = "pep"
	roleReviewer    = "reviewer"
)

const (
	kindPerson       = "person"
	kindOrganisation = "organisation"
)

func checkDID(field, did string) error {
	if !strings.HasPrefix(did, "did:chancery:") || len(did) > maxDID {
		return ErrField.With("%s must be a DID of this chain, did:chancery:…", field)
	}
	for i := 0; i < len(did); i++ {
		c := did[i]
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != ':' && c != '-' {
			return ErrField.With("%s must be a DID of this chain, did:chancery:…", field)
		}
	}
	return nil
}

func checkIRI(field, iri string) error {
	scheme, rest, ok := strings.Cut(iri, ":")
	if !ok || scheme == "" || rest == "" || len(iri) > maxIRI {
		return ErrField.With("%s must be an IRI of at most %d bytes", field, maxIRI)
	}
	for i := 0; i < len(iri); i++ {
		if c := iri[i]; c <= ' ' || c >= 0x7F || strings.IndexByte("<>\"{}|\\^`", c) >= 0 {
			return ErrField.With("%s must be an IRI, with other characters percent-encoded", field)
		}
	}
	return nil
}

func checkHash(field string, hash []byte) error {
	if len(hash) != sha256.Size {
		return ErrField.With("%s must have %d bytes", field, sha256.Size)
	}
	return nil
}

func checkText(field, text string) error {
	if text == "" || len(text) > maxReason || !utf8.ValidString(text) || strings.IndexFunc(text, unicode.IsControl) >= 0 {
		return ErrField.With("%s must have 1 to %d bytes of UTF-8 without control characters", field, maxReason)
	}
	return nil
}

// member tells whether a DID is the organisation itself, or belongs to it with one
// of the roles.
func (m *Module) member(r chain.ReadCtx, organisation, did string, roles ...string) bool {
	if did == organisation {
		return true
	}
	of, ok := m.deps.Identity.Organisation(r, did)
	if !ok || of != organisation || !m.deps.Identity.Active(r, did) {
		return false
	}
	held := m.deps.Identity.Roles(r, did)
	return slices.ContainsFunc(roles, func(role string) bool { return slices.Contains(held, role) })
}

func (m *Module) checkOrganisation(r chain.ReadCtx, did string) error {
	if kind, ok := m.deps.Identity.Kind(r, did); !ok || kind != kindOrganisation {
		return ErrOrganisation.With("%s", did)
	}
	return nil
}

func (m *Module) checkPolicyAdmin(r chain.ReadCtx, organisation string) error {
	if err := m.checkOrganisation(r, organisation); err != nil {
		return err
	}
	if !m.member(r, organisation, r.Author(), rolePolicyAdmin) {
		return ErrNotPolicyAdmin.With("%s for %s", r.Author(), organisation)
	}
	return nil
}

func (m *Module) checkEntityAdmin(r chain.ReadCtx, organisation string) error {
	if err := m.checkOrganisation(r, organisation); err != nil {
		return err
	}
	if !m.member(r, organisation, r.Author(), rolePolicyAdmin, roleEntityAdmin) {
		return ErrNotEntityAdmin.With("%s for %s", r.Author(), organisation)
	}
	return nil
}

func changeOf(ctx *chain.Ctx) *accessv1.Change {
	id := ctx.TxID()
	return &accessv1.Change{Author: ctx.Author(), TxId: id[:], Height: ctx.Height(), Time: ctx.Time()}
}

// identifier derives a record's id from the transaction and a sequence.
func identifier(domain string, txID []byte, sequence uint64) []byte {
	raw := append([]byte(domain), txID...)
	sum := sha256.Sum256(binary.BigEndian.AppendUint64(raw, sequence))
	return sum[:]
}

// advance returns the next number of a sequence.
func advance(w state.Writer, item state.Item[uint64]) uint64 {
	n, _ := item.Lookup(w)
	n++
	item.Put(w, n)
	return n
}

// currentSchema is the parsed schema of an organisation; nil without one.
func (m *Module) currentSchema(r state.Reader, o *accessv1.Organisation) (*cedarSchema, error) {
	if o.Schema == 0 {
		return nil, nil
	}
	s, _ := m.store.schemas.Lookup(r, state.Join(o.Organisation, o.Schema))
	return m.caches.parseSchema(s.GetSchema())
}

// chargeValidation meters type-checking a set before it is done: 64 units of its
// work are a step.
func chargeValidation(r chain.ReadCtx, s *cedarSchema, set *policySet) {
	r.Charge(chain.PolicyStep, set.nodes)
	if s != nil {
		r.Charge(chain.PolicyStep, s.validationWork(set)/64)
	}
}
