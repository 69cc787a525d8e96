package cli

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/cometbft/cometbft/types"
	"github.com/spf13/cobra"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/chancery/chancery/modules/identity/did"
	"github.com/chancery/chancery/node"
	"github.com/chancery/chancery/node/client"
	"github.com/chancery/chancery/node/config"
	identityv1 "github.com/chancery/chancery/proto/chancery/identity/v1"
	nodev1 "github.com/chancery/chancery/proto/chancery/node/v1"
	txv1 "github.com/chancery/chancery/proto/chancery/tx/v1"
)

// joining is what 'chancery join' is told.
type joining struct {
	*app

	genesis, moniker, organisation string
	members, peers                 []string
	height                         int64
	hash                           string
	period                         time.Duration
	power                          int64
	set                            []string
}

func (a *app) joinCommand() *cobra.Command {
	j := &joining{app: a}
	c := &cobra.Command{
		Use:   "join",
		Short: "Join a consortium with a new node, step by step",
		Long: lines(
			"Makes the home of a node that begins with a snapshot of its peers' state, instead of every",
			"block since the first, and says what the consortium has to decide. It asks the members'",
			"nodes for the header of one height and compares their answers; or give the height and the",
			"hash that you have from elsewhere with --trust-height and --trust-hash.",
			"",
			"Run it again to begin with a newer header, as long as the node has no state. The steps:",
			"  requested   the home is made; an organisation must bind the node on the chain",
			"  admitted    the node is bound; start it",
			"  syncing     it restores a snapshot",
			"  following   it has the state and follows the blocks",
			"  validating  the consortium has bound its validator key",
			"chancery join status says which one it is at, and what is next.",
		),
		Example: examples(
			"chancery join --genesis genesis.json --organisation did:chancery:quay --moniker quay-1 \\\n    --members mercy.example:9090,acme.example:9090 --peers 0123456789abcdef0123456789abcdef01234567@mercy.example:26656",
			"chancery join status",
		),
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := a.within(cmd)
			defer cancel()
			return j.run(ctx)
		},
	}
	f := c.Flags()
	f.StringVar(&j.genesis, "genesis", "", "the consortium's genesis file")
	f.StringVar(&j.organisation, "organisation", "", "DID of the organisation that the node is of")
	f.StringVar(&j.moniker, "moniker", "", "the node's name for people")
	f.StringSliceVar(&j.members, "members", nil, "HOST:PORT of the gRPC doors of two members' nodes or more, with commas between them")
	f.StringSliceVar(&j.peers, "peers", nil, "the nodes to connect to, as NODEID@HOST:PORT, with commas between them")
	f.Int64Var(&j.height, "trust-height", 0, "height of a header that you trust; 0: one that all members named agree on")
	f.StringVar(&j.hash, "trust-hash", "", "its hash, 64 hexadecimal digits")
	f.DurationVar(&j.period, "trust-period", config.Default().Sync.TrustPeriod.Std(), "how old that header may be when the node starts")
	f.Int64Var(&j.power, "power", 10, "voting power to propose for the validator")
	setFlag(c, &j.set)
	c.AddCommand(a.joinStatus())
	return c
}

