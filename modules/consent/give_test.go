package consent

import (
	"bytes"
	"testing"

	"github.com/chancery/chancery/chain/chaintest"
	"github.com/chancery/chancery/chain/errs"
	consentv1 "github.com/chancery/chancery/proto/chancery/consent/v1"
)

func TestGivePermitsAndKeepsWhatProvesIt(t *testing.T) { // law 7
	n := newNet(t)
	n.denies(ErrNone, asks())
	r := n.Do(anna, &consentv1.Give{Terms: terms(until(n.Now + 100_000))})
	id := chaintest.Response[consentv1.GiveResponse](t, r).Id
	n.permits(asks())

	e := only[consentv1.Given](t, r)
	rec, _ := n.latest(id)
	switch {
	case !bytes.Equal(e.Id, id) || !bytes.Equal(e.NoticeHash, digest("notice")) || e.NoticeVersion != "2026-01":
		t.Fatalf("event %v lacks the notice", e)
	case e.Method != consentv1.Method_METHOD_SIGNED || e.GivenAt != n.Now || e.ValidUntil != rec.Terms.ValidUntil || e.By != anna:
		t.Fatalf("event %v lacks time, method or expiry", e)
	case rec.RecordedAt != n.Now || rec.GivenAt != n.Now || rec.SubjectDid != anna || rec.Version != 1:
		t.Fatalf("record %v", rec)
	}
}

func TestGiveOnBehalfNeedsMethodAndEvidence(t *testing.T) { // law 7
	n := newNet(t)
	give := onPaper(terms())
	give.EvidenceHash = nil
	n.Fails(ErrEvidence, officer, give)
	n.Fails(ErrNotAuthorised, officer, &consentv1.Give{Terms: terms()})
	n.Fails(ErrNotAuthorised, clerk, onPaper(terms()))
	n.Fails(ErrNotAuthorised, lakeside, onPaper(terms()))
	n.Fails(ErrNotAuthorised, anna, onPaper(terms()))
	late := onPaper(terms())
	late.GivenAt = n.Now + 10*chaintest.BlockTime
	n.Fails(ErrTime, officer, late)
	imported := onPaper(terms())
	imported.Method = consentv1.Method_METHOD_IMPORTED
	n.Fails(ErrInvalid, officer, imported)

	for i, author := range []string{officer, admin, mercy} {
		name := string(rune('a' + i))
		n.Do(author, onPaper(terms(about(name))))
		n.permits(asks(func(q *Question) { q.Subject = subjectOf(name) }))
	}
}

func TestImportKeepsAConsentOfThePast(t *testing.T) { // law 7
	n := newNet(t)
	source := &consentv1.Source{Hash: digest("document"), Format: "fhir-r4-consent"}
	give := &consentv1.Give{
		Terms:  terms(func(t *consentv1.Terms) { t.ValidFrom, t.ValidUntil = 1, 1_000_000 }),
		Method: consentv1.Method_METHOD_IMPORTED, Source: source, GivenAt: 1_000,
	}
	id := chaintest.Response[consentv1.GiveResponse](t, n.Do(officer, give)).Id
	rec, status := n.latest(id)
	if status != consentv1.Status_STATUS_EXPIRED || rec.GivenAt != 1_000 || !rec.Source.EqualVT(source) || !bytes.Equal(rec.EvidenceHash, source.Hash) {
		t.Fatalf("%s %v", status, rec)
	}
	n.denies(ErrExpired, asks())

	give.Method, give.EvidenceHash = consentv1.Method_METHOD_WRITTEN, digest("form")
	n.Fails(ErrTime, officer, give)
}

func TestSpecialCategoriesNeedACondition(t *testing.T) { // law 8
	n := newNet(t)
	none := func(t *consentv1.Terms) {
		t.SpecialCondition = consentv1.SpecialCondition_SPECIAL_CONDITION_UNSPECIFIED
	}
	n.Fails(ErrSpecial, anna, &consentv1.Give{Terms: terms(none)})
	n.Fails(ErrSpecial, anna, &consentv1.Give{Terms: terms(func(t *consentv1.Terms) { t.Categories[0].Special = false })})
	n.Fails(ErrSpecial, anna, &consentv1.Give{Terms: terms(of(contact), none, func(t *consentv1.Terms) { t.Categories[0].Special = true })})
	n.Fails(ErrSpecial, anna, &consentv1.Give{Terms: terms(func(t *consentv1.Terms) { t.Categories = []*consentv1.Category{{Iri: AnyData}} })})
	n.Do(anna, &consentv1.Give{Terms: terms(of(contact), none)})
	n.gives(of(AnyData))
}

