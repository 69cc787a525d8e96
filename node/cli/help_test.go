package cli

import (
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/reflect/protoreflect"

	chainv1 "github.com/chancery/chancery/proto/chancery/chain/v1"
	consentv1 "github.com/chancery/chancery/proto/chancery/consent/v1"
	identityv1 "github.com/chancery/chancery/proto/chancery/identity/v1"
)

// plainRoot is the program as it is without any environment.
func plainRoot() *cobra.Command {
	a := &app{Environment: Environment{Version: "test"}}
	root := a.root()
	root.InitDefaultHelpCmd()
	return root
}

func TestHelpTexts(t *testing.T) {
	s := newShell(t)
	s.env = map[string]string{homeVariable: "/home/you/.chancery"}
	var b strings.Builder
	for _, words := range []string{
		"", "keys", "keys new-key", "tx", "tx chain set-params", "tx consent", "tx consent withdraw", "tx identity bind-node",
		"query", "query provenance by-hash", "query consent consent", "verify", "events", "state diff", "reset",
	} {
		args := append(strings.Fields(words), "--help")
		b.WriteString("$ chancery " + strings.Join(args, " ") + "\n" + s.ok(args...) + "\n")
	}
	golden(t, "testdata/help.txt", b.String())
}

func TestTheReferenceIsInSync(t *testing.T) {
	golden(t, "../../docs/cli.md", reference(plainRoot()))
}

// every visits all commands of this package; those of testnet have tests there.
func every(c *cobra.Command, visit func(*cobra.Command)) {
	if c.Name() == "testnet" || c.Name() == "help" || c.Name() == "completion" {
		return
	}
	visit(c)
	for _, sub := range c.Commands() {
		every(sub, visit)
	}
}

func TestEveryCommandSaysWhatItDoes(t *testing.T) {
	every(plainRoot(), func(c *cobra.Command) {
		path := c.CommandPath()
		if c.Short == "" || strings.HasSuffix(c.Short, ".") {
			t.Errorf("%s: its short help is %q", path, c.Short)
		}
		if !c.HasSubCommands() && c.Example == "" {
			t.Errorf("%s has no example", path)
		}
		for _, line := range strings.Split(c.Long, "\n") {
			if len([]rune(line)) > 92 {
				t.Errorf("%s: a line of its help is too long: %s", path, line)
			}
		}
	})
}

func TestEveryModuleHasItsCommands(t *testing.T) {
	messages, queries := 0, 0
	every(plainRoot(), func(c *cobra.Command) {
		if c.HasSubCommands() {
			return
		}
		switch words := strings.Fields(c.CommandPath()); {
		case len(words) == 4 && words[1] == "tx":
			messages++
		case len(words) == 4 && words[1] == "query":
			queries++
		}
	})
	wantMessages, wantQueries := 0, 0
	for _, p := range parts() {
		wantMessages += len(p.messages)
		wantQueries += len(p.queries)
	}
	if messages != wantMessages || queries != wantQueries || messages < 40 || queries < 40 {
		t.Errorf("%d of %d messages, %d of %d queries", messages, wantMessages, queries, wantQueries)
	}
	var names []string
	for _, p := range parts() {
		names = append(names, p.name)
	}
	if got := strings.Join(names, " "); !strings.Contains(got, "access") || !strings.Contains(got, "consent governance identity node provenance") {
		t.Errorf("%s", got)
	}
}

func TestEveryFieldHasAComment(t *testing.T) {
	var missing []string
	seen := map[protoreflect.FullName]bool{}
	var look func(d protoreflect.MessageDescriptor)
	look = func(d protoreflect.MessageDescriptor) {
		if seen[d.FullName()] {
			return
		}
		seen[d.FullName()] = true
		for i := range d.Fields().Len() {
			fd := d.Fields().Get(i)
			if fd.Message() != nil {
				look(fd.Message())
			} else if comment(fd) == "" && comment(d) == "" {
				missing = append(missing, string(fd.FullName()))
			}
		}
	}
	for _, p := range parts() {
		for _, m := range p.messages {
			if comment(m.Message()) == "" {
				missing = append(missing, string(m.Message().FullName()))
			}
			look(m.Message())
		}
		for _, q := range p.queries {
			if comment(q) == "" {
				missing = append(missing, string(q.FullName()))
			}
		}
	}
	for _, name := range missing {
		t.Errorf("%s has no comment in its .proto file, or comments.txt is out of date: go run ./scripts/protodoc", name)
	}
}

func TestNamesOnTheCommandLine(t *testing.T) {
	for in, want := range map[string]string{
		"SetParams": "set-params", "give_consent": "give-consent", "ByHash": "by-hash", "DIDDocument": "diddocument", "X25519": "x25519",
	} {
		if got := kebab(in); got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
	for in, want := range map[string]string{
		"One sentence. Another one.": "One sentence", "Only one.": "Only one", "A form, e.g. this one. And more.": "A form, e.g. this one",
		"(GDPR Art. 15, 20), one page.": "(GDPR Art. 15, 20), one page", "": "",
	} {
		if got := sentenceOf(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func TestMessagesForPeople(t *testing.T) {
	m := &consentv1.ConsentsResponse{
		Consents: []*consentv1.ConsentResponse{{
			EffectiveStatus: consentv1.Status(99),
			Record: &consentv1.Record{
				Id: []byte{1, 2},
				Terms: &consentv1.Terms{
					Controller: "did:chancery:mercy", Purposes: []string{"a", "b"}, Recipients: []string{"one"},
					LegalBasis: consentv1.LegalBasis_LEGAL_BASIS_CONSENT, ValidUntil: 1767600000123,
					Categories: []*consentv1.Category{{Iri: "x", Special: true}, {}},
				},
			},
		}, {}},
		NextPageToken: make([]byte, 200),
	}
	text := render(m.ProtoReflect()) + "\n" +
		render((&consentv1.ReceiptResponse{Json: "{\n  \"steers\": \"\x1b[2J\"\n}"}).ProtoReflect()) + "\n" +
		render((&identityv1.DocumentResponse{Document: `{"@context":["https://www.w3.org/ns/did/v1"],"id":"did:chancery:mercy:registrar"}`}).ProtoReflect()) + "\n" +
		render((&chainv1.BlockRecord{Txs: []*chainv1.TxResult{{Events: []*chainv1.Event{
			{Type: "chancery.chain.v1.SetParams"}, {Type: "unknown.Type", Value: []byte{1}},
		}}}}).ProtoReflect()) + "\n" +
		render((&consentv1.Withdraw{}).ProtoReflect())
	golden(t, "testdata/render.txt", text)
}
