package consent

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"testing"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/chaintest"
	"github.com/chancery/chancery/chain/state"
	consentv1 "github.com/chancery/chancery/proto/chancery/consent/v1"
)

func (n *net) queries() *queries { return &queries{m: n.m, at: n} }

// points is Snapshots that fail the test when a query walks: what such a query
// reads can be proven key by key.
type points struct{ n *net }

func (p points) At(context.Context) (chain.ReadCtx, error) {
	return noWalk{p.n.View(), p.n.t}, nil
}

type noWalk struct {
	chain.ReadCtx
	t testing.TB
}

func (w noWalk) Walk(start, end []byte, reverse bool) iter.Seq2[[]byte, []byte] {
	w.t.Fatal("a query for one record walks")
	return nil
}

func TestSingleQueriesArePointLookups(t *testing.T) {
	n := newNet(t)
	ids := everyKind(n)
	q, ctx := &queries{m: n.m, at: points{n}}, context.Background()
	for name, id := range ids {
		r, err := q.Consent(ctx, &consentv1.ConsentRequest{Id: id})
		if err != nil || !bytes.Equal(r.Record.Id, id) {
			t.Fatalf("%s: %v, %v", name, r, err)
		}
		for v := uint64(1); v <= r.Record.Version; v++ {
			old, err := q.ConsentVersion(ctx, &consentv1.ConsentVersionRequest{Id: id, Version: v})
			if err != nil || old.Record.Version != v {
				t.Fatalf("%s version %d: %v, %v", name, v, old, err)
			}
		}
		if _, err := q.Receipt(ctx, &consentv1.ReceiptRequest{Id: id}); err != nil {
			t.Fatal(err)
		}
	}
	imported, err := q.Consent(ctx, &consentv1.ConsentRequest{Id: ids["imported"]})
	if err != nil || imported.EffectiveStatus != consentv1.Status_STATUS_EXPIRED || imported.Record.Status != consentv1.Status_STATUS_GIVEN {
		t.Fatalf("%v, %v", imported, err)
	}
	if _, err := q.Consent(ctx, &consentv1.ConsentRequest{Id: digest("nothing")}); !ErrNotFound.Is(err) {
		t.Fatalf("%v", err)
	}
	if _, err := q.ConsentVersion(ctx, &consentv1.ConsentVersionRequest{Id: ids["given"], Version: 2}); !ErrNotFound.Is(err) {
		t.Fatalf("%v", err)
	}
	if _, err := q.ConsentVersion(ctx, &consentv1.ConsentVersionRequest{Id: ids["given"]}); !ErrInvalid.Is(err) {
		t.Fatalf("%v", err)
	}
	ask := &consentv1.PermittedRequest{Subject: subjectOf("anna"), Controller: mercy, Recipient: doctor, Purpose: treatment, Categories: []string{record}}
	if r, err := q.Permitted(ctx, ask); err != nil || !r.Permitted || r.Code != 0 || len(r.Id) != 32 || r.Version != 1 {
		t.Fatalf("%v, %v", r, err)
	}
	ask.Purpose = marketing
	if r, err := q.Permitted(ctx, ask); err != nil || r.Permitted || r.Code != ErrRestricted.Code || r.Reason == "" {
		t.Fatalf("%v, %v", r, err)
	}
	ask.Subject = nil
	if _, err := q.Permitted(ctx, ask); !ErrInvalid.Is(err) {
		t.Fatalf("%v", err)
	}
	if d, err := q.Dossier(ctx, &consentv1.DossierRequest{Subject: subjectOf("anna"), Controller: mercy}); err != nil || d.Dossier.SubjectDid != anna {
		t.Fatalf("%v, %v", d, err)
	}
	if _, err := q.Dossier(ctx, &consentv1.DossierRequest{Subject: subjectOf("nobody"), Controller: mercy}); !ErrNotFound.Is(err) {
		t.Fatalf("%v", err)
	}
	if d, err := q.Delegation(ctx, &consentv1.DelegationRequest{Subject: subjectOf("anna"), Controller: mercy, Delegate: bert}); err != nil || d.Delegation.Delegate != bert {
		t.Fatalf("%v, %v", d, err)
	}
	if _, err := q.Delegation(ctx, &consentv1.DelegationRequest{Subject: subjectOf("anna"), Controller: mercy, Delegate: doctor}); !ErrNoDelegation.Is(err) {
		t.Fatalf("%v", err)
	}
}

