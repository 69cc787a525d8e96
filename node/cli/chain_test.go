package cli

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/chancery/chancery/node/client"
	"github.com/chancery/chancery/node/keyring"
)

func TestATransactionIsSignedInSeveralPlaces(t *testing.T) {
	s := onChain(t)
	file, one, two, both := s.path("r.tx"), s.path("one.tx"), s.path("two.tx"), s.path("both.tx")
	s.ok("tx", "identity", "assign-role", "--author", alpha, "--did", registrar, "--role", "steward", "--generate-only", "--out", file)
	s.fails(1, "nobody has signed", "tx", "submit", file)
	s.fails(1, "nobody has signed", "tx", "merge", file, file)
	s.fails(1, "exists already", "tx", "sign", file, "--from", "one", "--out", file)

	// Signing needs no node.
	reach := s.env[nodeVariable]
	s.env[nodeVariable] = "127.0.0.1:1"
	s.ok("tx", "sign", file, "--from", "one", "--out", one)
	s.ok("tx", "sign", file, "--from", "two", "--out", two)
	shown := s.json("tx", "show", one)
	if signed := fmt.Sprint(shown["signed_by"]); signed != "["+adminOne+"#key-1]" {
		t.Errorf("signed by %s", signed)
	}
	if message := shown["messages"].([]any)[0].(map[string]any); message["type"] != "chancery.identity.v1.AssignRole" {
		t.Errorf("%v", message)
	}
	s.ok("tx", "merge", one, two, "--out", both)
	s.env[nodeVariable] = reach

	s.fails(1, "identity/", "simulate", one)
	s.fails(1, "identity/", "tx", "submit", one)
	if out := s.ok("simulate", both); !strings.Contains(out, "event identity.RoleAssigned") {
		t.Errorf("%s", out)
	}
	first := s.json("tx", "submit", both)
	if first["tx_id"] != shown["tx_id"] || first["code"] != 0.0 {
		t.Errorf("%v", first)
	}
	// Once more, and by the other way of signing twice: one effect, one result.
	again := s.json("tx", "submit", both)
	if again["height"] != first["height"] {
		t.Errorf("committed at %v and %v", first["height"], again["height"])
	}
	seq := s.path("seq.tx")
	s.ok("tx", "sign", one, "--from", "two", "--out", seq)
	if r := s.json("tx", "submit", seq); r["height"] != first["height"] {
		t.Errorf("%v", r)
	}
	id := first["tx_id"].(string)
	if r := s.json("tx", "wait", id); r["height"] != first["height"] {
		t.Errorf("%v", r)
	}
	if r := s.json("tx", "show", id); r["height"] != first["height"] {
		t.Errorf("%v", r)
	}
	other := s.path("other.tx")
	s.ok("tx", "identity", "assign-role", "--author", alpha, "--did", registrar, "--role", "x", "--generate-only", "--out", s.path("unused"))
	s.ok("tx", "identity", "assign-role", "--from", "one", "--author", alpha, "--did", registrar, "--role", "x", "--generate-only", "--out", other)
	signedOther := s.path("signed-other.tx")
	s.ok("tx", "sign", other, "--from", "one", "--out", signedOther)
	s.fails(1, "another body", "tx", "merge", one, signedOther)

	raw, err := os.ReadFile(both)
	if err != nil {
		t.Fatal(err)
	}
	var f txFile
	if err := json.Unmarshal(raw, &f); err != nil {
		t.Fatal(err)
	}
	bare := s.file("bare.tx", string(f.Tx))
	if r := s.json("tx", "submit", bare); r["height"] != first["height"] {
		t.Errorf("%v", r)
	}
	f.Tx[20] ^= 1
	altered, _ := json.Marshal(f)
	s.fails(1, "", "tx", "submit", s.file("altered.tx", string(altered)))
	s.fails(1, "no file of a transaction", "tx", "show", s.file("x", "{}"))
	s.fails(1, "no file of a transaction", "tx", "show", s.file("x", "hello"))
}

