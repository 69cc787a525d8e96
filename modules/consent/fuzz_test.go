package consent

import (
	"context"
	"net/url"
	"strings"
	"testing"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/errs"
	consentv1 "github.com/chancery/chancery/proto/chancery/consent/v1"
)

func FuzzSyntax(f *testing.F) {
	for _, s := range []string{treatment, "mailto:x@example.org", anna, mercy, "did:chancery:", "urn:uuid:1", "pt-BR", "US-CA", "https://x/\x00", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if checkIRI("x", s) == nil {
			u, err := url.Parse(s)
			if len(s) > maxIRI || strings.ContainsAny(s, "@ \x00\n\x7f") || err == nil && u.Scheme == "" {
				t.Fatalf("accepts the IRI %q", s)
			}
		}
		if checkDID("x", s) == nil {
			organisation, id := splitDID(s)
			if checkOrganisation("x", organisation) != nil || id == "" && organisation != s || id != "" && organisation+":"+id != s {
				t.Fatalf("%q splits into %q and %q", s, organisation, id)
			}
		}
		if checkPerson("x", s) == nil && s != "" && checkDID("x", s) != nil {
			t.Fatalf("%q is a person's and no DID", s)
		}
		if isLanguage(s) && len(s) > 35 || isJurisdiction(s) && len(s) > 6 {
			t.Fatalf("accepts %q", s)
		}
	})
}

// fixed is Snapshots of one state.
type fixed struct{ chain.ReadCtx }

func (f fixed) At(context.Context) (chain.ReadCtx, error) { return f.ReadCtx, nil }

// FuzzPageToken answers any token with a page or with an error of this module.
func FuzzPageToken(f *testing.F) {
	n := newNet(f)
	everyKind(n)
	q, ctx, subject := &queries{m: n.m, at: fixed{n.View()}}, context.Background(), subjectOf("anna")
	first, err := q.Export(ctx, &consentv1.ExportRequest{Subject: subject, Limit: 1})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(first.NextPageToken)
	for _, part := range []byte{partRecords, partDossiers, partDelegations, 0} {
		f.Add([]byte{part})
	}
	f.Fuzz(func(t *testing.T, token []byte) {
		for _, err := range []error{
			second(q.Export(ctx, &consentv1.ExportRequest{Subject: subject, PageToken: token})),
			second(q.ConsentsBySubject(ctx, &consentv1.ConsentsBySubjectRequest{Subject: subject, PageToken: token})),
			second(q.ConsentsByController(ctx, &consentv1.ConsentsByControllerRequest{Controller: mercy, PageToken: token})),
			second(q.ConsentsByRecipient(ctx, &consentv1.ConsentsByRecipientRequest{Recipient: lakeside, PageToken: token})),
			second(q.Requests(ctx, &consentv1.RequestsRequest{Controller: mercy, PageToken: token})),
			second(q.Versions(ctx, &consentv1.VersionsRequest{Id: digest("x"), PageToken: token})),
			second(q.Delegations(ctx, &consentv1.DelegationsRequest{Subject: subject, Controller: mercy, PageToken: token})),
		} {
			if err != nil && errs.As(err).Module != "consent" {
				t.Fatalf("%x: %v", token, err)
			}
		}
	})
}

// FuzzTerms validates any bytes as terms, and compares what validates with itself.
func FuzzTerms(f *testing.F) {
	for _, x := range []*consentv1.Terms{terms(), terms(to(lakeside), except(&consentv1.Exclusion{Recipients: []string{doctor}}))} {
		raw, err := x.MarshalVT()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		x := new(consentv1.Terms)
		if x.UnmarshalVT(raw) != nil {
			return
		}
		if err := checkTerms(x); err != nil {
			if errs.As(err).Module != "consent" {
				t.Fatal(err)
			}
			return
		}
		if err := within(x, x); err != nil {
			t.Fatalf("terms are not within themselves: %v", err)
		}
		if _, err := encodeJSON(receiptOf(&consentv1.Record{Terms: x}, consentv1.Status_STATUS_GIVEN, nil)); err != nil {
			t.Fatal(err)
		}
	})
}