func (j *joining) run(ctx context.Context) error {
	if j.genesis == "" || j.organisation == "" || len(j.members) < 2 || len(j.peers) == 0 {
		return usagef("name --genesis, --organisation, at least two --members, and --peers; see chancery join --help")
	}
	if (j.height == 0) != (j.hash == "") || j.height < 0 {
		return usagef("--trust-height and --trust-hash go together")
	}
	if d, err := did.Parse(j.organisation); err != nil || !d.IsOrganisation() {
		return usagef("--organisation is %q; write did:chancery:SLUG", j.organisation)
	}
	genesis, raw, err := config.ReadGenesis(j.genesis)
	if err != nil {
		return errFile.Wrap(err)
	}
	if err := node.CheckGenesis(genesis); err != nil {
		return errFile.Wrap(err)
	}
	c, again, err := j.begun(raw)
	if err != nil {
		return err
	}
	header, err := j.trusted(ctx, genesis)
	if err != nil {
		return err
	}
	if j.moniker != "" {
		c.Node.Moniker = j.moniker
	}
	c.P2P.PersistentPeers = j.peers
	c.Sync = config.Sync{
		Servers: j.members, TrustHeight: header.Height, TrustHash: header.Hash().String(), TrustPeriod: config.Duration(j.period),
	}
	for _, f := range []struct {
		from string
		to   *string
	}{{j.ca, &c.Sync.TLSCA}, {j.cert, &c.Sync.TLSCert}, {j.key, &c.Sync.TLSKey}} {
		if f.from == "" {
			continue
		}
		if *f.to, err = filepath.Abs(f.from); err != nil {
			return errFile.Wrap(err)
		}
	}
	given, err := config.Flags("--set", j.set)
	if err == nil {
		c, err = c.With(given...)
	}
	if err != nil {
		return usagef("%v", err)
	}
	var keys config.NodeKeys
	if again {
		if keys, err = j.homeDir().Keys(); err != nil {
			return errHome.Wrap(err)
		}
		if err := config.Write(j.homeDir(), c); err != nil {
			return errHome.Wrap(err)
		}
	} else if keys, err = j.makeHome(c, raw); err != nil {
		return err
	}
	proposal, err := j.proposal(keys, c.Node.Moniker)
	if err != nil {
		return err
	}
	return j.print(facts{
		{"home", j.home}, {"step", stepRequested}, {"moniker", c.Node.Moniker}, {"node id", keys.NodeID},
		{"validator address", keys.ValidatorAddress}, {"validator key base64", base64.StdEncoding.EncodeToString(keys.Validator)},
		{"trusted height", header.Height}, {"trusted hash", header.Hash().String()},
		{"trusted time", moment(header.Time.UnixMilli())}, {"trusted by", j.members},
		{"validator proposal", proposal},
		{"next", []string{
			"Compare the trusted hash with a person of another member: all that the node believes rests on it and on the genesis file.",
			fmt.Sprintf("If %s is not on the chain yet, have the consortium register it (identity register-organisation); its keys: chancery keys new-key --help.", j.organisation),
			fmt.Sprintf("Bind the node, as %s: chancery tx identity bind-node --from YOUR-KEY --node %s --json '{\"node_id\": %q}'", j.organisation, j.members[0], keys.NodeID),
			"Give the door a certificate, at rpc.tls_cert and rpc.tls_key (chancery certs issue; chancery join --set writes the keys).",
			fmt.Sprintf("Start the node: chancery start --home %s; and watch: chancery join status --home %[1]s", j.home),
			fmt.Sprintf("When it follows, have the members vote on %s: chancery gov propose --file %[1]s --title 'Bind a validator of %s' --rationale WHY.pdf --from A-MEMBER'S-KEY", proposal, j.organisation),
		}},
	})
}

// begun is the configuration to write, and whether there is a home already: one that has
// no state yet, and this genesis.
func (j *joining) begun(genesis []byte) (c config.Config, again bool, err error) {
	h := j.homeDir()
	if _, err := os.Stat(h.ConfigFile()); errors.Is(err, fs.ErrNotExist) {
		return config.Default(), false, nil
	}
	if c, err = config.Load(h); err != nil {
		return c, false, errHome.Wrap(err)
	}
	entries, err := os.ReadDir(h.Data())
	if err != nil {
		return c, false, errHome.Wrap(err)
	}
	_, err = os.Stat(h.RestoringFile())
	for _, e := range entries {
		if e.IsDir() && errors.Is(err, fs.ErrNotExist) {
			return c, false, sentence(errHome, "the node of %s has a state already; see chancery join status, or begin again with chancery reset", j.home)
		}
	}
	known, err := os.ReadFile(h.GenesisFile())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return c, false, errHome.Wrap(err)
	}
	if known == nil {
		return c, true, create(h.GenesisFile(), genesis, 0o644)
	}
	if !bytes.Equal(known, genesis) {
		return c, false, sentence(errHome, "%s has another genesis file than %s", j.home, j.genesis)
	}
	return c, true, nil
}

