package consent

import (
	"testing"

	"github.com/chancery/chancery/chain/chaintest"
	"github.com/chancery/chancery/chain/errs"
	consentv1 "github.com/chancery/chancery/proto/chancery/consent/v1"
)

// at is the time of the questions of TestCovers.
const at int64 = 1_000_000

func TestCovers(t *testing.T) { // law 5
	purpose := func(p string) func(*Question) { return func(q *Question) { q.Purpose = p } }
	asked := func(c ...string) func(*Question) { return func(q *Question) { q.Categories = c } }
	by := func(did string) func(*Question) { return func(q *Question) { q.Recipient = did } }
	doing := func(p string) func(*Question) { return func(q *Question) { q.Processing = p } }
	only := func(p ...string) func(*consentv1.Terms) { return func(t *consentv1.Terms) { t.Processing = p } }
	period := func(from, until int64) func(*consentv1.Terms) {
		return func(t *consentv1.Terms) { t.ValidFrom, t.ValidUntil = from, until }
	}
	const disclose = "https://w3id.org/dpv#Disclose"
	type exclusion = consentv1.Exclusion
	tests := []struct {
		name  string
		terms *consentv1.Terms
		q     Question
		want  *errs.Error // nil: covered
	}{
		{"plain", terms(), asks(), nil},
		{"unlisted purpose", terms(), asks(purpose(research)), ErrPurpose},
		{"a narrower term is another purpose", terms(purposes("https://w3id.org/dpv#Purpose")), asks(), ErrPurpose},
		{"case matters", terms(), asks(purpose("https://w3id.org/dpv#medicalcare")), ErrPurpose},
		{"unlisted category", terms(), asks(asked(contact)), ErrCategory},
		{"one of two categories", terms(), asks(asked(record, contact)), ErrCategory},
		{"both categories", terms(of(record, contact)), asks(asked(contact, record)), nil},
		{"any data of listed categories", terms(of(record, contact)), asks(asked()), ErrCategory},
		{"any data, named", terms(of(record)), asks(asked(AnyData)), ErrCategory},
		{"any data of any data", terms(of(AnyData)), asks(asked()), nil},
		{"one category of any data", terms(of(AnyData)), asks(asked(contact)), nil},
		{"the controller", terms(), asks(by(mercy)), nil},
		{"a member of the controller", terms(), asks(by(clerk)), nil},
		{"another organisation", terms(), asks(by(lakeside)), ErrRecipient},
		{"a listed organisation", terms(to(lakeside)), asks(by(lakeside)), nil},
		{"a member of a listed organisation", terms(to(lakeside)), asks(by(visitor)), nil},
		{"a listed person", terms(to(visitor)), asks(by(visitor)), nil},
		{"a listed person's organisation", terms(to(visitor)), asks(by(lakeside)), ErrRecipient},
		{"the controller beside recipients", terms(to(lakeside)), asks(), nil},
		{"any processing", terms(), asks(doing(disclose)), nil},
		{"listed processing", terms(only(Access)), asks(), nil},
		{"unlisted processing", terms(only(Access)), asks(doing(disclose)), ErrProcessing},
		{"not yet", terms(period(at+1, 0)), asks(), ErrNotYetValid},
		{"from now", terms(period(at, 0)), asks(), nil},
		{"last millisecond", terms(period(0, at+1)), asks(), nil},
		{"over", terms(period(0, at)), asks(), ErrExpired},
		// FHIR: withhold from a named organisation, and from a named person.
		{"excluded organisation", terms(to(lakeside), except(&exclusion{Recipients: []string{lakeside}})), asks(by(visitor)), ErrExcluded},
		{"excluded person", terms(except(&exclusion{Recipients: []string{doctor}})), asks(), ErrExcluded},
		{"excluded person, another asks", terms(except(&exclusion{Recipients: []string{doctor}})), asks(by(clerk)), nil},
		{"excluded controller", terms(except(&exclusion{Recipients: []string{mercy}})), asks(), ErrExcluded},
		// FHIR: withhold a class of data.
		{"excluded category", terms(of(AnyData), except(&exclusion{Categories: []string{mental}})), asks(asked(record, mental)), ErrExcluded},
		{"excluded category, others asked", terms(of(AnyData), except(&exclusion{Categories: []string{mental}})), asks(asked(record)), nil},
		{"excluded category, any data asked", terms(of(AnyData), except(&exclusion{Categories: []string{mental}})), asks(asked()), ErrExcluded},
		{"excluded category, any data named", terms(of(AnyData), except(&exclusion{Categories: []string{mental}})), asks(asked(AnyData)), ErrExcluded},
		{"any data excluded", terms(except(&exclusion{Categories: []string{AnyData}})), asks(), ErrExcluded},
		{"excluded purpose", terms(purposes(treatment, research), except(&exclusion{Purposes: []string{research}})), asks(purpose(research)), ErrExcluded},
		{"excluded processing", terms(except(&exclusion{Processing: []string{disclose}})), asks(), nil},
		{"excluded access", terms(except(&exclusion{Processing: []string{Access}})), asks(), ErrExcluded},
		// An exclusion matches when all of its lists do.
		{"half of an exclusion", terms(except(&exclusion{Recipients: []string{doctor}, Purposes: []string{research}})), asks(), nil},
		{"all of an exclusion", terms(except(&exclusion{Recipients: []string{doctor}, Purposes: []string{treatment}})), asks(), ErrExcluded},
		// FHIR: withhold for a time.
		{"before the exclusion", terms(except(&exclusion{Recipients: []string{doctor}, From: at + 1})), asks(), nil},
		{"in the exclusion", terms(except(&exclusion{Recipients: []string{doctor}, From: at, Until: at + 1})), asks(), ErrExcluded},
		{"after the exclusion", terms(except(&exclusion{Recipients: []string{doctor}, Until: at})), asks(), nil},
	}
	for _, x := range tests {
		t.Run(x.name, func(t *testing.T) {
			if err := checkTerms(x.terms); err != nil {
				t.Fatal(err)
			}
			if err := x.q.check(); err != nil {
				t.Fatal(err)
			}
			_, why := covers(&consentv1.Record{Terms: x.terms, GivenAt: 1}, x.q, chaintest.OrganisationOf(x.q.Recipient), at)
			if why == nil && x.want != nil || why != nil && (x.want == nil || !x.want.Is(why)) {
				t.Fatalf("%v, want %v", why, x.want)
			}
		})
	}
}

