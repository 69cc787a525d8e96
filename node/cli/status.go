package cli

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cometbft/cometbft/types"
	"github.com/spf13/cobra"

	"github.com/chancery/chancery/modules/identity"
	"github.com/chancery/chancery/node/client"
	"github.com/chancery/chancery/node/config"
	"github.com/chancery/chancery/node/disk"
	identityv1 "github.com/chancery/chancery/proto/chancery/identity/v1"
	nodev1 "github.com/chancery/chancery/proto/chancery/node/v1"
	threatv1 "github.com/chancery/chancery/proto/chancery/threat/v1"
)

func (a *app) statusCommand() *cobra.Command {
	healthy := false
	c := &cobra.Command{
		Use:   "status",
		Short: "Show how a node is",
		Long: lines(
			"Shows how a node is, who its peers are, which validators signed its latest block and",
			"which are missing, what waits for a block, and what waits for reviewers. Where the home",
			"folder is that node's, it says how much of the disk is free.",
		),
		Example: examples(
			"chancery status",
			"chancery status --node 127.0.0.1:9190 --output json",
			"chancery status --healthy || echo broken",
		),
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := a.within(cmd)
			defer cancel()
			c, err := a.dial(ctx)
			if err != nil {
				return err
			}
			defer c.Close()
			s, err := c.Status(ctx)
			if err != nil {
				return err
			}
			around := surroundings(ctx, c, s)
			if a.output == outputJSON {
				err = a.printStatus(s, around)
			} else {
				for _, e := range s.Certificates {
					if e.AlarmDays >= 0 {
						a.note("%s", expiry(e))
					}
				}
				err = a.print(a.statusFacts(c, s, around))
			}
			if err == nil && healthy && !s.Healthy {
				return silent{sentence(errSick, "the node is not healthy: %s", s.Reason)}
			}
			return err
		},
	}
	c.Flags().BoolVar(&healthy, "healthy", false, "exit with 1 when the node is not healthy")
	return c
}

// network is what a node says of its network. A part that it does not answer is left out:
// the status of a node that is not well is wanted most.
type network struct {
	Validators []validatorFacts `json:"validators"`
	Signed     int64            `json:"signed_power"`
	Power      int64            `json:"power"`
	Peers      []peerFacts      `json:"peer_nodes"`
	Held       *int             `json:"held,omitempty"`
	more       bool             // there may be more than were counted
}

type validatorFacts struct {
	Address      string `json:"address"`
	Name         string `json:"name"`
	Organisation string `json:"organisation"`
	Power        int64  `json:"power"`
	Signed       bool   `json:"signed"`
}

type peerFacts struct {
	NodeID       string `json:"node_id"`
	Organisation string `json:"organisation"`
}

// mostHeld is how many transactions that wait are counted.
const mostHeld = 100

func surroundings(ctx context.Context, c *client.Client, s *nodev1.StatusResponse) (w network) {
	w.Validators, w.Peers = []validatorFacts{}, []peerFacts{}
	if s.Height < 1 {
		return w
	}
	who := identityv1.NewQueryClient(c.Conn())
	if light, err := lightBlock(ctx, nodev1.NewNodeClient(c.Conn()), 0); err == nil {
		listed, err := who.Validators(ctx, &identityv1.ValidatorsRequest{})
		if err != nil {
			listed = &identityv1.ValidatorsResponse{}
		}
		w.validators(light, listed.Validators)
	}
	organisations := map[string]string{}
	if nodes, err := who.Nodes(ctx, &identityv1.NodesRequest{Limit: 500}); err == nil {
		for _, n := range nodes.Nodes {
			organisations[n.Id] = n.Organisation
		}
	}
	for _, id := range s.PeerIds {
		w.Peers = append(w.Peers, peerFacts{NodeID: id, Organisation: organisations[id]})
	}
	w.count(ctx, threatv1.NewQueryClient(c.Conn()))
	return w
}

// mostPages bounds how far the records of held transactions are read.
const mostPages = 10

// count counts the transactions that wait for reviewers, as far as is asked for.
func (w *network) count(ctx context.Context, q threatv1.QueryClient) {
	n := 0
	req := &threatv1.HoldsRequest{Status: threatv1.HoldStatus_HOLD_STATUS_HELD, Limit: mostHeld}
	for range mostPages {
		page, err := q.Holds(ctx, req)
		if err != nil {
			return
		}
		n += len(page.Holds)
		if req.PageToken = page.NextPageToken; len(req.PageToken) == 0 {
			w.Held = &n
			return
		}
	}
	w.Held, w.more = &n, true
}

// validators says who signed a block, the missing first.
func (w *network) validators(light *types.LightBlock, listed []*identityv1.Validator) {
	for _, v := range light.ValidatorSet.Validators {
		f := validatorFacts{Address: v.Address.String(), Power: v.VotingPower}
		for _, l := range listed {
			if address := identity.Address(l.PublicKey); bytes.Equal(address[:], v.Address) {
				f.Name, f.Organisation = l.Moniker, l.Organisation
			}
		}
		f.Signed = slices.ContainsFunc(light.Commit.Signatures, func(s types.CommitSig) bool {
			return s.BlockIDFlag == types.BlockIDFlagCommit && bytes.Equal(s.ValidatorAddress, v.Address)
		})
		w.Power += v.VotingPower
		if f.Signed {
			w.Signed += v.VotingPower
		}
		w.Validators = append(w.Validators, f)
	}
	slices.SortStableFunc(w.Validators, func(a, b validatorFacts) int {
		if a.Signed != b.Signed {
			if b.Signed {
				return -1
			}
			return 1
		}
		return strings.Compare(a.Name, b.Name)
	})
}