func TestTermsAreBounded(t *testing.T) {
	n := newNet(t)
	long := "https://example.org/"
	for len(long) <= maxIRI {
		long += "x"
	}
	many := make([]string, maxPurposes+1)
	for i := range many {
		many[i] = "https://example.org/" + string(rune('a'+i))
	}
	for name, change := range map[string]func(*consentv1.Terms){
		"no subject":           func(t *consentv1.Terms) { t.Subject = nil },
		"subject too short":    func(t *consentv1.Terms) { t.Subject = []byte("anna") },
		"controller a person":  func(t *consentv1.Terms) { t.Controller = anna },
		"no purpose":           purposes(),
		"purpose twice":        purposes(treatment, treatment),
		"purpose no IRI":       purposes("treatment"),
		"purpose too long":     purposes(long),
		"too many purposes":    purposes(many...),
		"mail address":         purposes("mailto:x@example.org"), // law 1
		"address in an IRI":    purposes("https://example.org/x@example.org"),
		"space in an IRI":      purposes("https://example.org/a b"),
		"no category":          of(),
		"category twice":       of(record, record),
		"recipient a name":     to("Jane"),
		"recipient twice":      to(lakeside, lakeside),
		"no legal basis":       func(t *consentv1.Terms) { t.LegalBasis = 0 },
		"unknown legal basis":  func(t *consentv1.Terms) { t.LegalBasis = 7 },
		"unknown condition":    func(t *consentv1.Terms) { t.SpecialCondition = 11 },
		"jurisdiction a word":  func(t *consentv1.Terms) { t.Jurisdiction = "Netherlands" },
		"no notice":            func(t *consentv1.Terms) { t.Notice = nil },
		"notice without hash":  func(t *consentv1.Terms) { t.Notice.Hash = nil },
		"notice language":      func(t *consentv1.Terms) { t.Notice.Language = "dutch language" },
		"notice over http":     func(t *consentv1.Terms) { t.Notice.Url = "http://example.org/" },
		"period reversed":      func(t *consentv1.Terms) { t.ValidFrom, t.ValidUntil = 2, 1 },
		"negative time":        func(t *consentv1.Terms) { t.ValidFrom = -1 },
		"exclusion of nothing": except(&consentv1.Exclusion{From: 5}),
		"exclusion no IRI":     except(&consentv1.Exclusion{Categories: []string{"x"}}),
	} {
		t.Run(name, func(t *testing.T) {
			err := checkTerms(terms(change))
			if !ErrInvalid.Is(err) {
				t.Fatalf("%v, want %v", err, ErrInvalid)
			}
		})
	}
	big := terms()
	for len(big.Exclusions) < maxExclusions {
		e := &consentv1.Exclusion{}
		for i := range 4 {
			e.Categories = append(e.Categories, long[:250]+string(rune('a'+i)))
		}
		big.Exclusions = append(big.Exclusions, e)
	}
	n.Fails(ErrInvalid, anna, &consentv1.Give{Terms: big})
}

