package cli

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/chancery/chancery/node"
	"github.com/chancery/chancery/node/offline"
	chainv1 "github.com/chancery/chancery/proto/chancery/chain/v1"
	nodev1 "github.com/chancery/chancery/proto/chancery/node/v1"
)

func (a *app) upgradeCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "upgrade",
		Short: "Prepare an upgrade of the network, and see how it stands",
		Long: lines(
			"The consortium plans by a vote that from a height on another version of the state machine",
			"executes the blocks. Before it, each member tries the upgrade on a copy of its node's state",
			"and reports what came of it. docs/upgrades.md says how an upgrade goes, and how it is taken",
			"back.",
		),
		Example: examples("chancery upgrade status", "chancery upgrade dry-run --report --from admin-1"),
	}
	c.AddCommand(a.upgradeStatus(), a.upgradeDryRun())
	return c
}

func (a *app) upgradeStatus() *cobra.Command {
	stopped := false
	c := &cobra.Command{
		Use:   "status",
		Short: "Show the upgrade that is to come, and who is ready",
		Long: lines(
			"Shows the version of the state machine in force, the upgrade that is to come, whether the",
			"node's program knows its version, and what each organisation reported of its dry run. Where",
			"organisations found different roots on one state their programs differ, and it warns.",
			"",
			"With --stopped it reads the home of a node that is stopped, and says whether this program",
			"can start it.",
		),
		Example: examples("chancery upgrade status", "chancery upgrade status --stopped --home /var/lib/chancery"),
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var s *node.UpgradeStanding
			if stopped {
				var err error
				if s, err = a.stoppedUpgrade(); err != nil {
					return err
				}
			} else {
				ctx, cancel := a.within(cmd)
				defer cancel()
				c, err := a.dial(ctx)
				if err != nil {
					return err
				}
				defer c.Close()
				s = new(node.UpgradeStanding)
				if s.Status, err = chainv1.NewQueryClient(c.Conn()).UpgradeStatus(ctx, &chainv1.UpgradeStatusRequest{}); err != nil {
					return err
				}
				own, err := nodev1.NewNodeClient(c.Conn()).Status(ctx, &nodev1.StatusRequest{})
				if err != nil {
					return err
				}
				s.Oldest, s.Newest = own.OldestVersion, own.NewestVersion
			}
			if a.output == outputJSON {
				status, err := protoJSON(s.Status)
				if err != nil {
					return err
				}
				problem := ""
				if s.Err != nil {
					problem = s.Err.Error()
				}
				return a.print(facts{
					{"status", json.RawMessage(status)}, {"oldest version", s.Oldest}, {"newest version", s.Newest},
					{"upgrade needed", needed(s)}, {"problem", problem},
				})
			}
			return a.write(clean(standingText(s)))
		},
	}
	c.Flags().BoolVar(&stopped, "stopped", false, "read the home of a node that is stopped")
	return c
}

func (a *app) stoppedUpgrade() (*node.UpgradeStanding, error) {
	s, err := node.StoppedUpgrade(a.homeDir())
	switch {
	case errors.Is(err, offline.ErrRunning):
		return nil, sentence(errHome, "a node is running in %s; ask it, without --stopped", a.home)
	case errors.Is(err, fs.ErrNotExist):
		return nil, sentence(errNothing, "%s holds no data", a.home)
	case err != nil:
		return nil, errHome.Wrap(err)
	}
	return s, nil
}

// needed tells whether the program must be replaced before the upgrade that is to come.
func needed(s *node.UpgradeStanding) bool {
	return s.Err != nil || s.Status.Plan.GetVersion() > s.Newest
}

