//go:build unix

package testnet

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/chancery/chancery/testnet/scenario"
)

// Deps is what the commands need of the program that holds them.
type Deps struct {
	// Binary is the program that the nodes run; nil: this one.
	Binary func() (string, error)
}

// UsageError says that the command line is wrong.
type UsageError struct{ text string }

func (e *UsageError) Error() string { return e.text }

func usagef(format string, args ...any) error { return &UsageError{fmt.Sprintf(format, args...)} }

// defaultDir is the network's folder when none is named.
const defaultDir = ".chancery-testnet"

// Command is 'chancery testnet'.
func Command(deps Deps) *cobra.Command {
	if deps.Binary == nil {
		deps.Binary = os.Executable
	}
	c := &commands{deps: deps}
	root := &cobra.Command{
		Use:   "testnet",
		Short: "Run a whole network on this machine",
		Long: `Run a network of validator processes on this machine, each of another member
organisation. Everything is in one folder. Its keys are for tests: the passphrase
of every keyring lies beside them. 'testnet docker' runs it in containers.`,
		Example: `  chancery testnet start --validators 4 --dir T
  chancery testnet start --dir T --demo --once
  chancery testnet status --dir T`,
	}
	root.PersistentFlags().StringVar(&c.dir, "dir", defaultDir, "folder of the network")
	root.AddCommand(c.start(), c.stop(), c.status(), c.logs(), c.kill(), c.restart(), c.env(), c.scenario(), c.docker())
	return root
}

type commands struct {
	deps Deps
	dir  string
}

func (c *commands) network() (*Network, error) {
	binary, err := c.deps.Binary()
	if err != nil {
		return nil, fmt.Errorf("find this program's file: %w", err)
	}
	return &Network{Dir: Dir(filepath.Clean(c.dir)), Binary: binary}, nil
}

func (c *commands) start() *cobra.Command {
	var (
		validators, basePort int
		detach, demo, once   bool
		enforce              bool
		tree                 string
	)
	cmd := &cobra.Command{
		Use:   "start",
		Short: "Start the network, and make it if there is none",
		Long: `Start the network in --dir, and make it if there is none: keys and genesis for as
many organisations as there are validators, and a process for each.

Without --detach the command shows the network until it is interrupted, and then
stops it. With --demo it first takes the network through a demonstration on real
documents that checks every step.

The sentinel of a new network only records what it would hold for 24 hours, and holds
it from then on; with --enforce it does so from the first block.

Of a new network, every other validator holds its state in memory and the rest on
disk, so that the two are compared block by block. That is slower than --tree memory,
which is what to measure.`,
		Example: `  chancery testnet start
  chancery testnet start --validators 7 --dir T --detach
  chancery testnet start --tree memory --dir T --detach
  chancery testnet start --dir T --demo --once`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if once && !demo {
				return usagef("--once ends after the demonstration; give --demo too")
			}
			if cmd.Flags().Changed("validators") && validators == 0 {
				return usagef("--validators 0: want 1 to %d", MaxValidators)
			}
			return c.run(cmd, Design{Validators: validators, BasePort: basePort, By: Shipped(enforce), Tree: tree}, detach, demo, once)
		},
	}
	f := cmd.Flags()
	f.IntVar(&validators, "validators", 0, "how many validators, 1 to 16; 4 for a new network")
	f.IntVar(&basePort, "base-port", 0, "first of three ports for each validator; any free ones for a new network")
	f.BoolVar(&enforce, "enforce", false, "a new network holds what the sentinel says from its first block on, instead of after 24 hours")
	f.StringVar(&tree, "tree", "", "where all validators of a new network hold their state: memory or disk; some in memory and some on disk if not given")
	f.BoolVar(&detach, "detach", false, "leave the network running in the background")
	f.BoolVar(&demo, "demo", false, "run the demonstration")
	f.BoolVar(&once, "once", false, "end after the demonstration")
	return cmd
}

