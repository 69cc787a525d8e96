//go:build unix

package testnet

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"testing"

	"github.com/chancery/chancery/node"
	"github.com/chancery/chancery/node/config"
)

// asNode makes this test's program a node: its arguments are those that a network
// gives to its binary.
const asNode = "CHANCERY_TESTNET_NODE"

func TestMain(m *testing.M) {
	if os.Getenv(asNode) == "" {
		os.Exit(m.Run())
	}
	if len(os.Args) != 4 || os.Args[1] != "start" || os.Args[2] != "--home" {
		fmt.Fprintf(os.Stderr, "called with %q\n", os.Args[1:])
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := node.Run(ctx, config.Home(os.Args[3]), node.Options{Version: "test"}); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