// standingText is how an upgrade stands, for people.
func standingText(s *node.UpgradeStanding) string {
	var b strings.Builder
	p, status := s.Status.Plan, s.Status
	line := func(name, format string, args ...any) {
		fmt.Fprintf(&b, "%-8s  %s\n", name, fmt.Sprintf(format, args...))
	}
	line("version", "%d in force, the program knows %d to %d", status.Version, s.Oldest, s.Newest)
	if s.Err != nil {
		line("WARNING", "this program cannot go on: %v", s.Err)
	}
	if p == nil {
		line("upgrade", "none is to come")
		return b.String()
	}
	line("upgrade", "%s: from block %d on version %d, in %d blocks", p.Name, p.Height, p.Version, p.Height-status.Height)
	line("release", "SHA-256 of its checksums %x", p.ChecksumsHash)
	if p.Version > s.Newest && s.Err == nil {
		line("WARNING", "upgrade needed: the node's program does not know version %d and stops before block %d; install the release before that", p.Version, p.Height)
	}
	line("ready", "%d of %d of the voting power, %d failed", status.ReadyPower, status.TotalPower, status.FailedPower)
	rows := [][]string{{"ORGANISATION", "POWER", "REPORT", "STATE", "ROOT", "PROGRAM"}}
	for _, o := range status.Organisations {
		row := []string{o.Organisation, fmt.Sprint(o.Power), "none", "-", "-", "-"}
		if r := o.Readiness; r != nil {
			row = []string{o.Organisation, fmt.Sprint(o.Power), "ready", fmt.Sprint(r.StateHeight), fmt.Sprintf("%.8x", r.AppHash), r.Program}
			if !r.Ready {
				row[2], row[4] = fmt.Sprintf("failed: %s/%d", r.Codespace, r.Code), "-"
			}
		}
		rows = append(rows, row)
	}
	b.WriteString(table(rows))
	if status.Disagreement {
		line("WARNING", "organisations found different roots on one state: their programs differ. Compare them with the checksums of the release, and take the plan back if it stays so")
		for _, h := range status.Hashes {
			line("", "state %d: %.8x with power %d by %s", h.StateHeight, h.AppHash, h.Power, strings.Join(h.Organisations, ", "))
		}
	}
	return b.String()
}

func (a *app) upgradeDryRun() *cobra.Command {
	s := &sending{app: a}
	var o node.DryRunOptions
	checksums := ""
	report := false
	c := &cobra.Command{
		Use:   "dry-run",
		Short: "Try the upgrade that is to come on a copy of the node's state",
		Long: lines(
			"Copies a state of the home's node, running or stopped, runs this program's migrations and",
			"an empty block on the copy, and says what changed and which root came out. The home stays as",
			"it is. By default it begins with the state of the block that made the plan, so that members'",
			"roots can be compared: equal programs find equal roots.",
			"",
			"With --report the organisation signs what came of it and submits it, a failure too; and the",
			"command fails when others found another root on the same state. Run it with the program of",
			"the new release; --checksums says that it is the one which the consortium decided on.",
		),
		Example: examples(
			"chancery upgrade dry-run --home /var/lib/chancery",
			"chancery upgrade dry-run --checksums SHA256SUMS --report --from admin-1",
			"chancery upgrade dry-run --at-height 120000 --to-version 2",
		),
		Args: cobra.NoArgs,
	}
	f := c.Flags()
	f.Int64Var(&o.Height, "at-height", 0, "height of the state to begin with; by default that of the block that made the plan")
	f.Uint32Var(&o.Version, "to-version", 0, "version of the state machine to come to; by default the plan's")
	f.StringVar(&o.Work, "work", "", "folder for the copy of the state; by default the system's for temporary files")
	f.StringVar(&checksums, "checksums", "", "file with the release's checksums, as sha256sum writes them, to check plan and program with")
	f.BoolVar(&report, "report", false, "sign what came of it for the organisation, and submit it")
	s.flags(c)
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := notNegative(flagOf{"at-height", o.Height}); err != nil {
			return err
		}
		if report && len(s.from) == 0 && !s.generate {
			return usagef("name the keys of the organisation's administrators that sign the report with --from")
		}
		if !report && len(s.from) > 0 {
			return usagef("--from is for the report; add --report")
		}
		t, err := node.DryRun(cmd.Context(), a.homeDir(), o)
		if t == nil {
			return dryRunFault(err)
		}
		if err == nil && checksums != "" {
			err = checkRelease(checksums, t.Plan)
		}
		if err == nil {
			err = a.print(trialFacts(t))
		}
		if !report {
			return err
		}
		if t.Plan == nil {
			return sentence(errNothing, "the state that the dry run began with holds no plan to report of; leave --at-height out")
		}
		m := reportOf(t, a.Version, err)
		if sent := s.sendAs(cmd, m); sent != nil || err != nil {
			return errors.Join(err, sent)
		}
		if s.generate || s.simulate || s.wait != waitCommit {
			return nil
		}
		return a.agreed(cmd, m)
	}
	return c
}

// dryRunFault is why a dry run could not begin.
func dryRunFault(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return errHome.Wrap(err)
	}
	return err
}

// reportOf is the report of a dry run that failed with err, or did not.
func reportOf(t *node.Trial, program string, err error) *chainv1.ReportReadiness {
	if err != nil {
		height := int64(0)
		var failed *node.DryRunError
		switch {
		case errors.As(err, &failed):
			height = failed.Height
		case t.Trial != nil:
			height = t.Height
		}
		return node.FailedReport(t.Plan.Name, height, t.Newest, program, err)
	}
	return &chainv1.ReportReadiness{
		Name: t.Plan.Name, Ready: true, StateHeight: t.Height, AppHash: t.Root, NewestVersion: t.Newest, Program: program,
	}
}

