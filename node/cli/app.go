package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/chancery/chancery/node/client"
	"github.com/chancery/chancery/node/config"
	"github.com/chancery/chancery/node/internal/clock"
	"github.com/chancery/chancery/node/keyring"
)

// The environment variables that stand for flags.
const (
	homeVariable = "CHANCERY_HOME"
	nodeVariable = "CHANCERY_NODE"
	defaultNode  = "127.0.0.1:9090"
)

// Environment is what the program may touch besides files and the network.
type Environment struct {
	In       io.Reader
	Out, Err io.Writer
	// Lookup is os.LookupEnv but in tests.
	Lookup func(string) (string, bool)
	// Environ is os.Environ but in tests.
	Environ []string
	// Passphrase opens the keyring.
	Passphrase keyring.PassphraseFunc
	// Keyring changes how the keyring is opened.
	Keyring []keyring.Option
	// Terminal tells whether Err is one.
	Terminal bool
	// Screen tells whether Out is a terminal, which a live view may redraw.
	Screen bool
	// Version is the release, Revision the commit that the program was built from.
	Version, Revision string
}

// app is one run of the program.
type app struct {
	Environment
	started bool // a command's own work has begun: what fails now is no usage error

	home     string
	node     string
	output   string
	timeout  time.Duration
	progress bool
	ca       string
	cert     string
	key      string
}

// Main runs the program for this process and returns its exit code.
func Main(version, revision string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// A second interrupt ends the process at once.
	context.AfterFunc(ctx, stop)
	return Run(ctx, os.Args[1:], Environment{
		In: os.Stdin, Out: os.Stdout, Err: os.Stderr, Lookup: os.LookupEnv, Environ: os.Environ(),
		Passphrase: keyring.Standard(), Terminal: term.IsTerminal(int(os.Stderr.Fd())),
		Screen: term.IsTerminal(int(os.Stdout.Fd())), Version: version, Revision: revision,
	})
}

// Run runs the program and returns its exit code.
func Run(ctx context.Context, args []string, e Environment) int {
	a := &app{Environment: e}
	root := a.root()
	root.SetArgs(append([]string{}, args...)) // nil would mean the process's own
	root.SetIn(e.In)
	root.SetOut(e.Out)
	root.SetErr(e.Err)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitDone
	}
	if !a.started && !errors.Is(err, context.Canceled) {
		err = asUsage(err)
		if wantsJSON(args) {
			a.output = outputJSON
		}
	}
	return a.fail(err)
}

// wantsJSON tells whether a command line asks for JSON that was not read to its
// end, such as one with an unknown flag before --output.
func wantsJSON(args []string) bool {
	for i, arg := range args {
		if arg == "--output="+outputJSON || arg == "--output" && i+1 < len(args) && args[i+1] == outputJSON {
			return true
		}
	}
	return false
}

// Home is the node's folder.
func (a *app) homeDir() config.Home { return config.Home(a.home) }

func (a *app) openKeyring() (*keyring.Keyring, error) {
	return keyring.Open(a.homeDir().Keyring(), a.Passphrase, a.Keyring...)
}

// within bounds a command by --timeout.
func (a *app) within(cmd *cobra.Command) (context.Context, context.CancelFunc) {
	return clock.Within(cmd.Context(), a.timeout)
}

// dial connects to the nodes that --node names.
func (a *app) dial(ctx context.Context, options ...client.Option) (*client.Client, error) {
	return a.dialTo(ctx, a.node, options...)
}

func (a *app) dialTo(ctx context.Context, addresses string, options ...client.Option) (*client.Client, error) {
	options = append(options, client.UserAgent("chancery/"+a.Version))
	if a.ca != "" || a.cert != "" || a.key != "" {
		c, err := client.TLSFiles(a.ca, a.cert, a.key)
		if err != nil {
			return nil, err
		}
		options = append(options, client.TLS(c))
	}
	return client.Dial(ctx, addresses, options...)
}

// variable is an environment variable, or a default where it is unset or empty.
func (a *app) variable(name, otherwise string) string {
	if a.Lookup != nil {
		if v, ok := a.Lookup(name); ok && v != "" {
			return v
		}
	}
	return otherwise
}

func (a *app) defaultHome() string {
	if dir, err := os.UserHomeDir(); err == nil {
		return filepath.Join(dir, ".chancery")
	}
	return ".chancery"
}

// note writes to standard error for a person to read; not in JSON mode, whose
// readers are programs.
func (a *app) note(format string, args ...any) {
	if a.output != outputJSON {
		fmt.Fprintf(a.Err, format+"\n", args...)
	}
}
