package consent

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/chaintest"
	"github.com/chancery/chancery/chain/errs"
	"github.com/chancery/chancery/chain/tx"
	"github.com/chancery/chancery/modules/consent/commitment"
	chainv1 "github.com/chancery/chancery/proto/chancery/chain/v1"
	consentv1 "github.com/chancery/chancery/proto/chancery/consent/v1"
)

const (
	mercy    = "did:chancery:mercy"
	lakeside = "did:chancery:lakeside"
	officer  = mercy + ":desk"  // has Role
	clerk    = mercy + ":clerk" // a service without a role
	admin    = mercy + ":admin"
	anna     = "did:chancery:mercy:aaaaaaaaaaaaaaaaaaaaaaaaaa" // a person
	bert     = "did:chancery:mercy:bbbbbbbbbbbbbbbbbbbbbbbbbb" // a person
	doctor   = "did:chancery:mercy:dddddddddddddddddddddddddd" // a person
	visitor  = "did:chancery:lakeside:vvvvvvvvvvvvvvvvvvvvvvvvvv"

	treatment = "https://w3id.org/dpv#MedicalCare"
	research  = "https://w3id.org/dpv#ResearchAndDevelopment"
	marketing = "https://w3id.org/dpv#DirectMarketing"
	record    = "https://w3id.org/dpv/pd#HealthRecord"
	mental    = "https://w3id.org/dpv/pd#MentalHealth"
	contact   = "https://w3id.org/dpv/pd#Contact"
)

// people is an Identity in which a DID's form says what it is.
type people struct{}

func (people) Active(_ chain.ReadCtx, did string) bool { return did != "did:chancery:closed" }

func (people) Organisation(_ chain.ReadCtx, did string) (string, bool) {
	return chaintest.OrganisationOf(did), true
}

func (people) Kind(_ chain.ReadCtx, did string) (string, bool) {
	_, id, member := strings.Cut(strings.TrimPrefix(did, "did:chancery:"), ":")
	switch {
	case did == chaintest.Consortium:
		return "consortium", true
	case !member:
		return "organisation", true
	case len(id) == 26:
		return "person", true
	}
	return "service", true
}

func (people) Roles(_ chain.ReadCtx, did string) []string {
	if strings.HasSuffix(did, ":desk") {
		return []string{Role}
	}
	return nil
}

func (people) IsAdministrator(_ chain.ReadCtx, organisation, did string) bool {
	return did == organisation+":admin"
}

// net is a chain with this module; ended collects what it published, as the first
// instance saw it last.
type net struct {
	*chaintest.Net
	t     testing.TB
	m     *Module
	ended *[]Ending
}

func newNet(t testing.TB) *net {
	ended := new([]Ending)
	n := &net{t: t, ended: ended}
	n.Net = chaintest.New(t, chaintest.Config{Partial: true, Modules: func() []chain.Module {
		n.m = New(Deps{Identity: people{}})
		n.m.Ended.Subscribe("test", func(ctx *chain.Ctx, e Ending) error {
			*ended = append(*ended, e)
			return nil
		})
		return []chain.Module{n.m}
	}})
	return n
}

// endings is what was published since the last call, each fact once: two instances
// publish it, and one of them executes each block twice.
func (n *net) endings() []Ending {
	var out []Ending
	for _, e := range *n.ended {
		if !containsEnding(out, e) {
			out = append(out, e)
		}
	}
	*n.ended = nil
	return out
}

func containsEnding(list []Ending, e Ending) bool {
	for _, o := range list {
		if bytes.Equal(o.ID, e.ID) && o.Version == e.Version && o.Reason == e.Reason {
			return true
		}
	}
	return false
}

func (n *net) wantEnded(id []byte, why Reason) {
	n.t.Helper()
	got := n.endings()
	if len(got) != 1 || !bytes.Equal(got[0].ID, id) || got[0].Reason != why {
		n.t.Fatalf("published %v, want %s of %x", got, why, id)
	}
}

func subjectOf(name string) []byte {
	salt := sha256.Sum256([]byte("salt of " + name))
	return commitment.Commit(salt[:], []byte(name))
}

func digest(s string) []byte {
	h := sha256.Sum256([]byte(s))
	return h[:]
}