func TestBothSignaturesAtOnceAndOneTooFew(t *testing.T) {
	s := onChain(t)
	args := []string{"tx", "identity", "assign-role", "--author", alpha, "--did", registrar, "--role", "reviewer"}
	o := s.fails(1, "identity/", append(args, "--from", "one", "--output", "json")...)
	if !strings.Contains(o.out, `"error"`) {
		t.Errorf("%s", o.out)
	}
	if out := s.ok(append(args, "--from", "one,two", "--simulate")...); !strings.Contains(out, "RoleAssigned") {
		t.Errorf("%s", out)
	}
	if out := s.ok("query", "identity", "roles", "--did", registrar); strings.Contains(out, "reviewer") {
		t.Errorf("a simulation had an effect: %s", out)
	}
	checked := s.json(append(args, "--from", "one", "--from", "two", "--wait", "check")...)
	s.ok("tx", "wait", checked["tx_id"].(string))
	if out := s.ok("query", "identity", "roles", "--did", registrar); !strings.Contains(out, "reviewer") {
		t.Errorf("%s", out)
	}
	s.fails(2, "--wait", append(args, "--from", "one", "--wait", "never")...)
	s.fails(2, "--out", append(args, "--from", "one", "--out", s.path("x"))...)
	s.fails(2, "exclude each other", append(args, "--from", "one", "--generate-only", "--simulate")...)
	s.fails(2, "--wait", append(args, "--from", "one", "--generate-only", "--wait", "check")...)
	s.fails(2, "--wait", append(args, "--from", "one", "--simulate", "--wait", "commit")...)
	s.fails(1, "client/4", append(args, "--from", "one,two", "--chain-id", "another-chain")...)
	s.ok(append(args, "--from", "one,two", "--chain-id", "cli-test", "--simulate")...)
	s.fails(2, "no time", append(args, "--from", "one", "--tx-valid-until", "soon")...)
	// What the clock alone refuses is refused before a passphrase is asked for.
	locked := *s
	locked.passphrase = func(string, bool) ([]byte, error) {
		t.Error("the passphrase is asked for")
		return nil, keyring.ErrNoPassphrase
	}
	locked.fails(2, "is over already", append(args, "--from", "one,two", "--tx-valid-until", "-1h")...)
	locked.fails(2, "is over already", append(args, "--generate-only", "--tx-valid-until", "2020-01-01")...)
	// And what is too far ahead without waiting for it.
	s.fails(1, "chain/32002", append(args, "--from", "one,two", "--tx-valid-until", "+1h")...)
	s.fails(1, "chain/32002", append(args, "--from", "one,two", "--tx-valid-until", "+1h", "--simulate")...)
	s.fails(4, "client/3", "tx", "wait", strings.Repeat("00", 32), "--timeout", "300ms")
	s.fails(5, "node/3", "tx", "show", strings.Repeat("00", 32))
}

func TestSeveralMessagesAreOneTransaction(t *testing.T) {
	s := onChain(t)
	list := s.file("list.json", `[{"register_entity": {"id": "b-1", "entity": {}}}, {"register_entity": {"id": "b-2", "entity": {"media_type": "text/csv"}}}]`)
	r := s.json("tx", "bundle", list, "--from", "reg")
	if n := len(r["events"].([]any)); n != 2 {
		t.Errorf("%d events", n)
	}
	responses := r["responses"].([]any)
	if second := responses[1].(map[string]any); second["type"] != "chancery.provenance.v1.RegisterEntityResponse" || !strings.Contains(fmt.Sprint(second["value"]), "b-2") {
		t.Errorf("%v", second)
	}
	s.fails(2, "message 0", "tx", "bundle", s.file("x", `[{"nothing": {}}]`), "--from", "reg")
	s.fails(2, "empty", "tx", "bundle", s.file("x", `[{}]`), "--from", "reg")
	s.fails(2, "no JSON array", "tx", "bundle", s.file("x", `{}`), "--from", "reg")
}

// register puts entities on the chain.
func register(s *shell, id, entity string) string {
	s.t.Helper()
	return s.json("tx", "provenance", "register-entity", "--from", "reg", "--id", id, "--entity", entity)["tx_id"].(string)
}

