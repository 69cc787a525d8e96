package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/errs"
	"github.com/chancery/chancery/chain/tx"
	"github.com/chancery/chancery/modules/access"
	"github.com/chancery/chancery/modules/consent"
	"github.com/chancery/chancery/modules/identity"
	"github.com/chancery/chancery/modules/provenance"
	"github.com/chancery/chancery/node/client"
	"github.com/chancery/chancery/node/forecast"
	"github.com/chancery/chancery/node/keyring"
	"github.com/chancery/chancery/node/receipt"
	"github.com/chancery/chancery/node/rpc"
)

func TestHowErrorsAreTold(t *testing.T) {
	absentRecord := &errs.Error{Module: "consent", Code: 3, Text: "there is no such record; check the id"}
	var b strings.Builder
	for _, err := range []error{
		usagef("--output is %q; choose text or json", "xml"),
		client.ErrUnreachable.With("dial tcp 127.0.0.1:9090: connection refused"),
		client.ErrTimeout.With("transaction 00"),
		context.DeadlineExceeded,
		context.Canceled,
		chain.ErrOverQuota,
		chain.ErrBadSignature.With("did:chancery:mercy#key-1"),
		absentRecord,
		refused(absentRecord),
		client.FromStatus(status.Error(codes.NotFound, "no")),
		client.FromStatus(status.Error(codes.Unimplemented, "unknown service")),
		client.FromStatus(status.Error(codes.DeadlineExceeded, "slow")),
		receipt.ErrDamaged,
		fmt.Errorf("keyring: %w: \"bob\"", keyring.ErrNotFound),
		errFile.Wrap(fmt.Errorf("open x: %w", fs.ErrNotExist)),
		sentence(errNothing, "nobody has registered the content of x"),
		sentence(errDiffers, "the states differ in 3 keys"),
		errors.New("something else"),
		errors.New("steers the terminal \x1b[2J\u202e"),
	} {
		for _, output := range []string{outputText, outputJSON} {
			var out, e bytes.Buffer
			a := &app{Environment: Environment{Out: &out, Err: &e}, output: output}
			fmt.Fprintf(&b, "exit %d\n", a.fail(err))
			fmt.Fprintf(&b, "2> %s", e.String())
			if out.Len() > 0 {
				fmt.Fprintf(&b, "1> %s", out.String())
			}
		}
		b.WriteString("\n")
	}
	golden(t, "testdata/errors.txt", b.String())
}

// Scripts depend on exit code 5, so the list of errors that give it is kept.
func TestWhichRefusalsSayThatThereIsNoSuchThing(t *testing.T) {
	var out []string
	for _, set := range []*errs.Set{
		chain.Errors, tx.Errors, identity.Errors, access.Errors, consent.Errors, provenance.Errors, rpc.Errors, receipt.Errors, client.Errors, forecast.Errors,
	} {
		for _, e := range set.All() {
			if absent(e) {
				out = append(out, fmt.Sprintf("%s/%d %s", e.Module, e.Code, e.Text))
			}
		}
	}
	slices.Sort(out)
	golden(t, "testdata/absent.txt", strings.Join(out, "\n")+"\n")
}

func TestExitCodes(t *testing.T) {
	s := newShell(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() // it accepts and says nothing
	s.fails(3, "client/2", "status")
	s.fails(2, "client/5", "status", "--node", "nowhere")
	s.fails(2, "--timeout", "status", "--timeout", "-1s")
	s.fails(2, `did you mean state or status?`, "statsu")
	s.fails(2, "has no command", "completion", "fosh")
	s.fails(2, "--from", "events", "--from", "yesterday") // before a node is looked for
	s.fails(2, "consent.Given", "events", "--types", "consent.Givn")
	s.fails(2, "64 hexadecimal digits", "tx", "wait", "00")
	s.fails(2, "--limit", "state", "get", "consent/records", "--limit", "-1")
	for _, words := range []string{"get 00", "export", "diff 127.0.0.1:1 127.0.0.1:1"} {
		s.fails(2, "--at-height", append(append([]string{"state"}, strings.Fields(words)...), "--at-height", "-1")...)
	}
	// What lies in a folder that is not there cannot be written; that is no answer.
	s.fails(1, "could not be written", "keys", "export", s.key("k"), "--out", s.path("none/x"))
	s.fails(1, "cannot be used", "init", "--home", s.file("file", "")+"/x")
	s.fails(2, "--demo", "testnet", "start", "--once")
	s.fails(2, "name the keys", "bench")
	s.fails(2, "exclude each other", "bench", "--key", "x", "--rate", "5", "--window", "5")
	for _, rate := range []string{"0", "-1", "x", "101x", "NaN", "1e9"} {
		s.fails(2, "--rate", "bench", "--key", "x", "--rate", rate)
	}
	s.fails(2, "--duration", "bench", "--key", "x", "--duration", "1h")
	s.fails(2, "brings its own", "bench", "--testnet", s.path("net"), "--key", "x")
	s.fails(2, "--workload", "bench", "--key", "x", "--workload", "transfers")
	s.fails(2, "1 to 16", "testnet", "start", "--validators", "17", "--dir", s.path("net"))
	o := s.fails(2, "1 to 16", "testnet", "start", "--validators", "0", "--output", "json")
	if !strings.Contains(o.out, `"code": 2`) {
		t.Errorf("%s", o.out)
	}
	s.fails(3, "client/6", "status", "--tls-ca", s.path("none"))
	s.fails(4, "client/3", "status", "--node", l.Addr().String(), "--timeout", "200ms")
	s.fails(2, "unknown flag", "status", "--colour")
	s.fails(2, "did you mean withdraw", "tx", "consent", "withdra")
	s.fails(2, "--output", "version", "--output", "xml")
	s.fails(2, "accepts 1 arg", "tx", "wait")
	s.fails(2, "--from", "tx", "consent", "withdraw", "--id", "00")
	s.fails(2, "not hexadecimal", "tx", "consent", "withdraw", "--from", "x", "--id", "xyz")
	s.fails(2, "invalid argument", "status", "--timeout", "soon")
	s.fails(5, "neither a file nor the id", "tx", "show", s.path("none"))
	s.fails(5, "no such file", "tx", "submit", s.path("none"))
	o = s.fails(2, "unknown flag", "status", "--colour", "--output", "json")
	if !strings.Contains(o.out, `"exit": 2`) {
		t.Errorf("who asks for JSON gets none: %s", o.out)
	}
	o = s.fails(3, "client/2", "status", "--output", "json")
	if v := s.decode(o.out)["error"].(map[string]any); v["code"] != 2.0 || v["module"] != "client" || v["exit"] != 3.0 {
		t.Errorf("%v", v)
	}
	if o := s.run(); o.code != 0 || !strings.Contains(o.out, "Run a node:") {
		t.Errorf("%v", o)
	}
}