func (c *commands) run(cmd *cobra.Command, as Design, detach, demo, once bool) (err error) {
	ctx := cmd.Context()
	asJSON := jsonWanted(cmd)
	say := talker(cmd, asJSON)
	n, err := c.network()
	if err != nil {
		return err
	}
	began := time.Now()
	if flag := as.forNew(); flag != "" {
		if _, absent := Load(n.Dir); absent == nil {
			return usagef("%s is for a new network; %s holds one already, which goes on as it was made", flag, n.Dir)
		}
	}
	if n, err = Open(ctx, n.Dir, n.Binary, as); err != nil {
		return err
	}
	r, err := Load(n.Dir)
	if err != nil {
		return err
	}
	say("Network %s in %s: %s, each of its own organisation.", r.ChainID, n.Dir, counted(len(r.Validators)))
	say("FOR TESTS ONLY: the passphrase of all its keys lies in %s.", n.Dir.PassphraseFile())
	started, err := n.Start(ctx)
	// What to end with this command: nothing, what it started, or everything.
	keep, ready := false, false
	defer func() {
		switch {
		case ready && !keep:
			err = errors.Join(err, n.end(say))
		case !ready && len(started) > 0:
			err = errors.Join(err, n.end(say, started...))
		}
	}()
	if err != nil {
		return err
	}
	if len(started) < len(r.Validators) {
		say("%d of them ran already.", len(r.Validators)-len(started))
	}
	if err := n.Ready(ctx); err != nil {
		return err
	}
	ready = true
	say("All validators take part, %.1f s after the start.", time.Since(began).Seconds())
	if r, err = Load(n.Dir); err != nil {
		return err
	}
	result := &startResult{Dir: string(n.Dir), ChainID: r.ChainID, Validators: r.Validators, HowTo: n.howTo(r)}
	var failed error
	if demo {
		result.Demo, failed = n.demo(ctx, r, say)
		if failed != nil && ctx.Err() != nil {
			return failed
		}
	}
	if detach {
		keep = true
		result.Running = true
	}
	if asJSON && (detach || once) {
		if err := writeJSON(cmd.OutOrStdout(), result); err != nil {
			return err
		}
	}
	if detach || !once {
		result.HowTo.tell(say)
	}
	if failed != nil || detach || once {
		return failed
	}
	say("The network runs until Ctrl-C.")
	return n.follow(ctx, cmd.OutOrStdout(), asJSON)
}

// startResult is what 'start --output json' writes.
type startResult struct {
	Dir        string           `json:"dir"`
	ChainID    string           `json:"chain_id"`
	Running    bool             `json:"running"`
	Validators []Validator      `json:"validators"`
	Demo       *scenario.Result `json:"demo,omitempty"`
	HowTo      howTo            `json:"how_to"`
}

// end stops the network at the end of a command that does not leave it running,
// also when the command was interrupted.
func (n *Network) end(say func(string, ...any), which ...int) error {
	say("Stopping the network.")
	stopped, err := n.Stop(context.Background(), which...)
	tellStopped(stopped, say)
	return err
}

func tellStopped(stopped []Stopped, say func(string, ...any)) {
	count := 0
	for _, s := range stopped {
		switch {
		case !s.Was:
			say("Validator %d did not run.", s.Index)
		case s.Error != "":
			say("Validator %d: %s", s.Index, s.Error)
		case s.Forced:
			say("Validator %d did not stop within %v and was killed.", s.Index, stopPatience)
			count++
		default:
			count++
		}
	}
	say("%d of %s stopped.", count, counted(len(stopped)))
}

func counted(validators int) string {
	if validators == 1 {
		return "1 validator"
	}
	return fmt.Sprintf("%d validators", validators)
}

// demo takes the network through the demonstration.
func (n *Network) demo(ctx context.Context, r *Record, say func(string, ...any)) (*scenario.Result, error) {
	o := scenario.Options{
		Addresses: r.Addresses(), ChainID: r.ChainID, Binary: n.Binary,
		Genesis: n.Dir.Home(r.Validators[0]).GenesisFile(), Receipts: n.Dir.Receipts(), Folder: n.Dir.path("demo"),
		Passphrase: n.Dir.PassphraseFile(), Needed: int(consortiumNeeded(len(r.Validators))), Documents: sharedVectors(),
		Begin: func(number int, name string) {}, Done: func(s scenario.Step) { tellStep(s, say) },
	}
	if c := n.Dir.Credentials(r, r.Validators[0]); c != (Credentials{}) {
		o.CA, o.Cert, o.Key = c.CA, c.Cert, c.Key
	}
	for i, v := range r.Validators {
		ring, err := OpenKeyring(n.Dir, n.Dir.Home(v))
		if err != nil {
			return nil, err
		}
		o.Members = append(o.Members, scenario.Member{
			Organisation: v.Organisation, Home: string(n.Dir.Home(v)), RPC: v.RPC, Keyring: ring,
			Needed: int(administratorsNeeded(i)),
		})
	}
	say("The demonstration:")
	result, err := scenario.Run(ctx, o)
	if err != nil {
		return result, err
	}
	say("All %d steps done in %.1f s. The receipts, for 'chancery verify':", len(result.Steps), result.Took.Seconds())
	for _, p := range result.Receipts {
		say("  %s", p)
	}
	return result, nil
}

