package identity

import (
	"bytes"
	"context"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/chancery/chancery/chain/chaintest"
	"github.com/chancery/chancery/chain/errs"
	"github.com/chancery/chancery/chain/keys"
	"github.com/chancery/chancery/modules/identity/did"
	identityv1 "github.com/chancery/chancery/proto/chancery/identity/v1"
)

func (w *world) document(q *identityv1.DocumentRequest) *identityv1.DocumentResponse {
	w.t.Helper()
	r, err := w.query().Document(context.Background(), q)
	if err != nil {
		w.t.Fatal(err)
	}
	checkDocument(w.t, q.Did, []byte(r.Document))
	return r
}

// failer is a test, a property or a fuzz target.
type failer interface {
	Helper()
	Fatalf(format string, args ...any)
	Fatal(args ...any)
}

// checkDocument checks what DID Core 1.0 asks of every document.
func checkDocument(t failer, name string, raw []byte) map[string]any {
	t.Helper()
	var doc map[string]any
	if err := json.Unmarshal(raw, &doc); err != nil {
		t.Fatalf("not JSON: %v\n%s", err, raw)
	}
	if doc["id"] != name { // 5.1.1
		t.Fatalf("id %v, want %s", doc["id"], name)
	}
	context, _ := doc["@context"].([]any)
	if len(context) != 2 || context[0] != "https://www.w3.org/ns/did/v1" { // 6.3.1: the first
		t.Fatalf("@context %v", context)
	}
	ids := map[string]bool{}
	once := func(v any) string {
		id, _ := v.(string)
		if _, _, err := did.ParseURL(id); err != nil || ids[id] {
			t.Fatalf("id %v: %v", v, err)
		}
		ids[id] = true
		return id
	}
	methods := map[string]bool{}
	for _, v := range list(t, doc, "verificationMethod") { // 5.2
		m := v.(map[string]any)
		id := once(m["id"])
		methods[id] = true
		if m["type"] != "Multikey" || m["controller"] != name || m["publicKeyJwk"] != nil {
			t.Fatalf("method %v", m)
		}
		if _, _, err := parseMultikey(m["publicKeyMultibase"].(string)); err != nil {
			t.Fatalf("method %v: %v", m, err)
		}
	}
	for _, relationship := range []string{"authentication", "assertionMethod", "keyAgreement", "capabilityInvocation"} { // 5.3
		seen := map[string]bool{}
		for _, v := range list(t, doc, relationship) {
			if id := v.(string); !methods[id] || seen[id] {
				t.Fatalf("%s names %s", relationship, id)
			} else {
				seen[id] = true
			}
		}
	}
	for _, v := range list(t, doc, "service") { // 5.4
		s := v.(map[string]any)
		once(s["id"])
		if s["type"] == "" || !strings.Contains(s["serviceEndpoint"].(string), "://") {
			t.Fatalf("service %v", s)
		}
	}
	for _, v := range list(t, doc, "controller") { // 5.1.2
		if _, err := did.Parse(v.(string)); err != nil {
			t.Fatal(err)
		}
	}
	for property := range doc {
		if !slices.Contains([]string{
			"@context", "id", "controller", "verificationMethod", "authentication", "assertionMethod", "keyAgreement",
			"capabilityInvocation", "service",
		}, property) {
			t.Fatalf("property %s is not of DID Core", property)
		}
	}
	return doc
}

// list is a property that is absent or a list that is not empty.
func list(t failer, doc map[string]any, property string) []any {
	t.Helper()
	v, ok := doc[property]
	if !ok {
		return nil
	}
	out, ok := v.([]any)
	if !ok || len(out) == 0 {
		t.Fatalf("%s is %v", property, v)
	}
	return out
}