func TestAQueryIsProvenAndItsReceiptVerifiesOffline(t *testing.T) {
	s := onChain(t)
	register(s, "proven", `{"media_type": "text/plain"}`)
	ask := []string{"query", "provenance", "entity", "--organisation", alpha, "--id"}
	present, absent := s.path("present.receipt"), s.path("absent.receipt")
	o := s.run(append(ask, "proven", "--prove", present)...)
	if o.code != 0 || !strings.Contains(o.err, "verified against") || !strings.Contains(o.out, "text/plain") {
		t.Fatalf("%v", o)
	}
	s.fails(5, "provenance/10", append(ask, "never", "--prove", absent)...)
	s.fails(1, "exists already", append(ask, "proven", "--prove", present)...)

	genesis := s.home().GenesisFile()
	alone := newShell(t) // another home, no node
	alone.fails(1, "--genesis", "verify", present)
	out := alone.ok("verify", present, "--genesis", genesis)
	if !strings.Contains(out, "present  provenance/nodes") || !strings.Contains(out, "10 of 10 voting power") {
		t.Errorf("%s", out)
	}
	if out := alone.ok("verify", absent, "--genesis", genesis); !strings.Contains(out, "absent   provenance/nodes") {
		t.Errorf("%s", out)
	}
	if r := alone.json("verify", present, "--genesis", genesis); r["chain_id"] != "cli-test" {
		t.Errorf("%v", r)
	}
	raw, err := os.ReadFile(present)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(raw); i += 97 {
		bad := slices.Clone(raw)
		bad[i] ^= 1
		alone.fails(1, "receipt/", "verify", alone.file("bad.receipt", string(bad)), "--genesis", genesis)
	}
	// Of several files the worst counts.
	o = alone.run("verify", absent, alone.file("bad.receipt", string(raw[:100])), present, "--genesis", genesis)
	if o.code != 1 || strings.Count(o.out, "verified ") != 2 {
		t.Errorf("%v", o)
	}
	// A list is no record.
	s.fails(1, "chain/14", "query", "provenance", "nodes", "--organisation", alpha, "--prove", s.path("list.receipt"))
	s.fails(2, "--genesis", "query", "identity", "identity", "--did", alpha, "--genesis", genesis)
	s.fails(2, "cannot be proven", "query", "provenance", "nodes", "--organisation", alpha, "--all", "--prove", s.path("list.receipt"))
}

func TestQueriesReadEarlierStatesAndAllPages(t *testing.T) {
	s := onChain(t)
	for i := range 5 {
		register(s, fmt.Sprintf("page-%d", i), "{}")
	}
	o := s.run("query", "provenance", "nodes", "--organisation", alpha, "--limit", "2")
	if !strings.Contains(o.err, "--all") {
		t.Errorf("nothing says that there is more: %v", o)
	}
	out := s.ok("query", "provenance", "nodes", "--organisation", alpha, "--limit", "2", "--all", "--output", "json")
	var ids []string
	d := json.NewDecoder(strings.NewReader(out))
	for d.More() {
		var page struct {
			Nodes []struct{ Ref struct{ ID string } }
		}
		if err := d.Decode(&page); err != nil {
			t.Fatal(err)
		}
		for _, n := range page.Nodes {
			ids = append(ids, n.Ref.ID)
		}
	}
	if !slices.IsSorted(ids) || !slices.Contains(ids, "page-0") || !slices.Contains(ids, "page-4") {
		t.Errorf("%v", ids)
	}
	s.fails(5, "provenance/10", "query", "provenance", "entity", "--organisation", alpha, "--id", "page-0", "--at-height", "1")
	s.fails(2, "--at-height", "query", "provenance", "entity", "--id", "x", "--at-height", "-1")
	s.fails(5, "chain/13", "query", "provenance", "entity", "--id", "x", "--at-height", "99999999")
	if out := s.ok("query", "node", "params"); !strings.Contains(out, "max_validity_ms") {
		t.Errorf("%s", out)
	}
	if out := s.ok("query", "node", "block", "--height", "2"); !strings.Contains(out, "height  2") {
		t.Errorf("%s", out)
	}
}

