package threat

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	threatv1 "github.com/chancery/chancery/proto/chancery/threat/v1"
)

const (
	low     = threatv1.Risk_RISK_LOW
	guarded = threatv1.Risk_RISK_GUARDED
	high    = threatv1.Risk_RISK_HIGH
	severe  = threatv1.Risk_RISK_SEVERE
	unknown = threatv1.Risk_RISK_UNSPECIFIED

	burst = threatv1.Cause_CAUSE_BURST
	lied  = threatv1.Cause_CAUSE_PROPOSER_LIED
)

func assessment(subject string, risk threatv1.Risk, until int64) *threatv1.Assessment {
	return &threatv1.Assessment{Subject: subject, Risk: risk, Cause: burst, Until: until}
}

func extension(t testing.TB, list ...*threatv1.Assessment) []byte {
	t.Helper()
	raw, err := (&threatv1.Assessments{Assessments: list}).MarshalVT()
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func TestParseExtension(t *testing.T) {
	full := make([]*threatv1.Assessment, maxAssessments)
	for i := range full {
		full[i] = assessment(fmt.Sprintf("did:chancery:org:member-%02d", i), severe, 1_800_000_000_000)
		full[i].Source = make([]byte, hashSize)
	}
	for name, raw := range map[string][]byte{
		"nothing":        nil,
		"one":            extension(t, assessment(amy, high, 5)),
		"a withdrawal":   extension(t, assessment(amy, unknown, 0)),
		"the consortium": extension(t, assessment("did:chancery:consortium", low, 5)),
		"as many as may": extension(t, full...),
	} {
		a, err := ParseExtension(raw)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if again, _ := a.MarshalVT(); !bytes.Equal(again, raw) {
			t.Errorf("%s: it reads as something else", name)
		}
	}
	of := func(change func(*threatv1.Assessment)) []byte {
		a := assessment(amy, high, 5)
		change(a)
		return extension(t, a)
	}
	one := extension(t, assessment(amy, high, 5))
	for name, raw := range map[string][]byte{
		"too long":             make([]byte, maxExtensionBytes+1),
		"no message":           []byte("opinion"),
		"too many":             extension(t, append(full, assessment("did:chancery:zoo", low, 5))...),
		"not sorted":           extension(t, assessment(bob, high, 5), assessment(amy, high, 5)),
		"twice on one":         extension(t, assessment(amy, high, 5), assessment(amy, low, 5)),
		"no subject":           of(func(a *threatv1.Assessment) { a.Subject = "" }),
		"no DID":               of(func(a *threatv1.Assessment) { a.Subject = "did:web:example.org" }),
		"a DID in capitals":    of(func(a *threatv1.Assessment) { a.Subject = "did:chancery:Alder" }),
		"a DID with a newline": of(func(a *threatv1.Assessment) { a.Subject = amy + "\n" }),
		"a long DID":           of(func(a *threatv1.Assessment) { a.Subject = "did:chancery:alder:" + strings.Repeat("a", 120) }),
		"an unknown risk":      of(func(a *threatv1.Assessment) { a.Risk = severe + 1 }),
		"a negative risk":      of(func(a *threatv1.Assessment) { a.Risk = -1 }),
		"an unknown cause":     of(func(a *threatv1.Assessment) { a.Cause = threatv1.Cause_CAUSE_NETWORK + 1 }),
		"a short source":       of(func(a *threatv1.Assessment) { a.Source = make([]byte, 31) }),
		"a negative end":       of(func(a *threatv1.Assessment) { a.Until = -1 }),
		"an unknown field":     append(bytes.Clone(one), 0x50, 0x01),
		"a field out of order": append([]byte{0x0a, 0x00}, one...),
		"an unknown field in an assessment": func() []byte {
			inner := append([]byte{0x0a, byte(len(amy))}, amy...)
			inner = append(inner, 0x10, 0x03, 0x50, 0x01)
			return append([]byte{0x0a, byte(len(inner))}, inner...)
		}(),
		"a default written out": func() []byte {
			inner := append([]byte{0x0a, byte(len(amy))}, amy...)
			inner = append(inner, 0x10, 0x00)
			return append([]byte{0x0a, byte(len(inner))}, inner...)
		}(),
	} {
		if _, err := ParseExtension(raw); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
}

// Whatever a validator sends is refused, or has one form and only what it may say.
func FuzzParseExtension(f *testing.F) {
	f.Add(extension(f, assessment(amy, high, 5), assessment(bob, unknown, 0)))
	f.Add([]byte{0x0a, 0x02, 0x10, 0x03})
	f.Fuzz(func(t *testing.T, raw []byte) {
		a, err := ParseExtension(raw)
		if err != nil {
			return
		}
		again, err := a.MarshalVT()
		if err != nil || !bytes.Equal(again, raw) || len(raw) > maxExtensionBytes || len(a.Assessments) > maxAssessments {
			t.Fatalf("%x reads as %x", raw, again)
		}
		for i, o := range a.Assessments {
			if !isSubject(o.Subject) || i > 0 && a.Assessments[i-1].Subject >= o.Subject || o.Risk < 0 || o.Risk > severe {
				t.Fatalf("%x: assessment %d", raw, i)
			}
		}
	})
}