// trusted is the header to begin with, on which every member named agrees.
func (j *joining) trusted(ctx context.Context, genesis *types.GenesisDoc) (*types.SignedHeader, error) {
	height := j.height
	clients := make([]*client.Client, len(j.members))
	for i, m := range j.members {
		c, err := j.dialTo(ctx, m, client.ChainID(genesis.ChainID))
		if err != nil {
			return nil, err
		}
		defer c.Close()
		clients[i] = c
		if j.height != 0 {
			continue
		}
		s, err := c.Status(ctx)
		if err != nil {
			return nil, err
		}
		if height == 0 || s.Height < height {
			height = s.Height
		}
	}
	var first *types.SignedHeader
	for i, c := range clients {
		b, err := node.AskLightBlock(ctx, c, height)
		if err != nil {
			return nil, err
		}
		if err := b.ValidateBasic(genesis.ChainID); err != nil || b.Height != height {
			return nil, sentence(errDiffers, "%s gives no header of height %d in form: %v", j.members[i], height, err)
		}
		if j.hash != "" && !strings.EqualFold(j.hash, b.Hash().String()) {
			return nil, sentence(errDiffers, "%s has the hash %s at height %d, and you trust %s: do not join before you know why", j.members[i], b.Hash(), height, j.hash)
		}
		if first == nil {
			first = b.SignedHeader
		} else if !bytes.Equal(first.Hash(), b.Hash()) {
			return nil, sentence(errDiffers, "at height %d, %s has the hash %s and %s has %s: one of them lies or is on another chain; do not join before you know which", height, j.members[0], first.Hash(), j.members[i], b.Hash())
		}
	}
	if age := time.Since(first.Time); age > j.period {
		return nil, sentence(errDiffers, "the header of height %d is %s old, more than --trust-period: take a newer one", height, age.Round(time.Minute))
	}
	return first, nil
}

// proposal writes the messages by which the consortium makes the node a validator, as
// 'chancery gov propose' reads them, and returns where.
func (j *joining) proposal(keys config.NodeKeys, moniker string) (string, error) {
	raw, err := protojson.Marshal(&txv1.Message{Sum: &txv1.Message_BindValidator{BindValidator: &identityv1.BindValidator{
		PublicKey: keys.Validator, Power: j.power, Organisation: j.organisation, Moniker: moniker,
	}}})
	if err != nil {
		return "", err
	}
	path := filepath.Join(filepath.Dir(j.homeDir().ConfigFile()), "bind-validator.json")
	if err := os.WriteFile(path, fmt.Appendf(nil, "[%s]\n", raw), 0o600); err != nil {
		return "", errNotSaved.Wrap(err)
	}
	return path, nil
}

// The steps of joining.
const (
	stepRequested  = "requested"
	stepAdmitted   = "admitted"
	stepSyncing    = "syncing"
	stepFollowing  = "following"
	stepValidating = "validating"
)

// standing is how far a node has come.
type standing struct {
	step         string
	organisation string // that bound the node
	power        int64
	own          *nodev1.StatusResponse // nil: the node does not answer
	next         string
}

