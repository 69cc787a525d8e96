package node_test

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/chancery/chancery/chain/errs"

	// Every package that declares errors.
	_ "github.com/chancery/chancery/modules/provenance/merkle"
	_ "github.com/chancery/chancery/node"
	_ "github.com/chancery/chancery/node/cli"
	_ "github.com/chancery/chancery/node/client"
	_ "github.com/chancery/chancery/node/forecast"
	_ "github.com/chancery/chancery/node/model"
	_ "github.com/chancery/chancery/node/receipt"
	_ "github.com/chancery/chancery/node/rpc"
)

var rewrite = flag.Bool("rewrite", false, "write docs/errors.md anew")

const errorsDocument = "../docs/errors.md"

// docs/errors.md lists every error that a client can see. A code that changes its
// meaning or goes away is a break of the contract with clients: the diff shows it.
func TestErrorsDocument(t *testing.T) {
	var b strings.Builder
	b.WriteString(`# Errors

Every error that a client can see has a permanent pair of module and code, which is never given another meaning. Codes
from 32000 mean that the same bytes may succeed later. gRPC answers carry the pair as google.rpc.ErrorInfo (domain:
module, reason: module/code). This page is written by ` + "`go test ./node -run TestErrorsDocument -rewrite`" + `.
`)
	for _, set := range errs.Sets() {
		fmt.Fprintf(&b, "\n## %s\n\n| Code | What it says |\n|---|---|\n", set.Module())
		for _, e := range set.All() {
			fmt.Fprintf(&b, "| `%s/%d` | %s |\n", e.Module, e.Code, strings.ReplaceAll(e.Text, "|", "\\|"))
		}
	}
	if *rewrite {
		if err := os.WriteFile(errorsDocument, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	have, err := os.ReadFile(errorsDocument)
	if err != nil || string(have) != b.String() {
		t.Fatalf("docs/errors.md is not what the code says (%v); run the test with -rewrite and look at the difference", err)
	}
}