func tellStep(s scenario.Step, say func(string, ...any)) {
	mark := "✓"
	if s.Error != "" {
		mark = "✗"
	}
	say("%s %2d %-42s %6.1f s", mark, s.Number, s.Name, s.Took.Seconds())
	for _, l := range s.Notes {
		say("       %s", l)
	}
}

// sharedVectors is the folder of example documents, empty when there is none.
func sharedVectors() string {
	shared := os.Getenv("CHANCERY_SHARED")
	if shared == "" {
		shared = filepath.Join("..", "shared")
	}
	dir := filepath.Join(shared, "vectors")
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		return ""
	}
	return dir
}

// howTo is the commands to go on with; each works as it stands in the folder in
// which the network was started.
type howTo struct {
	Look        []string `json:"look"`
	Submit      string   `json:"submit"`
	Environment string   `json:"environment"`
	Stop        string   `json:"stop"`
}

func (n *Network) howTo(r *Record) howTo {
	binary, dir := quote(program(n.Binary)), quote(string(n.Dir))
	v := r.Validators[0]
	return howTo{
		Look: []string{
			fmt.Sprintf("%s testnet status --dir %s", binary, dir),
			fmt.Sprintf("%s events --node %s --from 1/0", binary, v.RPC),
		},
		Submit: fmt.Sprintf(`CHANCERY_PASSPHRASE_FILE=%s %s tx provenance register-entity --home %s --node %s --from registrar --json '{"id":"my-first-file","entity":{"media_type":"text/plain"}}'`,
			quote(n.Dir.PassphraseFile()), binary, quote(string(n.Dir.Home(v))), v.RPC),
		Environment: fmt.Sprintf(`eval "$(%s testnet env --dir %s)"`, binary, dir),
		Stop:        fmt.Sprintf("%s testnet stop --dir %s", binary, dir),
	}
}

func (h howTo) tell(say func(string, ...any)) {
	say("Look at it:")
	for _, l := range h.Look {
		say("  %s", l)
	}
	say("Submit a first transaction of your own:\n  %s", h.Submit)
	say("Name its home, node and passphrase file once for all commands, as the tour in README.md does:\n  %s", h.Environment)
	say("Stop it:\n  %s", h.Stop)
}

// program is how the program was called, when that names the same file from here.
func program(binary string) string {
	called, err := exec.LookPath(os.Args[0])
	if err != nil {
		return binary
	}
	a, errA := os.Stat(called)
	b, errB := os.Stat(binary)
	if errA != nil || errB != nil || !os.SameFile(a, b) {
		return binary
	}
	return os.Args[0]
}

// quote makes one word of a shell of a string.
func quote(s string) string {
	plain := s != "" && strings.IndexFunc(s, func(r rune) bool {
		return !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789./_-+:=@%,", r)
	}) < 0
	if plain {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

func (c *commands) stop() *cobra.Command {
	return &cobra.Command{
		Use:   "stop",
		Short: "Stop the network",
		Long: `Stop every validator of the network: each is asked to stop, and killed when it has
not after ten seconds. What is on disk stays; 'start' goes on from there.`,
		Example: "  chancery testnet stop --dir T",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			n, err := c.network()
			if err != nil {
				return err
			}
			stopped, err := n.Stop(cmd.Context())
			if jsonWanted(cmd) && stopped != nil {
				return errors.Join(err, writeJSON(cmd.OutOrStdout(), map[string]any{"stopped": stopped}))
			}
			if err == nil {
				tellStopped(stopped, talker(cmd, false))
			}
			return err
		},
	}
}

func (c *commands) status() *cobra.Command {
	return &cobra.Command{
		Use:     "status",
		Short:   "Show how the validators are",
		Example: "  chancery testnet status --dir T",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			n, err := c.network()
			if err != nil {
				return err
			}
			views, err := n.Status(cmd.Context())
			if err != nil {
				return err
			}
			return show(cmd, views)
		},
	}
}

// show writes how the validators are.
func show(cmd *cobra.Command, views []View) error {
	if jsonWanted(cmd) {
		return writeJSON(cmd.OutOrStdout(), map[string]any{"validators": views})
	}
	_, err := io.WriteString(cmd.OutOrStdout(), Table(views))
	return err
}