func TestGiveAnswersARequest(t *testing.T) {
	n := newNet(t)
	id := n.requests(terms(purposes(treatment, research), of(record, contact), to(lakeside)), anna)
	n.wantStatus(id, consentv1.Status_STATUS_REQUESTED)
	n.denies(ErrRequested, asks())

	n.Fails(ErrNotAuthorised, clerk, &consentv1.Give{RequestId: id})
	n.Fails(ErrSubjectBound, bert, &consentv1.Give{RequestId: id})
	n.Fails(ErrWider, anna, &consentv1.Give{RequestId: id, Terms: terms(purposes(treatment, marketing), to(lakeside))})
	n.Fails(ErrWider, anna, &consentv1.Give{RequestId: id, Terms: terms(func(t *consentv1.Terms) { t.Notice.Version = "other" })})
	n.Fails(ErrMismatch, anna, &consentv1.Give{RequestId: id, Terms: terms(about("bert"))})
	n.Fails(ErrNotFound, anna, &consentv1.Give{RequestId: digest("nothing")})

	r := chaintest.Response[consentv1.GiveResponse](t, n.Do(anna, &consentv1.Give{RequestId: id, Terms: terms()}))
	if !bytes.Equal(r.Id, id) || r.Version != 2 {
		t.Fatalf("%v", r)
	}
	n.permits(asks())
	n.denies(ErrPurpose, asks(func(q *Question) { q.Purpose = research }))
	n.Fails(ErrWrongState, anna, &consentv1.Give{RequestId: id})
	n.Fails(ErrWrongState, anna, &consentv1.Refuse{RequestId: id})
	if d := n.m.dossier(n.View(), subjectOf("anna"), mercy); len(d.Requests) != 0 || len(d.Consents) != 1 {
		t.Fatalf("dossier %v", d)
	}
}

func TestGiveAllThatWasAskedFor(t *testing.T) {
	n := newNet(t)
	id := n.requests(terms(to(lakeside)), anna)
	n.Do(anna, &consentv1.Give{RequestId: id})
	n.permits(asks(func(q *Question) { q.Recipient = visitor }))
}

func TestControllerMustBeAnActiveOrganisation(t *testing.T) {
	n := newNet(t)
	for _, did := range []string{"did:chancery:closed", chaintest.Consortium} {
		n.Fails(ErrController, anna, &consentv1.Give{Terms: terms(func(t *consentv1.Terms) { t.Controller = did })})
	}
}

func TestCommitmentStaysWithItsDID(t *testing.T) {
	n := newNet(t)
	n.gives()
	n.Fails(ErrSubjectBound, bert, &consentv1.Give{Terms: terms()})
	n.Fails(ErrSubjectBound, officer, &consentv1.Request{Terms: terms(), SubjectDid: bert, AnswerUntil: n.Now + 50_000})
	claims := onPaper(terms())
	claims.SubjectDid = bert
	n.Fails(ErrSubjectBound, officer, claims)

	// A subject whom only paper speaks for is nobody's until the controller says whose.
	n.Do(officer, onPaper(terms(about("paper"))))
	n.Fails(ErrNotAuthorised, bert, &consentv1.Give{Terms: terms(about("paper"))})
	n.requests(terms(about("paper")), bert)
	n.Do(bert, &consentv1.Give{Terms: terms(about("paper"))})
	// A service is no person.
	n.Fails(ErrNotAuthorised, clerk, &consentv1.Give{Terms: terms(about("somebody"))})
	// A DID with a name in it is refused (law 1).
	claims = onPaper(terms(about("named")))
	claims.SubjectDid = mercy + ":jane-doe"
	n.Fails(ErrInvalid, officer, claims)
}

func TestDossierIsBoundedAndMakesRoomByExpiry(t *testing.T) {
	n := newNet(t)
	give := &consentv1.Give{Terms: terms(until(n.Now + 40*chaintest.BlockTime))}
	for range maxConsents / 8 {
		n.Do(anna, give, give, give, give, give, give, give, give)
	}
	n.Fails(ErrTooMany, anna, &consentv1.Give{Terms: terms()})
	n.Now += 60 * chaintest.BlockTime
	r := n.Do(anna, &consentv1.Give{Terms: terms()})
	if got := len(chaintest.Events[consentv1.Expired](t, r)); got != maxConsents {
		t.Fatalf("%d recorded as expired, want %d", got, maxConsents)
	}
	n.permits(asks())
	n.CheckGenesis()
}

func TestErrorsSayWhatToDo(t *testing.T) {
	for _, e := range Errors.All() {
		if e.Module != "consent" || e.Code < 2 || len(e.Text) < 20 {
			t.Errorf("%v", e)
		}
	}
	if errs.As(ErrNone).Retryable() {
		t.Error("a denial is not to be retried")
	}
}
