package cli

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	cmtproto "github.com/cometbft/cometbft/proto/tendermint/types"
	"github.com/cometbft/cometbft/types"
	"github.com/spf13/cobra"

	"github.com/chancery/chancery/node/config"
	"github.com/chancery/chancery/node/doctor"
	nodev1 "github.com/chancery/chancery/proto/chancery/node/v1"
)

const (
	// peerPatience is how long another member's node has to answer the doctor.
	peerPatience = 5 * time.Second
	// maxDoctorPeers is how many nodes it asks.
	maxDoctorPeers = 32
)

func (a *app) doctorCommand() *cobra.Command {
	var peers, set []string
	var minFree string
	strict := false
	c := &cobra.Command{
		Use:   "doctor",
		Short: "Find what keeps the node of the home from running well, with remedies",
		Long: lines(
			"Examines the home folder, this machine and the network, whether the node runs or not,",
			"and says for each fault what to do. It changes nothing. Name other members' nodes with",
			"--peer, and it compares genesis file, version and clock with theirs, and looks for blocks",
			"that another process signed with this home's key. docs/doctor.md lists all checks.",
			"",
			"The exit code is 1 when there is a fault, and with --strict when there is a warning.",
		),
		Example: examples(
			"chancery doctor --home /var/lib/chancery",
			"chancery doctor --peer clinic.example:9090 --peer lab.example:9090 --output json",
		),
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if len(peers) > maxDoctorPeers {
				return usagef("--peer is given %d times, at most %d", len(peers), maxDoctorPeers)
			}
			free, err := parseSize(minFree)
			if err != nil {
				return usagef("--min-free: %v", err)
			}
			overrides, err := a.overrides(set)
			if err != nil {
				return err
			}
			o := doctor.Options{Home: a.homeDir(), Overrides: overrides, Version: a.Version, MinFree: free, Lookup: a.Lookup}
			o.Executable = a.examineUpgrade
			if len(peers) > 0 {
				o.Peers = func(ctx context.Context) []doctor.Peer { return a.askPeers(ctx, peers) }
			}
			r := doctor.Run(cmd.Context(), o)
			if a.output == outputJSON {
				err = a.print(r)
			} else {
				err = a.write(clean(doctorText(r)))
			}
			faults, warnings := r.Count(doctor.Fault), r.Count(doctor.Warning)
			if err == nil && (faults > 0 || strict && warnings > 0) {
				return silent{sentence(errSick, "the doctor found %d faults and %d warnings", faults, warnings)}
			}
			return err
		},
	}
	c.Flags().StringArrayVar(&peers, "peer", nil, "HOST:PORT of another member's node to compare with; may be repeated")
	c.Flags().StringVar(&minFree, "min-free", "5GiB", "how much of the disk must be free")
	c.Flags().BoolVar(&strict, "strict", false, "exit with 1 for warnings, too")
	setFlag(c, &set)
	return c
}

// doctorText is a report for people.
func doctorText(r *doctor.Report) string {
	var b strings.Builder
	for _, level := range []doctor.Level{doctor.Fault, doctor.Warning} {
		for _, f := range r.Findings {
			if f.Level == level {
				fmt.Fprintf(&b, "%-8s %s: %s\n         remedy: %s\n", strings.ToUpper(string(level)), f.Code, f.Found, f.Remedy)
			}
		}
	}
	lacking := map[string][]string{}
	var order []string
	for _, f := range r.Findings {
		if f.Level == doctor.Skipped {
			if lacking[f.Found] == nil {
				order = append(order, f.Found)
			}
			lacking[f.Found] = append(lacking[f.Found], f.Code)
		}
	}
	for _, why := range order {
		fmt.Fprintf(&b, "skipped  %s: %s\n", strings.Join(lacking[why], ", "), why)
	}
	state := "stopped"
	if r.Running {
		state = "running"
	}
	fmt.Fprintf(&b, "%d checks passed, %d faults, %d warnings, %d skipped; the node of %s is %s\n",
		len(r.Passed), r.Count(doctor.Fault), r.Count(doctor.Warning), r.Count(doctor.Skipped), r.Home, state)
	return b.String()
}

// askPeers asks other members' nodes, one after the other, each for a bounded time.
func (a *app) askPeers(ctx context.Context, addresses []string) []doctor.Peer {
	out := make([]doctor.Peer, len(addresses))
	for i, address := range addresses {
		out[i].Address = address
		out[i].Err = a.askPeer(ctx, &out[i])
	}
	return out
}