// printStatus is the status with what surrounds the node, as one object.
func (a *app) printStatus(s *nodev1.StatusResponse, w network) error {
	raw, err := protoJSON(s)
	if err != nil {
		return err
	}
	more, err := jsonOf(w)
	if err != nil {
		return err
	}
	return a.print(json.RawMessage(string(raw[:len(raw)-1]) + "," + string(more[1:])))
}

// statusFacts is the status for people.
func (a *app) statusFacts(c *client.Client, s *nodev1.StatusResponse, w network) facts {
	health := "healthy"
	switch {
	case !s.Healthy && s.BehindBlocks > 2 && !s.CatchingUp:
		health = fmt.Sprintf("stuck: its peers have %d blocks more; %s", s.BehindBlocks, s.Reason)
	case !s.Healthy:
		health = "not healthy: " + s.Reason
	}
	if s.CatchingUp {
		health += ", catching up"
	}
	if s.BehindBlocks > 0 && s.Healthy {
		health += fmt.Sprintf(", %d blocks behind", s.BehindBlocks)
	}
	f := facts{
		{"chain", s.ChainId}, {"node", c.Address()}, {"name", s.Moniker}, {"health", health}, {"door", a.door()},
		{"height", s.Height}, {"block time", moment(s.Time)},
		{"block age", (time.Duration(s.LatestBlockAgeMs) * time.Millisecond).String()},
		{"state root", digits(s.AppHash)},
	}
	if s.Signer != "" {
		f = append(f, fact{"signer", s.Signer})
	}
	if len(w.Validators) > 0 {
		var missing []string
		for _, v := range w.Validators {
			if !v.Signed {
				missing = append(missing, fmt.Sprintf("%s (%s, power %d)", named(v.Name, v.Address), v.Organisation, v.Power))
			}
		}
		text := fmt.Sprintf("%d of %d signed, %d of %d of the power", len(w.Validators)-len(missing), len(w.Validators), w.Signed, w.Power)
		f = append(f, fact{"validators", text})
		if len(missing) > 0 {
			f = append(f, fact{"missing", missing})
		}
	}
	peers := fmt.Sprint(s.Peers)
	if len(w.Peers) > 0 {
		var who []string
		for _, p := range w.Peers {
			who = append(who, named(p.Organisation, p.NodeID))
		}
		slices.Sort(who)
		peers += ": " + strings.Join(who, ", ")
	}
	f = append(f, fact{"peers", peers}, fact{"pool", fmt.Sprintf("%d transactions, %s", s.PoolTxs, size(int64(s.PoolBytes)))})
	if w.Held != nil {
		text := fmt.Sprintf("%d transactions wait for reviewers", *w.Held)
		if w.more {
			text = "at least " + text
		}
		f = append(f, fact{"held", text})
	}
	if free, total, ok := a.diskOf(s.NodeId); ok {
		f = append(f, fact{"disk", fmt.Sprintf("%s of %s free", disk.Free(free), disk.Free(total))})
	}
	if s.DiskBudgetBytes > 0 {
		f = append(f, fact{"disk budget", fmt.Sprintf("%s of %s used", size(s.DiskUsedBytes), size(s.DiskBudgetBytes))})
	}
	if s.DiskAlarm != "" {
		f = append(f, fact{"ALARM", s.DiskAlarm})
	}
	if s.Pruning != "" {
		f = append(f, fact{"keeps", s.Pruning})
	}
	if p := s.Upgrade; p != nil {
		text := fmt.Sprintf("%s: version %d from block %d on", p.Name, p.Version, p.Height)
		if p.Version > s.NewestVersion {
			text += fmt.Sprintf("; UPGRADE NEEDED: this program knows up to version %d and stops before that block", s.NewestVersion)
		}
		f = append(f, fact{"upgrade", text})
	}
	f = append(f, fact{"state machine", fmt.Sprintf("version %d; the program knows %d to %d", s.StateVersion, s.OldestVersion, s.NewestVersion)})
	return append(f, fact{"oldest block", s.OldestBlock}, fact{"oldest events", s.OldestRecord}, fact{"oldest state", s.OldestState},
		fact{"node id", s.NodeId}, fact{"validator", s.ValidatorAddress}, fact{"version", s.Version})
}

// door says how the node is reached. One without TLS is a node's in development, since no
// other has such a door.
func (a *app) door() string {
	if a.ca == "" && a.cert == "" && a.key == "" {
		return "INSECURE: loopback development mode; everybody on this machine may do what an administrator may"
	}
	return "mutual TLS"
}

func named(name, otherwise string) string {
	if name != "" {
		return name
	}
	return otherwise
}

// diskOf is the space where the home's data lies, if the home is that of a node.
func (a *app) diskOf(nodeID string) (free, total uint64, ok bool) {
	made, err := config.NodeID(a.homeDir())
	if err != nil || made != nodeID {
		return 0, 0, false
	}
	free, total, err = disk.Space(a.homeDir().Data())
	return free, total, err == nil
}

// expiry is the alarm of a certificate as a sentence.
func expiry(e *nodev1.CertificateExpiry) string {
	if e.AlarmDays == 0 {
		return fmt.Sprintf("ALARM: the certificate for %s %.16s… ended on %s; replace it now", e.Use, hex.EncodeToString(e.Fingerprint), time.UnixMilli(e.ExpiresAt).UTC().Format(time.RFC3339))
	}
	return fmt.Sprintf("ALARM: the certificate for %s %.16s… ends on %s, in less than %d days; replace it", e.Use, hex.EncodeToString(e.Fingerprint), time.UnixMilli(e.ExpiresAt).UTC().Format(time.RFC3339), e.AlarmDays)
}