func (a *app) joinStatus() *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Say how far a node has come in joining, and what is next",
		Long: lines(
			"Asks the members' nodes of the home's configuration what the chain says of this node, and",
			"the node itself how it is.",
		),
		Example: examples("chancery join status --home /var/lib/chancery", "chancery join status --output json"),
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := a.within(cmd)
			defer cancel()
			h := a.homeDir()
			c, err := config.Load(h)
			if err != nil {
				return errHome.Wrap(err)
			}
			if !c.Sync.Enabled() {
				return sentence(errHome, "%s was not made by chancery join: its configuration names no sync.servers", a.home)
			}
			keys, err := c.Keys(h)
			if err != nil {
				return errHome.Wrap(err)
			}
			s, err := a.standing(ctx, c, keys)
			if err != nil {
				return err
			}
			out := facts{{"home", a.home}, {"step", s.step}, {"organisation", s.organisation}, {"node id", keys.NodeID}, {"voting power", s.power}}
			if s.own != nil {
				out = append(out, facts{{"height", s.own.Height}, {"catching up", s.own.CatchingUp}, {"health", s.own.Reason}}...)
			}
			return a.print(append(out, facts{{"next", s.next}}...))
		},
	}
}

// standing asks the chain and the node.
func (a *app) standing(ctx context.Context, c config.Config, keys config.NodeKeys) (standing, error) {
	members, err := a.dialMembers(ctx, c.Sync)
	if err != nil {
		return standing{}, err
	}
	defer members.Close()
	var s standing
	query := identityv1.NewQueryClient(members.Conn())
	for token := []byte(nil); ; {
		page, err := query.Nodes(ctx, &identityv1.NodesRequest{Limit: 500, PageToken: token})
		if err != nil {
			return s, err
		}
		for _, n := range page.Nodes {
			if n.Id == keys.NodeID {
				s.organisation = n.Organisation
			}
		}
		if token = page.NextPageToken; len(token) == 0 {
			break
		}
	}
	for token := []byte(nil); ; {
		page, err := query.Validators(ctx, &identityv1.ValidatorsRequest{Limit: 500, PageToken: token})
		if err != nil {
			return s, err
		}
		for _, v := range page.Validators {
			if bytes.Equal(v.PublicKey, keys.Validator) {
				s.power = v.Power
			}
		}
		if token = page.NextPageToken; len(token) == 0 {
			break
		}
	}
	if c.RPC.Listen != "" {
		if own, err := a.dialTo(ctx, c.RPC.Listen); err == nil {
			defer own.Close()
			if s.own, err = own.Status(ctx); err != nil {
				s.own = nil
			}
		} else if errors.Is(err, client.ErrWrongChain) {
			return s, err
		}
	}
	switch {
	case s.organisation == "":
		s.step, s.next = stepRequested, fmt.Sprintf("have the organisation bind the node: chancery tx identity bind-node --json '{\"node_id\": %q}'", keys.NodeID)
	case s.own == nil:
		s.step, s.next = stepAdmitted, fmt.Sprintf("start the node, or look why it does not answer at %s: chancery start --home %s", c.RPC.Listen, a.home)
	case s.own.Height == 0:
		s.step, s.next = stepSyncing, "wait: "+s.own.Reason
	case s.own.CatchingUp:
		s.step, s.next = stepFollowing, "wait until the node has the latest block"
	case s.power == 0:
		s.step, s.next = stepFollowing, fmt.Sprintf("have the members vote on %s", filepath.Join(filepath.Dir(a.homeDir().ConfigFile()), "bind-validator.json"))
	default:
		s.step, s.next = stepValidating, "nothing: the node takes part in every block"
	}
	return s, nil
}

// dialMembers connects to the members' nodes of a configuration.
func (a *app) dialMembers(ctx context.Context, s config.Sync) (*client.Client, error) {
	for _, f := range []struct {
		flag *string
		file string
	}{{&a.ca, s.TLSCA}, {&a.cert, s.TLSCert}, {&a.key, s.TLSKey}} {
		if *f.flag == "" && f.file != "" {
			*f.flag = a.homeDir().Resolve(f.file)
		}
	}
	return a.dialTo(ctx, strings.Join(s.Servers, ","))
}