// pages collects all pages of a listing, of a size, and checks that none is larger
// and that none but the last is empty.
func pages(t *testing.T, limit uint32, page func(limit uint32, token []byte) (*consentv1.ConsentsResponse, error)) (ids []string) {
	t.Helper()
	var token []byte
	for range 1000 {
		r, err := page(limit, token)
		if err != nil {
			t.Fatal(err)
		}
		if len(r.Consents) > int(limit) {
			t.Fatalf("a page of %d, limit %d", len(r.Consents), limit)
		}
		for _, c := range r.Consents {
			ids = append(ids, fmt.Sprintf("%x/%d", c.Record.Id, c.Record.Version))
		}
		if token = r.NextPageToken; len(token) == 0 {
			return ids
		}
	}
	t.Fatal("paging does not end")
	return nil
}

func TestListings(t *testing.T) {
	n := newNet(t)
	ids := everyKind(n)
	// anna with another controller, so that her records span dossiers
	elsewhere := chaintest.Response[consentv1.GiveResponse](t, n.Do(anna, &consentv1.Give{
		Terms: terms(func(t *consentv1.Terms) { t.Controller = lakeside }, to(mercy)),
	})).Id
	q, ctx := n.queries(), context.Background()
	bySubject := map[string]int{"anna": 0, "bert": 0, "paper": 0, "late": 0, "nobody": 0}
	byController := map[string]int{mercy: 0, lakeside: 0, "did:chancery:nobody": 0}
	byRecipient := map[string]int{lakeside: 0, visitor: 0, mercy: 0, doctor: 0}
	waiting := map[string]int{mercy: 0, lakeside: 0}
	for _, id := range append([][]byte{elsewhere}, values(ids)...) {
		rec, _ := n.latest(id)
		for name := range bySubject {
			if bytes.Equal(rec.Terms.Subject, subjectOf(name)) {
				bySubject[name]++
			}
		}
		byController[rec.Terms.Controller]++
		if rec.Status == consentv1.Status_STATUS_REQUESTED {
			waiting[rec.Terms.Controller]++
		} else if wasGiven(rec.Status) {
			for _, did := range rec.Terms.Recipients {
				byRecipient[did]++
			}
		}
	}
	check := func(t *testing.T, want int, page func(limit uint32, token []byte) (*consentv1.ConsentsResponse, error)) {
		t.Helper()
		all := pages(t, maxLimit, page)
		if len(all) != want {
			t.Fatalf("%d records, want %d", len(all), want)
		}
		for _, limit := range []uint32{1, 2, 3} {
			if got := pages(t, limit, page); fmt.Sprint(got) != fmt.Sprint(all) {
				t.Fatalf("pages of %d give %v, want %v", limit, got, all)
			}
		}
	}
	for name, want := range bySubject {
		t.Run("subject "+name, func(t *testing.T) {
			check(t, want, func(limit uint32, token []byte) (*consentv1.ConsentsResponse, error) {
				return q.ConsentsBySubject(ctx, &consentv1.ConsentsBySubjectRequest{Subject: subjectOf(name), Limit: limit, PageToken: token})
			})
		})
	}
	for did, want := range byController {
		t.Run("controller "+did, func(t *testing.T) {
			check(t, want, func(limit uint32, token []byte) (*consentv1.ConsentsResponse, error) {
				return q.ConsentsByController(ctx, &consentv1.ConsentsByControllerRequest{Controller: did, Limit: limit, PageToken: token})
			})
		})
	}
	for did, want := range byRecipient {
		t.Run("recipient "+did, func(t *testing.T) {
			check(t, want, func(limit uint32, token []byte) (*consentv1.ConsentsResponse, error) {
				return q.ConsentsByRecipient(ctx, &consentv1.ConsentsByRecipientRequest{Recipient: did, Limit: limit, PageToken: token})
			})
		})
	}
	for did, want := range waiting {
		t.Run("requests of "+did, func(t *testing.T) {
			check(t, want, func(limit uint32, token []byte) (*consentv1.ConsentsResponse, error) {
				return q.Requests(ctx, &consentv1.RequestsRequest{Controller: did, Limit: limit, PageToken: token})
			})
		})
	}
	t.Run("versions", func(t *testing.T) {
		check(t, 3, func(limit uint32, token []byte) (*consentv1.ConsentsResponse, error) {
			return q.Versions(ctx, &consentv1.VersionsRequest{Id: ids["narrowed"], Limit: limit, PageToken: token})
		})
	})
	if r, err := q.Delegations(ctx, &consentv1.DelegationsRequest{Subject: subjectOf("anna"), Controller: mercy}); err != nil || len(r.Delegations) != 1 {
		t.Fatalf("%v, %v", r, err)
	}
	if bySubject["anna"] < 8 || byRecipient[lakeside] == 0 || waiting[mercy] != 2 {
		t.Fatalf("the listings are of too little: %v %v %v", bySubject, byRecipient, waiting)
	}
}