func TestAFileIsTracedToWhoRegisteredIt(t *testing.T) {
	s := onChain(t)
	s.terminal = true
	content := strings.Repeat("measurement;42\n", 1<<19) // 7.5 MB
	sum := sha256.Sum256([]byte(content))
	file := s.file("data.csv", content)
	s.fails(5, "nobody has registered", "verify", file)
	register(s, "source", "{}")
	register(s, "data", `{"media_type": "text/csv", "hashes": ["hex:1220`+hex.EncodeToString(sum[:])+`"]}`)
	s.ok("tx", "provenance", "relate", "--from", "reg", "--relations",
		`{"kind": "derivation", "subject": {"id": "data"}, "object": {"id": "source"}}`)
	out := s.ok("verify", file)
	for _, words := range []string{alpha + " data version 1", registrar, hex.EncodeToString(sum[:]), "derivation", alpha + " source version 1"} {
		if !strings.Contains(out, words) {
			t.Errorf("no %q in\n%s", words, out)
		}
	}
	// A document is printed as it is, so that other programs can read it.
	var prov map[string]any
	start := `{"organisation": "` + alpha + `", "id": "data"}`
	if err := json.Unmarshal([]byte(s.ok("query", "provenance", "export", "--start", start)), &prov); err != nil || prov["wasDerivedFrom"] == nil {
		t.Errorf("%v, %v", err, prov)
	}
	if out := s.ok("query", "provenance", "export", "--start", start, "--format", "prov-n"); !strings.HasPrefix(out, "document\n") || !strings.HasSuffix(out, "endDocument\n") {
		t.Errorf("%s", out)
	}
	if o := s.run("query", "provenance", "export", "--start", start, "--max-nodes", "1"); !strings.Contains(o.err, "not complete") {
		t.Errorf("%v", o)
	}
	v := s.json("verify", file)
	if v["sha256"] != hex.EncodeToString(sum[:]) || v["bytes"] != float64(len(content)) {
		t.Errorf("%v", v)
	}
	// A receipt is a file too, when one says so; and a folder is none.
	s.fails(5, "nobody has registered", "verify", "--kind", "file", s.file("a.receipt", "chancery receipt 1\n"))
	s.fails(1, "receipt/2", "verify", "--kind", "receipt", file)
	s.fails(1, "folder", "verify", t.TempDir())
	s.fails(1, "no such file", "verify", s.path("none")) // 5 is that nobody registered it
	s.fails(2, "--kind", "verify", "--kind", "odd", file)
	s.env[nodeVariable] = "127.0.0.1:1"
	s.fails(3, "client/2", "verify", file)
}

func TestEventsResumeAtTheirCursor(t *testing.T) {
	s := onChain(t)
	cursor := s.path("cursor")
	register(s, "e-1", "{}")
	list := func(args ...string) []eventLine {
		t.Helper()
		var out []eventLine
		d := json.NewDecoder(strings.NewReader(s.ok(append([]string{"events", "--no-follow", "--output", "json"}, args...)...)))
		for d.More() {
			var e eventLine
			if err := d.Decode(&e); err != nil {
				t.Fatal(err)
			}
			out = append(out, e)
		}
		return out
	}
	mine := func(all []eventLine) (ids []string) {
		for _, e := range all {
			var v struct{ Ref struct{ ID string } }
			if json.Unmarshal(e.Event, &v) == nil && strings.HasPrefix(v.Ref.ID, "e-") {
				ids = append(ids, v.Ref.ID)
			}
		}
		return ids
	}
	first := list("--from", "start", "--cursor-file", cursor)
	if got := mine(first); !slices.Equal(got, []string{"e-1"}) {
		t.Errorf("%v", got)
	}
	if again := list("--cursor-file", cursor); len(mine(again)) != 0 {
		t.Errorf("%v came twice", again)
	}
	register(s, "e-2", "{}")
	register(s, "e-3", "{}")
	if got := mine(list("--cursor-file", cursor)); !slices.Equal(got, []string{"e-2", "e-3"}) {
		t.Errorf("%v", got)
	}
	// The cursor of each event leads to the next one.
	all := list("--from", "1/0")
	for i, e := range all[:len(all)-1] {
		if rest := list("--from", e.Cursor); len(rest) == 0 || rest[0].Height != all[i+1].Height || rest[0].Index != all[i+1].Index {
			t.Errorf("after %s comes %v, want %v", e.Cursor, rest, all[i+1])
		}
	}
	if got := list("--from", "1/0", "--types", "identity.KeyAdded,chancery.provenance.v1.EntityRegistered"); len(mine(got)) != 3 {
		t.Errorf("%v", got)
	}
	if text := s.ok("events", "--no-follow", "--from", "start"); !strings.Contains(text, "provenance.EntityRegistered  transaction ") {
		t.Errorf("%s", text)
	}
	s.fails(2, "no cursor", "events", "--from", "yesterday")
	s.fails(1, "no cursor", "events", "--cursor-file", s.file("broken", "x"))
	s.fails(1, "node/5", "events", "--from", "99999999")
}

