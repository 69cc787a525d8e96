package consent

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/chancery/chancery/chain/chaintest"
	consentv1 "github.com/chancery/chancery/proto/chancery/consent/v1"
)

var rewrite = flag.Bool("rewrite", false, "rewrite the golden files")

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *rewrite {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v; run go test with -rewrite", err)
	}
	if !bytes.Equal(got, want) {
		t.Fatalf("%s differs; run go test with -rewrite and explain the change:\n%s", path, got)
	}
}

// everyKind brings about a record of every status and with every optional part,
// delegations of both kinds and restrictions.
func everyKind(n *net) map[string][]byte {
	full := func(name string) *consentv1.Terms {
		return terms(about(name), purposes(treatment, research), of(record, contact), to(lakeside, visitor), until(n.Now+1_000_000),
			except(&consentv1.Exclusion{
				Categories: []string{mental}, Recipients: []string{doctor}, Purposes: []string{research}, Processing: []string{Access},
				From: chaintest.GenesisTime, Until: chaintest.GenesisTime + 500_000,
			}, &consentv1.Exclusion{Recipients: []string{bert}}),
			func(t *consentv1.Terms) {
				t.Processing = []string{Access, "https://w3id.org/dpv#Disclose"}
				t.Notice.Url = "https://mercy.example/notice"
				t.ValidFrom = chaintest.GenesisTime
			})
	}
	ids := map[string][]byte{}
	ids["given"] = n.gives()
	ids["requested"] = n.requests(full("anna"), anna)
	answer := full("bert")
	ids["answered"] = n.requests(answer, bert)
	answer.Recipients = answer.Recipients[:1]
	n.Do(bert, &consentv1.Give{RequestId: ids["answered"], Terms: answer})
	ids["refused"] = n.requests(terms(), anna)
	n.Do(anna, &consentv1.Refuse{RequestId: ids["refused"]})
	ids["narrowed"] = n.gives(purposes(treatment, research), to(lakeside))
	n.Do(anna, &consentv1.Narrow{Id: ids["narrowed"], RemovePurposes: []string{research}})
	n.Do(anna, &consentv1.Narrow{Id: ids["narrowed"], AddExclusions: []*consentv1.Exclusion{{Recipients: []string{doctor}}}})
	ids["withdrawn"] = n.gives()
	n.Do(anna, &consentv1.Withdraw{Id: ids["withdrawn"]})
	ids["superseded"] = n.gives()
	ids["successor"] = chaintest.Response[consentv1.SupersedeResponse](n.t, n.Do(anna, &consentv1.Supersede{Id: ids["superseded"], Terms: terms(purposes(research))})).Id
	ids["rectified"] = n.gives()
	n.Do(anna, &consentv1.Rectify{Id: ids["rectified"], Terms: terms(func(t *consentv1.Terms) { t.Jurisdiction = "US-CA" })})
	ids["written"] = chaintest.Response[consentv1.GiveResponse](n.t, n.Do(officer, onPaper(full("paper")))).Id
	ids["other-basis"] = chaintest.Response[consentv1.GiveResponse](n.t, n.Do(officer, onPaper(terms(about("paper"), of(contact), func(t *consentv1.Terms) {
		t.LegalBasis, t.SpecialCondition = consentv1.LegalBasis_LEGAL_BASIS_CONTRACT, 0
	})))).Id
	ids["imported"] = chaintest.Response[consentv1.GiveResponse](n.t, n.Do(officer, &consentv1.Give{
		Terms: terms(about("paper"), func(t *consentv1.Terms) { t.ValidFrom, t.ValidUntil = 1_000, 2_000_000 }), GivenAt: 500,
		Method: consentv1.Method_METHOD_IMPORTED, Source: &consentv1.Source{Hash: digest("document"), Format: "fhir-r4-consent"},
	})).Id
	ids["expired"] = n.gives(until(n.Now + 3*chaintest.BlockTime))
	ids["lapsed"] = n.requests(terms(about("late")), "")
	n.Now += 30 * chaintest.BlockTime
	n.Do(visitor, &consentv1.Expire{Id: ids["expired"]}, &consentv1.Expire{Id: ids["lapsed"]})
	ids["waiting"] = n.requests(terms(about("late")), bert)
	n.Do(anna, &consentv1.Delegate{
		Subject: subjectOf("anna"), Controller: mercy, Delegate: bert, Kind: consentv1.DelegationKind_DELEGATION_KIND_REPRESENTATIVE,
		Scopes: []consentv1.Scope{consentv1.Scope_SCOPE_NARROW, consentv1.Scope_SCOPE_WITHDRAW}, Until: n.Now + 100_000,
	})
	n.Do(officer, &consentv1.Delegate{
		Subject: subjectOf("child"), Controller: mercy, Delegate: bert, Kind: consentv1.DelegationKind_DELEGATION_KIND_GUARDIAN,
		Scopes: []consentv1.Scope{consentv1.Scope_SCOPE_GIVE}, EvidenceHash: digest("deed"),
	})
	n.Do(anna, &consentv1.Restrict{
		Subject: subjectOf("anna"), Controller: mercy, Ground: consentv1.RestrictionGround_RESTRICTION_GROUND_DIRECT_MARKETING, Purposes: []string{marketing},
	})
	n.Do(anna, &consentv1.Restrict{
		Subject: subjectOf("anna"), Controller: lakeside, Ground: consentv1.RestrictionGround_RESTRICTION_GROUND_OBJECTION,
	})
	return ids
}

func TestReceipts(t *testing.T) { // law 7
	n := newNet(t)
	for name, id := range everyKind(n) {
		t.Run(name, func(t *testing.T) {
			raw, err := n.m.Receipt(n.View(), id, 0)
			if err != nil {
				t.Fatal(err)
			}
			if !json.Valid(raw) {
				t.Fatal("not JSON")
			}
			golden(t, filepath.Join("receipts", name+".json"), raw)
		})
	}
}

func TestReceiptOfAnEarlierVersion(t *testing.T) {
	n := newNet(t)
	id := n.gives(purposes(treatment, research))
	before, err := n.m.Receipt(n.View(), id, 0)
	if err != nil {
		t.Fatal(err)
	}
	n.Do(anna, &consentv1.Narrow{Id: id, RemovePurposes: []string{research}})
	after, err := n.m.Receipt(n.View(), id, 1)
	if err != nil || !bytes.Equal(before, after) {
		t.Fatalf("the receipt of version 1 changed, %v:\n%s", err, after)
	}
	if _, err := n.m.Receipt(n.View(), id, 3); !ErrNotFound.Is(err) {
		t.Fatalf("%v, want %v", err, ErrNotFound)
	}
}