func values(m map[string][]byte) (out [][]byte) {
	for _, v := range m {
		out = append(out, v)
	}
	return out
}

func TestPagesAreChecked(t *testing.T) {
	n := newNet(t)
	n.gives()
	q, ctx := n.queries(), context.Background()
	other := holdingCodec.Encode(nil, holdingKey{A: lakeside, B: subjectOf("bert"), C: digest("x")})
	for _, err := range []error{
		second(q.ConsentsBySubject(ctx, &consentv1.ConsentsBySubjectRequest{Subject: subjectOf("anna"), Limit: 501})),
		second(q.ConsentsBySubject(ctx, &consentv1.ConsentsBySubjectRequest{Subject: subjectOf("anna"), PageToken: other})),
		second(q.ConsentsByController(ctx, &consentv1.ConsentsByControllerRequest{Controller: mercy, PageToken: other})),
		second(q.ConsentsByRecipient(ctx, &consentv1.ConsentsByRecipientRequest{Recipient: mercy, PageToken: other})),
		second(q.Requests(ctx, &consentv1.RequestsRequest{Controller: mercy, PageToken: []byte("x")})),
		second(q.Delegations(ctx, &consentv1.DelegationsRequest{Subject: subjectOf("anna"), Controller: mercy, PageToken: other})),
		second(q.Export(ctx, &consentv1.ExportRequest{Subject: subjectOf("anna"), PageToken: append([]byte{partRecords}, other...)})),
		second(q.Export(ctx, &consentv1.ExportRequest{Subject: subjectOf("anna"), PageToken: []byte{9}})),
		second(q.Export(ctx, &consentv1.ExportRequest{Subject: subjectOf("anna"), PageToken: append([]byte{partDossiers}, 7)})),
		second(q.Export(ctx, &consentv1.ExportRequest{Subject: subjectOf("anna"), PageToken: append([]byte{partDelegations}, 7)})),
	} {
		if !ErrPage.Is(err) {
			t.Errorf("%v, want %v", err, ErrPage)
		}
	}
}

func second[T any](_ T, err error) error { return err }

func TestExportReturnsAllOfASubject(t *testing.T) { // law 10
	n := newNet(t)
	everyKind(n)
	q, ctx := n.queries(), context.Background()
	whole, err := q.Export(ctx, &consentv1.ExportRequest{Subject: subjectOf("anna"), Limit: maxLimit})
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "export.json", []byte(whole.Json))
	var all export
	if err := json.Unmarshal([]byte(whole.Json), &all); err != nil {
		t.Fatal(err)
	}
	versions := 0
	for _, rec := range n.m.records.Walk(n.View(), state.All()) {
		if bytes.Equal(rec.Terms.Subject, subjectOf("anna")) {
			versions += int(rec.Version)
		}
	}
	if len(all.Records) != versions || len(all.Dossiers) != 2 || len(all.Delegations) != 1 || !all.Complete {
		t.Fatalf("%d versions of %d, %d dossiers, %d delegations", len(all.Records), versions, len(all.Dossiers), len(all.Delegations))
	}
	for _, limit := range []uint32{1, 2, 5, 12} {
		var parts export
		var token []byte
		for !parts.Complete {
			r, err := q.Export(ctx, &consentv1.ExportRequest{Subject: subjectOf("anna"), Limit: limit, PageToken: token})
			if err != nil {
				t.Fatal(err)
			}
			var page export
			if err := json.Unmarshal([]byte(r.Json), &page); err != nil {
				t.Fatal(err)
			}
			parts.Records = append(parts.Records, page.Records...)
			parts.Dossiers = append(parts.Dossiers, page.Dossiers...)
			parts.Delegations = append(parts.Delegations, page.Delegations...)
			token, parts.Complete = r.NextPageToken, page.Complete
		}
		if fmt.Sprintf("%s%s%s", parts.Records, parts.Dossiers, parts.Delegations) != fmt.Sprintf("%s%s%s", all.Records, all.Dossiers, all.Delegations) {
			t.Fatalf("pages of %d are not the whole", limit)
		}
	}
}
