package cli

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	standard "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/chancery/chancery/node/intel"
)

const stixBundle = `{"type":"bundle","id":"bundle--6f0f3b64-0000-4000-8000-000000000000","objects":[
{"type":"indicator","spec_version":"2.1","id":"indicator--6f0f3b64-0000-4000-8000-000000000001","pattern_type":"stix","valid_from":"2026-01-01T00:00:00Z","confidence":80,
 "pattern":"[user-account:account_login = 'did:chancery:acme:pat'] OR [ipv4-addr:value = '198.51.100.1']"},
{"type":"malware","spec_version":"2.1","id":"malware--6f0f3b64-0000-4000-8000-000000000002"}]}`

func TestIndicatorsAreImportedAndMerged(t *testing.T) {
	s := newShell(t)
	if err := os.MkdirAll(filepath.Join(string(s.home()), "config"), 0o700); err != nil {
		t.Fatal(err)
	}
	bundle := s.file("bundle.json", stixBundle)
	dry := s.json("intel", "import", "--dry-run", bundle)
	if dry["imported"] != 1.0 || dry["written"] != false || dry["mapped"] != 1.0 || dry["not_mapped"] != 2.0 {
		t.Errorf("%v", dry)
	}
	if _, err := os.Stat(s.home().IndicatorFile()); err == nil {
		t.Error("a dry run wrote")
	}
	text := s.ok("intel", "import", bundle)
	for _, want := range []string{"did:chancery:acme:pat", "high", "ipv4-addr:value names nobody", "malware--6f0f3b64-0000-4000-8000-000000000002: only objects"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	csv := s.file("more.csv", "type,value,level,until,note\norganisation,did:chancery:mercy,low,,\n")
	if merged := s.json("intel", "import", "--format", "csv", "--merge", csv); merged["kept"] != 1.0 || merged["indicators"] != 2.0 {
		t.Errorf("%v", merged)
	}
	if replaced := s.json("intel", "import", "--format", "csv", csv); replaced["removed"] != 1.0 || replaced["indicators"] != 1.0 {
		t.Errorf("%v", replaced)
	}
	before, err := os.ReadFile(s.home().IndicatorFile())
	if err != nil {
		t.Fatal(err)
	}
	s.fails(exitRefused, "line 2", "intel", "import", "--format", "csv", s.file("bad.csv", "type,value,level,until,note\ndid,nobody,low,,\n"))
	s.fails(exitUsage, "--share", "intel", "import", "--share", "blue", bundle)
	s.fails(exitUsage, "--to", "intel", "import", "--to", "x.txt", bundle)
	s.fails(exitUsage, "--level", "intel", "import", "--level", "none", bundle)
	after, err := os.ReadFile(s.home().IndicatorFile())
	if err != nil || string(before) != string(after) {
		t.Errorf("a refused import changed the file: %v", err)
	}
}

func TestAnOperatorOpines(t *testing.T) {
	s := newShell(t)
	if err := os.MkdirAll(filepath.Join(string(s.home()), "config"), 0o700); err != nil {
		t.Fatal(err)
	}
	const until = "2999-01-31T00:00:00Z"
	if out := s.json("intel", "opine", "did:chancery:mercy:pat", "--level", "high", "--until", until); out["level"] != "high" || out["replaced"] != false || out["opinions"] != 1.0 {
		t.Errorf("%v", out)
	}
	if out := s.json("intel", "opine", "did:chancery:acme", "--level", "low"); out["opinions"] != 2.0 {
		t.Errorf("%v", out)
	}
	if out := s.json("intel", "opine", "did:chancery:mercy:pat", "--level", "none", "--note", "seen"); out["replaced"] != true || out["opinions"] != 2.0 {
		t.Errorf("%v", out)
	}
	raw, err := os.ReadFile(s.home().OpinionFile())
	if err != nil {
		t.Fatal(err)
	}
	list, err := intel.ParseOpinions(raw, intel.JSONL)
	want := []intel.Indicator{{Kind: intel.KindDID, Value: "did:chancery:acme", Level: intel.LevelLow}, {Kind: intel.KindDID, Value: "did:chancery:mercy:pat", Note: "seen"}}
	if err != nil || !slices.Equal(list, want) {
		t.Errorf("%v: %v", list, err)
	}
	s.fails(exitUsage, "--level", "intel", "opine", "did:chancery:acme")
	s.fails(exitUsage, "--level", "intel", "opine", "did:chancery:acme", "--level", "awful")
	s.fails(exitUsage, "--until", "intel", "opine", "did:chancery:acme", "--level", "low", "--until", "2001-01-01T00:00:00Z")
	s.fails(exitUsage, "--remove", "intel", "opine", "did:chancery:acme", "--remove", "--level", "low")
	s.fails(exitUsage, "acme", "intel", "opine", "acme", "--level", "low")
	if after, err := os.ReadFile(s.home().OpinionFile()); err != nil || string(after) != string(raw) {
		t.Errorf("what was refused changed the file: %v", err)
	}
	if out := s.json("intel", "opine", "did:chancery:acme", "--remove"); out["removed"] != true || out["opinions"] != 1.0 {
		t.Errorf("%v", out)
	}
	if out := s.json("intel", "opine", "did:chancery:acme", "--remove"); out["removed"] != false || out["opinions"] != 1.0 {
		t.Errorf("%v", out)
	}
}

func TestAWebhookRequestIsVerified(t *testing.T) {
	s := newShell(t)
	const secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw" // gitleaks:allow: the libraries' test vector
	hook, err := standard.NewWebhook(secret)
	if err != nil {
		t.Fatal(err)
	}
	body := "{\"type\":\"x\"}\n\nmore\r\n"
	request := func(at time.Time) string {
		signature, err := hook.Sign("msg_1", at, []byte(body))
		if err != nil {
			t.Fatal(err)
		}
		return "POST /hook HTTP/1.1\r\nWebhook-Id: msg_1\r\nwebhook-timestamp: " + strconv.FormatInt(at.Unix(), 10) + "\r\nwebhook-signature: v1,AAAA " + signature + "\r\n\r\n" + body
	}
	file := s.file("secret", "# rotated\nwhsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD\n"+secret+"\n")
	fresh, old := request(time.Now()), request(time.Unix(1614265330, 0))
	s.in = strings.NewReader(fresh)
	if out := s.json("webhook", "verify", "--secret-file", file); out["verified"] != true || out["bytes"] != float64(len(body)) {
		t.Errorf("%v", out)
	}
	s.in = strings.NewReader(old)
	s.fails(exitRefused, "too old", "webhook", "verify", "--secret-file", file)
	s.in = strings.NewReader(old)
	s.ok("webhook", "verify", "--any-time", "--secret-file", file)
	s.in = strings.NewReader(fresh + "x")
	s.fails(exitRefused, "does not verify", "webhook", "verify", "--secret-file", file)
	s.in = strings.NewReader("no headers")
	s.fails(exitRefused, "headers", "webhook", "verify", "--secret-file", file)
	s.fails(exitUsage, "--secret-file", "webhook", "verify")
	if out := s.fails(exitRefused, "line 1", "webhook", "verify", "--secret-file", s.file("bad", "hunter2!")); strings.Contains(out.err, "hunter2") {
		t.Error("the error holds the secret")
	}
}