func (a *app) askPeer(ctx context.Context, p *doctor.Peer) error {
	ctx, cancel := context.WithTimeout(ctx, peerPatience)
	defer cancel()
	c, err := a.dialTo(ctx, p.Address)
	if err != nil {
		return err
	}
	defer c.Close()
	if p.Status, err = c.Status(ctx); err != nil {
		return err
	}
	p.At = time.Now()
	nodes := nodev1.NewNodeClient(c.Conn())
	stream, err := nodes.Genesis(ctx, &nodev1.GenesisRequest{})
	if err != nil {
		return err
	}
	hash := sha256.New()
	for {
		part, err := stream.Recv()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		hash.Write(part.Part)
	}
	p.Genesis = hash.Sum(nil)
	if p.Status.Height < 1 {
		return nil
	}
	p.Light, err = lightBlock(ctx, nodes, 0)
	return err
}

// lightBlock is the signed header of a height, 0 for the latest, and its validators.
func lightBlock(ctx context.Context, nodes nodev1.NodeClient, height int64) (*types.LightBlock, error) {
	resp, err := nodes.LightBlock(ctx, &nodev1.LightBlockRequest{Height: height})
	if err != nil {
		return nil, err
	}
	var pb cmtproto.LightBlock
	if err := pb.Unmarshal(resp.LightBlock); err != nil {
		return nil, fmt.Errorf("the node's light block does not decode: %w", err)
	}
	light, err := types.LightBlockFromProto(&pb)
	if err != nil {
		return nil, fmt.Errorf("the node's light block does not decode: %w", err)
	}
	return light, nil
}

// parseSize reads a number of bytes, with KiB, MiB, GiB or TiB after it.
func parseSize(text string) (uint64, error) {
	units := map[string]uint64{"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}
	factor := uint64(1)
	number := strings.TrimSpace(text)
	for unit, f := range units {
		if rest, ok := strings.CutSuffix(number, unit); ok {
			number, factor = strings.TrimSpace(rest), f
			break
		}
	}
	var n uint64
	if _, err := fmt.Sscanf(number, "%d", &n); err != nil || fmt.Sprint(n) != number || n == 0 || n > 1<<62/factor {
		return 0, fmt.Errorf("%q is no size; write it like 500MiB or 5GiB", text)
	}
	return n * factor, nil
}

func (a *app) logLevelCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "loglevel [debug|info|warn|error]",
		Short: "Show or change what the running node of the home logs",
		Long: lines(
			"Asks the node of the home folder, at its telemetry listener on this machine, what it",
			"logs, or changes that until the node stops. node.log_level says what it begins with.",
		),
		Example: examples(
			"chancery loglevel",
			"chancery loglevel debug --home /var/lib/chancery",
		),
		Args:      cobra.MaximumNArgs(1),
		ValidArgs: []string{"debug", "info", "warn", "error"},
		RunE: func(cmd *cobra.Command, args []string) error {
			method, body := http.MethodGet, ""
			if len(args) > 0 {
				if _, err := config.Level(args[0]); err != nil {
					return usagef("%v", err)
				}
				method, body = http.MethodPut, args[0]
			}
			var now struct {
				Level string `json:"level"`
			}
			if err := a.askTelemetry(cmd.Context(), method, "/loglevel", body, &now); err != nil {
				return err
			}
			if now.Level == "" {
				return sentence(errSick, "the node is silent: what answers is no node that can change its level")
			}
			return a.print(facts{{"level", now.Level}})
		},
	}
}

// setFlag is the flag of values that go before the configuration file.
func setFlag(c *cobra.Command, into *[]string) {
	c.Flags().StringArrayVar(into, "set", nil, "section.key=value that goes before the environment's CHANCERY_SET_SECTION_KEY and the configuration file; may be repeated")
}

// overrides are what goes before the configuration file: the environment, before which a
// flag goes.
func (a *app) overrides(set []string) ([]config.Override, error) {
	environment, err := config.Environment(a.Environ)
	if err != nil {
		return nil, usagef("%v", err)
	}
	flags, err := config.Flags("--set", set)
	if err != nil {
		return nil, usagef("%v", err)
	}
	return append(environment, flags...), nil
}