func TestEventsAreFollowedUntilInterrupted(t *testing.T) {
	s := onChain(t)
	cursor := s.path("cursor")
	ctx, interrupt := context.WithCancel(t.Context())
	done := make(chan outcome)
	follower := *s
	go func() { done <- follower.runContext(ctx, "events", "--cursor-file", cursor) }()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if _, err := os.Stat(cursor); err == nil {
			break
		}
		if time.Now().After(end) {
			t.Fatal("the follower writes no cursor")
		}
	}
	register(s, "followed", "{}")
	committed, err := strconv.ParseInt(s.json("status")["height"].(string), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		raw, err := os.ReadFile(cursor)
		if err != nil {
			t.Fatal(err)
		}
		at, err := client.ParseCursor(string(raw))
		if err != nil {
			t.Fatal(err)
		}
		if at.Height > committed {
			break
		}
	}
	interrupt()
	if o := <-done; o.code != 0 || !strings.Contains(o.out, "followed") {
		t.Errorf("%v", o)
	}
}

func TestTheStateIsShownProvenComparedAndExported(t *testing.T) {
	s := onChain(t)
	register(s, "state-1", "{}")
	if out := s.ok("state", "collections"); !strings.Contains(out, "provenance/nodes") {
		t.Errorf("%s", out)
	}
	out := s.ok("state", "get", "provenance/nodes", "--output", "json")
	var rawKey string
	d := json.NewDecoder(strings.NewReader(out))
	for d.More() {
		var r record
		if err := d.Decode(&r); err != nil {
			t.Fatal(err)
		}
		if r.Collection != "provenance/nodes" {
			t.Errorf("%v", r)
		}
		if strings.Contains(r.Key, "state-1") {
			rawKey = r.RawKey
		}
	}
	if text := s.ok("state", "get", rawKey); !strings.Contains(text, "state-1") {
		t.Errorf("%s", text)
	}
	if lines := strings.Count(s.ok("state", "get", "identity/identities", "--limit", "1", "--output", "json"), "\n"); lines != 1 {
		t.Errorf("%d lines", lines)
	}
	s.fails(5, "no record", "state", "get", rawKey, "--at-height", "1")
	s.fails(2, "neither a collection", "state", "get", "nothing/here")
	for _, key := range []string{rawKey, rawKey + "00"} {
		file := s.path("key.receipt")
		o := s.run("state", "get", key, "--prove", file)
		if key == rawKey && (o.code != 0 || !strings.Contains(s.ok("verify", file), "present  provenance/nodes")) {
			t.Errorf("%v", o)
		}
		if key != rawKey && o.code != 1 { // no key of that collection
			t.Errorf("%v", o)
		}
	}
	if o := s.run("state", "diff", s.env[nodeVariable], s.env[nodeVariable]); o.code != 0 || !strings.Contains(o.err, "are equal") {
		t.Errorf("%v", o)
	}
	if out := s.ok("state", "hashes", s.env[nodeVariable]); !strings.Contains(out, "provenance  ") || !strings.HasPrefix(out, "MODULE") {
		t.Errorf("%s", out)
	}
	if o := s.run("state", "hashes", s.env[nodeVariable], s.env[nodeVariable]); o.code != 0 || !strings.Contains(o.err, "are equal") || strings.Contains(o.out, "differ") {
		t.Errorf("%v", o)
	}
	s.fails(5, "chain/13", "state", "hashes", s.env[nodeVariable], "--at-height", "99999999")
	export := s.path("state.json")
	s.ok("state", "export", "--out", export)
	raw, err := os.ReadFile(export)
	if err != nil {
		t.Fatal(err)
	}
	var sections map[string]json.RawMessage
	if err := json.Unmarshal(raw, &sections); err != nil || !strings.Contains(string(sections["provenance"]), "state-1") {
		t.Errorf("%v, %.200s", err, raw)
	}
	if out := s.ok("state", "export"); !strings.HasPrefix(out, "{") {
		t.Errorf("%.80s", out)
	}
	s.fails(5, "chain/13", "state", "export", "--at-height", "99999999", "--out", s.path("none"))
}