// full is a chain with a service that uses all a document can show.
func full(t testing.TB) (*world, string) {
	w := start(t)
	name := did.Member("acme", "gateway")
	limited := newKey(t, chaintest.Named(did.URL(name, "p256"), keys.P256, "gateway-p256"), assertion, capabilityInvocation)
	limited.ValidUntil = chaintest.GenesisTime + 3_600_000
	w.do(acme, &identityv1.RegisterIdentity{Identity: &identityv1.NewIdentity{Did: name, Kind: program, Keys: []*identityv1.NewKey{
		newKey(t, key(name), authentication, assertion), limited,
		{Id: "box", Type: identityv1.KeyType_KEY_TYPE_X25519, Public: x25519(t, 3), Purposes: []identityv1.Purpose{keyAgreement}},
		newKey(t, chaintest.Named(did.URL(name, "vault"), keys.Ed25519, "gateway-vault"), recoveryPurpose),
	}}})
	w.do(name, &identityv1.SetServices{Services: []*identityv1.Service{{Id: "api", Type: "ChanceryGateway", Endpoint: "https://gateway.example/v1/&x='1'"}}})
	return w, name
}

func TestDocuments(t *testing.T) {
	w, name := full(t)
	for file, of := range map[string]string{
		"service.json": name, "consortium.json": did.Consortium, "organisation.json": mercy, "person.json": ann,
	} {
		r := w.document(&identityv1.DocumentRequest{Did: of})
		var pretty bytes.Buffer
		if err := json.Indent(&pretty, []byte(r.Document), "", "  "); err != nil {
			t.Fatal(err)
		}
		golden(t, file, append(pretty.Bytes(), '\n'))
		if r.ContentType != "application/did+ld+json" {
			t.Errorf("content type %s", r.ContentType)
		}
	}
	m := w.document(&identityv1.DocumentRequest{Did: name}).Metadata
	if m.Created != "2026-01-05T08:00:01Z" || m.Updated != "2026-01-05T08:00:02Z" || m.VersionId != "2" || m.NextVersionId != "" || m.Deactivated || m.Suspended {
		t.Errorf("metadata %v", m)
	}
}

func TestDocumentsOfThePast(t *testing.T) {
	w := start(t)
	born := w.Now
	w.do(acme, w.rotation(acme, "key-1", "key-2", 10*chaintest.BlockTime)) // version 2
	rotated := w.Now
	two := asSigners([]chaintest.Key{keyOfID(acme, "key-2")})
	w.signed(acme, two, revoke(acme, "key-1")) // version 3
	revoked := w.Now
	w.signed(acme, two, &identityv1.SetServices{Services: []*identityv1.Service{{Id: "s", Type: "T", Endpoint: "https://a.example"}}})
	w.signed(acme, two, suspend(acme))
	has := func(q *identityv1.DocumentRequest, version string, authentications ...string) {
		t.Helper()
		r := w.document(q)
		var doc struct {
			Authentication     []string `json:"authentication"`
			VerificationMethod []struct {
				ID, Expires string
			} `json:"verificationMethod"`
		}
		if err := json.Unmarshal([]byte(r.Document), &doc); err != nil {
			t.Fatal(err)
		}
		for i := range authentications {
			authentications[i] = did.URL(acme, authentications[i])
		}
		if r.Metadata.VersionId != version || !slices.Equal(doc.Authentication, authentications) {
			t.Errorf("%v: version %s, authentication %v", q, r.Metadata.VersionId, doc.Authentication)
		}
	}
	has(&identityv1.DocumentRequest{Did: acme, Version: 1}, "1", "key-1")
	has(&identityv1.DocumentRequest{Did: acme, Version: 2}, "2", "key-1", "key-2")
	has(&identityv1.DocumentRequest{Did: acme, Version: 3}, "3", "key-2")
	has(&identityv1.DocumentRequest{Did: acme, Time: born}, "1", "key-1")
	has(&identityv1.DocumentRequest{Did: acme, Time: rotated - 1}, "1", "key-1")
	has(&identityv1.DocumentRequest{Did: acme, Time: rotated}, "2", "key-1", "key-2")
	has(&identityv1.DocumentRequest{Did: acme, Time: revoked - 1}, "2", "key-1", "key-2")
	has(&identityv1.DocumentRequest{Did: acme, Time: revoked}, "3", "key-2")
	has(&identityv1.DocumentRequest{Did: acme, Version: 5}, "5")
	has(&identityv1.DocumentRequest{Did: acme}, "5")
	m := w.document(&identityv1.DocumentRequest{Did: acme, Version: 2}).Metadata
	if m.Updated != xmlTime(rotated) || m.NextUpdate != xmlTime(revoked) || m.NextVersionId != "3" {
		t.Errorf("metadata %v", m)
	}
	if m := w.document(&identityv1.DocumentRequest{Did: acme}).Metadata; !m.Suspended || m.NextVersionId != "" {
		t.Errorf("metadata %v", m)
	}
}