// terms are plain terms: mercy may use anna's health record for her treatment.
func terms(change ...func(*consentv1.Terms)) *consentv1.Terms {
	t := &consentv1.Terms{
		Subject: subjectOf("anna"), Controller: mercy, Purposes: []string{treatment},
		Categories: []*consentv1.Category{{Iri: record, Special: true}},
		LegalBasis: consentv1.LegalBasis_LEGAL_BASIS_CONSENT, SpecialCondition: consentv1.SpecialCondition_SPECIAL_CONDITION_EXPLICIT_CONSENT,
		Jurisdiction: "NL", Notice: &consentv1.Notice{Version: "2026-01", Hash: digest("notice"), Language: "nl"},
	}
	for _, c := range change {
		c(t)
	}
	return t
}

func until(ms int64) func(*consentv1.Terms) {
	return func(t *consentv1.Terms) { t.ValidUntil = ms }
}

func to(recipients ...string) func(*consentv1.Terms) {
	return func(t *consentv1.Terms) { t.Recipients = recipients }
}

func purposes(p ...string) func(*consentv1.Terms) {
	return func(t *consentv1.Terms) { t.Purposes = p }
}

func of(categories ...string) func(*consentv1.Terms) {
	return func(t *consentv1.Terms) {
		t.Categories = nil
		for _, c := range categories {
			t.Categories = append(t.Categories, &consentv1.Category{Iri: c, Special: isSpecial(c)})
		}
	}
}

func except(e ...*consentv1.Exclusion) func(*consentv1.Terms) {
	return func(t *consentv1.Terms) { t.Exclusions = e }
}

func about(name string) func(*consentv1.Terms) {
	return func(t *consentv1.Terms) { t.Subject = subjectOf(name) }
}

// gives has anna give her consent to terms.
func (n *net) gives(change ...func(*consentv1.Terms)) []byte {
	n.t.Helper()
	return chaintest.Response[consentv1.GiveResponse](n.t, n.Do(anna, &consentv1.Give{Terms: terms(change...)})).Id
}

// onPaper is a consent that the officer records for a subject without keys.
func onPaper(t *consentv1.Terms) *consentv1.Give {
	return &consentv1.Give{Terms: t, Method: consentv1.Method_METHOD_WRITTEN, EvidenceHash: digest("form")}
}

func (n *net) requests(t *consentv1.Terms, did string) []byte {
	n.t.Helper()
	return chaintest.Response[consentv1.RequestResponse](n.t, n.Do(officer, &consentv1.Request{
		Terms: t, SubjectDid: did, AnswerUntil: n.Now + 10_000,
	})).Id
}

// asks is the plain question that terms() covers.
func asks(change ...func(*Question)) Question {
	q := Question{Subject: subjectOf("anna"), Controller: mercy, Recipient: doctor, Purpose: treatment, Categories: []string{record}, Processing: Access}
	for _, c := range change {
		c(&q)
	}
	return q
}

func (n *net) permits(q Question) {
	n.t.Helper()
	if _, _, err := n.m.Covers(n.View(), q); err != nil {
		n.t.Fatalf("not permitted: %v", err)
	}
}

func (n *net) denies(want *errs.Error, q Question) {
	n.t.Helper()
	id, _, err := n.m.Covers(n.View(), q)
	if err == nil {
		n.t.Fatalf("permitted by %x, want %v", id, want)
	}
	if !want.Is(err) {
		n.t.Fatalf("denied with %v, want %v", err, want)
	}
}

// latest is a record with its status at the latest block.
func (n *net) latest(id []byte) (*consentv1.Record, consentv1.Status) {
	n.t.Helper()
	rec, ok := n.m.Record(n.View(), id)
	if !ok {
		n.t.Fatalf("no record %x", id)
	}
	return rec, effective(rec, n.View().Time())
}

func (n *net) wantStatus(id []byte, want consentv1.Status) {
	n.t.Helper()
	if _, got := n.latest(id); got != want {
		n.t.Fatalf("%s is %s, want %s", hex.EncodeToString(id), got, want)
	}
}

// only is the only event of its type in a result.
func only[E any, P interface {
	*E
	proto.Message
}](t testing.TB, r *chainv1.TxResult) P {
	t.Helper()
	all := chaintest.Events[E, P](t, r)
	if len(all) != 1 {
		t.Fatalf("%d events %T, want 1", len(all), P(new(E)))
	}
	return all[0]
}

// as is a context in which somebody acts.
type as struct {
	chain.ReadCtx
	author string
	tx     tx.ID
}

func (a as) Author() string       { return a.author }
func (a as) Organisation() string { return chaintest.OrganisationOf(a.author) }
func (a as) TxID() tx.ID          { return a.tx }