// agreed fails where others reported another root of the same state.
func (a *app) agreed(cmd *cobra.Command, m *chainv1.ReportReadiness) error {
	ctx, cancel := a.within(cmd)
	defer cancel()
	c, err := a.dial(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	status, err := chainv1.NewQueryClient(c.Conn()).UpgradeStatus(ctx, &chainv1.UpgradeStatusRequest{})
	if err != nil {
		return err
	}
	for _, h := range status.Hashes {
		if h.StateHeight == m.StateHeight && !bytes.Equal(h.AppHash, m.AppHash) {
			return sentence(errDiffers, "%s found the root %.8x on the state of height %d, and this program %.8x: the programs differ; compare them with the checksums of the release", strings.Join(h.Organisations, ", "), h.AppHash, h.StateHeight, m.AppHash)
		}
	}
	return nil
}

// changesOf counts the changes of a collection.
type changesOf struct {
	Collection string `json:"collection"`
	Added      int    `json:"added"`
	Changed    int    `json:"changed"`
	Removed    int    `json:"removed"`
}

func trialFacts(t *node.Trial) facts {
	counts := []changesOf{}
	for _, c := range t.Changes {
		name := c.Collection.Name
		if name == "" {
			name = "(none)"
		}
		i := slices.IndexFunc(counts, func(x changesOf) bool { return x.Collection == name })
		if i < 0 {
			i, counts = len(counts), append(counts, changesOf{Collection: name})
		}
		switch {
		case c.Before == nil:
			counts[i].Added++
		case c.After == nil:
			counts[i].Removed++
		default:
			counts[i].Changed++
		}
	}
	plan := "none in this state"
	if t.Plan != nil {
		plan = fmt.Sprintf("%s at block %d", t.Plan.Name, t.Plan.Height)
	}
	f := facts{
		{"plan", plan}, {"from version", t.From}, {"to version", t.To}, {"state height", t.Height},
		{"root before", digits(t.Before)}, {"root after", digits(t.Root)}, {"keys", len(t.Changes)}, {"events", len(t.Events)},
	}
	return append(f, fact{"changes", changeList(counts)})
}

// changeList is lines in text, and objects in JSON.
type changeList []changesOf

// String implements fmt.Stringer.
func (l changeList) String() string {
	var out []string
	for _, c := range l {
		out = append(out, fmt.Sprintf("%s: %d added, %d changed, %d removed", c.Collection, c.Added, c.Changed, c.Removed))
	}
	if len(out) == 0 {
		return "none"
	}
	return strings.Join(out, "; ")
}

// maxChecksums bounds a file of checksums.
const maxChecksums = 1 << 20

// checkRelease tells whether a file of checksums is the one that a plan names, and whether
// it lists this very program.
func checkRelease(path string, p *chainv1.UpgradePlan) error {
	raw, err := os.ReadFile(path)
	if err != nil {
		return errFile.Wrap(err)
	}
	if len(raw) > maxChecksums {
		return sentence(errFile, "%s has %d bytes; a file of checksums has at most %d", path, len(raw), maxChecksums)
	}
	if sum := sha256.Sum256(raw); p == nil || !bytes.Equal(sum[:], p.ChecksumsHash) {
		return sentence(errFile, "%s has the SHA-256 %x, and the plan names %x: it is not the release that the consortium decided on", path, sum, p.GetChecksumsHash())
	}
	own, err := ownSum()
	if err != nil {
		return errFile.Wrap(err)
	}
	lines := bufio.NewScanner(bytes.NewReader(raw))
	for lines.Scan() {
		if sum, _, _ := strings.Cut(lines.Text(), " "); strings.EqualFold(sum, own) {
			return nil
		}
	}
	return sentence(errFile, "%s does not list this program, whose SHA-256 is %s: it is not of the release that the consortium decided on", path, own)
}

// ownSum is the SHA-256 of the file that this process runs.
func ownSum() (string, error) {
	path, err := os.Executable()
	if err != nil {
		return "", err
	}
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", errors.Join(err, f.Close())
	}
	return hex.EncodeToString(h.Sum(nil)), f.Close()
}

// examineUpgrade tells the doctor why this program cannot start the home's node, if so.
func (a *app) examineUpgrade(context.Context) error {
	s, err := node.StoppedUpgrade(a.homeDir())
	if errors.Is(err, fs.ErrNotExist) {
		return nil // there is no state yet
	}
	if err != nil {
		return err
	}
	if s.Err == nil && s.Status.Plan.GetVersion() > s.Newest {
		p := s.Status.Plan
		return fmt.Errorf("upgrade %s leads to version %d at block %d, and this program knows %d to %d", p.Name, p.Version, p.Height, s.Oldest, s.Newest)
	}
	return s.Err
}