// An overlap that ends shows without a new version.
func TestADocumentForgetsKeysInTime(t *testing.T) {
	w := start(t)
	w.do(acme, w.rotation(acme, "key-1", "key-2", 5*chaintest.BlockTime))
	if d := w.document(&identityv1.DocumentRequest{Did: acme}).Document; !strings.Contains(d, "#key-1") || !strings.Contains(d, `"expires":"2026-01-05T08:00:06Z"`) {
		t.Error(d)
	}
	w.Now += 5 * chaintest.BlockTime
	w.Block()
	if d := w.document(&identityv1.DocumentRequest{Did: acme}).Document; strings.Contains(d, "#key-1") {
		t.Error(d)
	}
}

func TestADeactivatedDocumentIsEmpty(t *testing.T) {
	w := start(t)
	w.do(mercy, deactivate(dot))
	r := w.document(&identityv1.DocumentRequest{Did: dot})
	if !r.Metadata.Deactivated || strings.Contains(r.Document, "verificationMethod") {
		t.Error(r)
	}
	if r := w.document(&identityv1.DocumentRequest{Did: dot, Version: 1}); r.Metadata.Deactivated || !strings.Contains(r.Document, "authentication") {
		t.Error(r)
	}
}

func TestDocumentRefuses(t *testing.T) {
	w := start(t)
	for name, c := range map[string]struct {
		want *errs.Error
		q    *identityv1.DocumentRequest
	}{
		"unknown": {ErrUnknownDID, &identityv1.DocumentRequest{Did: hold}},
		"invalid": {ErrBadDID, &identityv1.DocumentRequest{Did: "did:web:a"}},
		"both":    {ErrBadQuery, &identityv1.DocumentRequest{Did: acme, Version: 1, Time: 1}},
		"version": {ErrNoVersion, &identityv1.DocumentRequest{Did: acme, Version: 2}},
		"early":   {ErrNoVersion, &identityv1.DocumentRequest{Did: acme, Time: chaintest.GenesisTime - 1}},
		"late":    {ErrNoVersion, &identityv1.DocumentRequest{Did: acme, Time: w.Now + 1}},
	} {
		if _, err := w.query().Document(context.Background(), c.q); err == nil || !errs.As(err).Is(c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestMultikeys(t *testing.T) {
	for _, typ := range []keys.Type{keys.Ed25519, keys.P256, keys.MLDSA65} {
		k := chaintest.Named("", typ, "a").Public()
		if back, public, err := parseMultikey(Multikey(identityv1.KeyType(typ), k.Bytes)); err != nil || back != identityv1.KeyType(typ) || !bytes.Equal(public, k.Bytes) {
			t.Errorf("%s: %v", typ, err)
		}
	}
	s := Multikey(identityv1.KeyType_KEY_TYPE_X25519, x25519(t, 5))
	if back, public, err := parseMultikey(s); err != nil || back != identityv1.KeyType_KEY_TYPE_X25519 || !bytes.Equal(public, x25519(t, 5)) || !strings.HasPrefix(s, "z6LS") {
		t.Errorf("%s: %v", s, err)
	}
	for _, bad := range []string{"", "z", "z6LS", s + "1", s[:20], "u" + s[1:], Multikey(identityv1.KeyType_KEY_TYPE_X25519, make([]byte, 32))} {
		if _, _, err := parseMultikey(bad); err == nil {
			t.Errorf("%q parses", bad)
		}
	}
	if Multikey(9, nil) != "" {
		t.Error("an unknown type has a multikey")
	}
}

// Whatever a record holds, its document is well-formed.
func TestDocumentsAreWellFormed(t *testing.T) {
	rapid.Check(t, drawDocument)
}

func FuzzDocument(f *testing.F) {
	f.Fuzz(rapid.MakeFuzz(drawDocument))
}

func drawDocument(r *rapid.T) {
	name := rapid.SampledFrom([]string{acme, dot, robot, did.Consortium}).Draw(r, "did")
	id := &identityv1.Identity{
		Did: name, Status: identityv1.Status(rapid.IntRange(1, 3).Draw(r, "status")), Version: rapid.Uint64Range(1, 5).Draw(r, "version"),
		Controllers: rapid.SliceOfNDistinct(rapid.SampledFrom([]string{ann, ben, acme}), 0, 3, rapid.ID[string]).Draw(r, "controllers"),
	}
	times := rapid.SampledFrom([]int64{0, 1, 2, 3, maxTime})
	marks := func(label string) *identityv1.Mark {
		if v := rapid.Uint64Range(0, 5).Draw(r, label); v != 0 {
			return &identityv1.Mark{Version: v}
		}
		return nil
	}
	var ring []*identityv1.Key
	for i := range rapid.IntRange(0, 4).Draw(r, "keys") {
		k := &identityv1.Key{
			Did: name, Id: "k" + string(rune('a'+i)), Type: identityv1.KeyType_KEY_TYPE_X25519, Public: bytes.Repeat([]byte{9}, 32),
			Purposes:  rapid.SliceOfNDistinct(rapid.Custom(func(r *rapid.T) identityv1.Purpose { return identityv1.Purpose(rapid.IntRange(1, 5).Draw(r, "p")) }), 1, 5, rapid.ID[identityv1.Purpose]).Draw(r, "purposes"),
			ValidFrom: times.Draw(r, "from"), ValidUntil: times.Draw(r, "until"), Rotated: marks("rotated"), Revoked: marks("revoked"),
			Pending: rapid.Bool().Draw(r, "pending"),
		}
		if k.Rotated != nil {
			k.RetiresAt = times.Draw(r, "retires")
		}
		if typ := rapid.SampledFrom([]keys.Type{0, keys.Ed25519, keys.P256}).Draw(r, "type"); typ != 0 {
			k.Type, k.Public = identityv1.KeyType(typ), chaintest.Named("", typ, k.Id).Public().Bytes
		}
		ring = append(ring, k)
	}
	for i := range rapid.IntRange(0, 3).Draw(r, "services") {
		s := &identityv1.Service{Id: "s" + string(rune('a'+i)), Type: rapid.StringMatching(`[A-Za-z][A-Za-z0-9.-]{0,20}`).Draw(r, "type"), Endpoint: rapid.StringMatching(serviceEndpoint.String()).Draw(r, "endpoint")}
		id.Services = append(id.Services, s)
	}
	at := times.Draw(r, "at")
	raw, err := buildDocument(id, ring, at)
	if err != nil {
		r.Fatal(err)
	}
	doc := checkDocument(r, name, raw)
	if id.Status != identityv1.Status_STATUS_ACTIVE && doc["authentication"] != nil {
		r.Fatalf("a document of one who is not active authenticates: %s", raw)
	}
	again, err := buildDocument(id, ring, at)
	if err != nil || !bytes.Equal(raw, again) {
		r.Fatalf("two documents of one record differ: %v", err)
	}
}