// surroundings are the variables by which the command line finds a validator, its
// keys and their passphrase.
func (n *Network) surroundings(r *Record, v Validator) ([][2]string, error) {
	home, err := filepath.Abs(string(n.Dir.Home(v)))
	if err != nil {
		return nil, fmt.Errorf("name the network's folder from its root: %w", err)
	}
	passphrase, err := filepath.Abs(n.Dir.PassphraseFile())
	if err != nil {
		return nil, fmt.Errorf("name the network's folder from its root: %w", err)
	}
	out := [][2]string{{"CHANCERY_HOME", home}, {"CHANCERY_NODE", v.RPC}, {"CHANCERY_PASSPHRASE_FILE", passphrase}}
	if c := n.Dir.Credentials(r, v); c != (Credentials{}) {
		for _, f := range [][2]string{{"CHANCERY_TLS_CA", c.CA}, {"CHANCERY_TLS_CERT", c.Cert}, {"CHANCERY_TLS_KEY", c.Key}} {
			if f[1], err = filepath.Abs(f[1]); err != nil {
				return nil, fmt.Errorf("name the network's folder from its root: %w", err)
			}
			out = append(out, f)
		}
	}
	return out, nil
}

func (c *commands) env() *cobra.Command {
	return &cobra.Command{
		Use:   "env [VALIDATOR]",
		Short: "Print the environment in which commands use one validator",
		Long: `Print, for a shell, the variables by which the other commands use the home, the
keyring and the node of one validator, 0 by default.`,
		Example: `  eval "$(chancery testnet env --dir T)"
  chancery testnet env 2 --dir T --output json`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			n, err := c.network()
			if err != nil {
				return err
			}
			r, err := Load(n.Dir)
			if err != nil {
				return err
			}
			v := &r.Validators[0]
			if len(args) == 1 {
				if v, err = r.numbered(args[0]); err != nil {
					return err
				}
			}
			variables, err := n.surroundings(r, *v)
			if err != nil {
				return err
			}
			if jsonWanted(cmd) {
				object := make(map[string]string, len(variables))
				for _, x := range variables {
					object[x[0]] = x[1]
				}
				return writeJSON(cmd.OutOrStdout(), object)
			}
			for _, x := range variables {
				if _, err := fmt.Fprintf(cmd.OutOrStdout(), "export %s=%s\n", x[0], quote(x[1])); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

// Status looks at every node.
func (n *Network) Status(ctx context.Context) ([]View, error) {
	r, err := Load(n.Dir)
	if err != nil {
		return nil, err
	}
	if r.Containers != nil {
		return nil, errContained(n.Dir)
	}
	w, err := newWatch(n.Dir, r)
	if err != nil {
		return nil, err
	}
	defer w.close()
	return w.look(ctx, r), nil
}

func (c *commands) logs() *cobra.Command {
	var (
		follow bool
		lines  int
	)
	cmd := &cobra.Command{
		Use:   "logs [VALIDATOR]",
		Short: "Show the end of the validators' logs",
		Example: `  chancery testnet logs --dir T
  chancery testnet logs 2 --dir T --follow`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			n, err := c.network()
			if err != nil {
				return err
			}
			r, err := processes(n.Dir)
			if err != nil {
				return err
			}
			chosen, err := r.logged(args, follow)
			if err != nil {
				return err
			}
			for _, v := range chosen {
				out, titled := cmd.OutOrStdout(), len(chosen) > 1
				if jsonWanted(cmd) {
					out, titled = &logLines{out: out, validator: v.Index}, false
				}
				if err := showLog(cmd.Context(), out, n.Dir.LogFile(v), lines, titled, follow); err != nil {
					return err
				}
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&follow, "follow", false, "go on as the log grows, until interrupted")
	cmd.Flags().IntVar(&lines, "lines", 20, "how many of the last lines")
	return cmd
}

// logged are the validators of which logs are shown: the one that is named, or all.
func (r *Record) logged(args []string, follow bool) ([]Validator, error) {
	chosen := r.Validators
	if len(args) == 1 {
		v, err := r.numbered(args[0])
		if err != nil {
			return nil, err
		}
		chosen = []Validator{*v}
	}
	if follow && len(chosen) != 1 {
		return nil, usagef("--follow: name one validator")
	}
	return chosen, nil
}

// logLines writes each line of a validator's log as a JSON object.
type logLines struct {
	out       io.Writer
	validator int
	rest      []byte // of a line that is not whole yet
}

func (l *logLines) Write(p []byte) (int, error) {
	l.rest = append(l.rest, p...)
	for {
		line, rest, whole := bytes.Cut(l.rest, []byte("\n"))
		if !whole {
			return len(p), nil
		}
		l.rest = rest
		raw, err := json.Marshal(struct {
			Validator int    `json:"validator"`
			Line      string `json:"line"`
		}{l.validator, string(line)})
		if err != nil {
			return 0, err
		}
		if _, err := l.out.Write(append(raw, '\n')); err != nil {
			return 0, err
		}
	}
}

// showLog writes the last lines of a log, and then what is added to it.
func showLog(ctx context.Context, out io.Writer, path string, lines int, titled, follow bool) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("read the log: %w", err)
	}
	defer f.Close()
	if titled {
		fmt.Fprintf(out, "==> %s <==\n", path)
	}
	ring := make([]string, 0, max(lines, 0))
	in := bufio.NewReader(f)
	for {
		line, err := in.ReadString('\n')
		if line != "" && lines > 0 {
			if len(ring) == lines {
				ring = ring[1:]
			}
			ring = append(ring, line)
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("read the log: %w", err)
		}
	}
	if _, err := io.WriteString(out, strings.Join(ring, "")); err != nil {
		return err
	}
	for follow {
		if _, err := io.Copy(out, in); err != nil {
			return fmt.Errorf("read the log: %w", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(lookInterval / 2):
		}
	}
	return nil
}

func (c *commands) kill() *cobra.Command {
	var name string
	cmd := &cobra.Command{
		Use:   "kill VALIDATOR",
		Short: "Send a signal to one validator",
		Long: `Send a signal to one validator, to see what the others make of it: KILL and TERM
end it, STOP halts it until CONT.`,
		Example: `  chancery testnet kill 3 --dir T
  chancery testnet kill 3 --dir T --signal STOP`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := signalNamed(strings.ToUpper(name))
			if err != nil {
				return err
			}
			n, i, err := c.one(args[0])
			if err != nil {
				return err
			}
			if err := n.Signal(cmd.Context(), i, s); err != nil {
				return err
			}
			return c.tellOne(cmd, i, "was sent "+strings.ToUpper(name))
		},
	}
	cmd.Flags().StringVar(&name, "signal", "KILL", "name of the signal")
	return cmd
}

func (c *commands) restart() *cobra.Command {
	return &cobra.Command{
		Use:     "restart VALIDATOR",
		Short:   "Start one validator again",
		Long:    "Start one validator again. One that runs is stopped before.",
		Example: "  chancery testnet restart 3 --dir T",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			n, i, err := c.one(args[0])
			if err != nil {
				return err
			}
			if err := n.Restart(cmd.Context(), i); err != nil {
				return err
			}
			return c.tellOne(cmd, i, "was started")
		},
	}
}

// one is the network and the number of one of its validators.
func (c *commands) one(arg string) (*Network, int, error) {
	n, err := c.network()
	if err != nil {
		return nil, 0, err
	}
	r, err := Load(n.Dir)
	if err != nil {
		return nil, 0, err
	}
	v, err := r.numbered(arg)
	if err != nil {
		return nil, 0, err
	}
	return n, v.Index, nil
}

func (r *Record) numbered(arg string) (*Validator, error) {
	i, err := strconv.Atoi(arg)
	if err != nil {
		return nil, usagef("%q is no number of a validator; they are 0 to %d", arg, len(r.Validators)-1)
	}
	return r.validator(i)
}

func (c *commands) tellOne(cmd *cobra.Command, i int, what string) error {
	if jsonWanted(cmd) {
		return writeJSON(cmd.OutOrStdout(), map[string]any{"validator": i, "result": what})
	}
	talker(cmd, false)("Validator %d %s.", i, what)
	return nil
}

// jsonWanted reads the program's own flag --output.
func jsonWanted(cmd *cobra.Command) bool {
	f := cmd.Flag("output")
	return f != nil && f.Value.String() == "json"
}

// talker writes sentences for people: to standard error when standard output is for
// programs.
func talker(cmd *cobra.Command, asJSON bool) func(string, ...any) {
	out := cmd.OutOrStdout()
	if asJSON {
		out = cmd.ErrOrStderr()
	}
	return func(format string, args ...any) { fmt.Fprintf(out, format+"\n", args...) }
}

func writeJSON(out io.Writer, v any) error {
	e := json.NewEncoder(out)
	e.SetIndent("", "  ")
	return e.Encode(v)
}