func TestPermitsFindsOneOfSeveral(t *testing.T) { // law 5
	n := newNet(t)
	n.gives(purposes(marketing))
	n.gives(purposes(research), except(&consentv1.Exclusion{Recipients: []string{doctor}}))
	n.denies(ErrPurpose, asks())
	// The closest reason is told: one consent names the purpose and excludes the doctor.
	n.denies(ErrExcluded, asks(func(q *Question) { q.Purpose = research }))
	id := n.gives()
	got, version, err := n.m.Permits(n.View(), subjectOf("anna"), mercy, doctor, treatment, []string{record})
	if err != nil || string(got) != string(id) || version != 1 {
		t.Fatalf("%x version %d, %v; want %x", got, version, err, id)
	}
	// An exclusion beats the consent that it is part of, and no other.
	n.gives(purposes(research))
	n.permits(asks(func(q *Question) { q.Purpose = research }))
	// Consent is one controller's.
	n.denies(ErrNone, asks(func(q *Question) { q.Controller = lakeside }))
}

func TestPermitsRefusesMalformedQuestions(t *testing.T) {
	n := newNet(t)
	n.gives()
	for _, change := range []func(*Question){
		func(q *Question) { q.Subject = nil },
		func(q *Question) { q.Controller = "mercy" },
		func(q *Question) { q.Recipient = "" },
		func(q *Question) { q.Purpose = "" },
		func(q *Question) { q.Processing = "" },
		func(q *Question) { q.Categories = make([]string, maxCategories+1) },
	} {
		n.denies(ErrInvalid, asks(change))
	}
}