func TestTheGenesisFile(t *testing.T) {
	s := onChain(t)
	raw, err := os.ReadFile(s.home().GenesisFile())
	if err != nil {
		t.Fatal(err)
	}
	sum := fmt.Sprintf("%x", sha256.Sum256(raw))
	if out := s.ok("genesis", "show"); out != string(raw) {
		t.Error("it is shown otherwise than it is")
	}
	if out := s.ok("genesis", "show", "--from-node"); out != string(raw) {
		t.Error("the node has another one")
	}
	if out := s.ok("genesis", "hash"); !strings.HasPrefix(out, sum+"  ") {
		t.Errorf("%s", out)
	}
	if v := s.json("genesis", "validate", s.home().GenesisFile()); v["sha256"] != sum || v["chain_id"] != "cli-test" || v["validators"] != 1.0 {
		t.Errorf("%v", v)
	}
	bad := strings.Replace(string(raw), `"power": "10"`, `"power": "11"`, 1)
	if bad == string(raw) {
		t.Fatal("the file has no such power")
	}
	s.fails(1, "genesis", "genesis", "validate", s.file("bad.json", bad))
	s.fails(1, "genesis", "genesis", "validate", s.file("bad.json", "{"))
	s.fails(5, "does not exist", "genesis", "hash", s.path("none"))
	s.fails(2, "exclude", "genesis", "show", "--from-node", "x")
}

func TestStatus(t *testing.T) {
	s := onChain(t)
	v := s.json("status")
	if v["chain_id"] != "cli-test" || v["moniker"] != "chancery" {
		t.Errorf("%v", v)
	}
	if out := s.ok("status", "--healthy"); !strings.Contains(out, "health         healthy") {
		t.Errorf("%s", out)
	}
	// The next address is tried.
	if out := s.ok("status", "--node", "127.0.0.1:1,"+s.env[nodeVariable]); !strings.Contains(out, s.env[nodeVariable]) {
		t.Errorf("%s", out)
	}
}

func TestTheShellIsOfferedWhatThereIs(t *testing.T) {
	s := onChain(t)
	for _, c := range []struct {
		words []string
		want  string
	}{
		{[]string{"tx", "con"}, "consent"},
		{[]string{"tx", "consent", "with"}, "withdraw"},
		{[]string{"tx", "consent", "withdraw", "--from", ""}, "one\nreg\n"},
		{[]string{"tx", "sign", "x", "--from", ""}, "two"},
		{[]string{"keys", "show", ""}, "one\nreg\n"},
		{[]string{"tx", "consent", "give", "--method", ""}, "verbal"},
		{[]string{"--output", ""}, "text\njson"},
		{[]string{"tx", "consent", "give", "--wait", ""}, "commit\ncheck"},
		{[]string{"events", "--types", ""}, "consent.Withdrawn"},
		{[]string{"state", "get", ""}, "consent/records"},
	} {
		if out := s.ok(append([]string{"__complete"}, c.words...)...); !strings.Contains(out, c.want) {
			t.Errorf("%v: no %q in %s", c.words, c.want, out)
		}
	}
	empty := newShell(t)
	empty.ok("__complete", "keys", "show", "")
	if _, err := os.Stat(filepath.Join(empty.env[homeVariable], "keyring")); err == nil {
		t.Error("completion made a keyring")
	}
}
