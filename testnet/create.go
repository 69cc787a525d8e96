//go:build unix

package testnet

import (
	"context"
	"crypto/rand"
	"encoding/base32"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/cometbft/cometbft/crypto/ed25519"
	"github.com/cometbft/cometbft/p2p"
	"github.com/cometbft/cometbft/privval"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/keys"
	"github.com/chancery/chancery/modules/identity/did"
	"github.com/chancery/chancery/modules/threat"
	"github.com/chancery/chancery/modules/threat/detector"
	"github.com/chancery/chancery/node"
	"github.com/chancery/chancery/node/config"
	"github.com/chancery/chancery/node/keyring"
	identityv1 "github.com/chancery/chancery/proto/chancery/identity/v1"
	threatv1 "github.com/chancery/chancery/proto/chancery/threat/v1"
)

const (
	// WorkFactor of the keyrings of a network: fast, and no protection. What the
	// keys are worth is said where the network is started.
	WorkFactor = 10

	// learning is how long the sentinel of a network only records its verdicts.
	learning = 24 * time.Hour

	// votingPower of each validator.
	votingPower = 10
)

// Sentinel is by what a new network judges transactions.
type Sentinel struct {
	// Detector is the canonical bytes of the active model; nil: there is none.
	Detector []byte
	// Params are the parameters of module threat; nil: its defaults, and verdicts are
	// carried out where there is a detector, after a time of learning.
	Params *threatv1.Params
	// Enforce carries verdicts out from the first block on, without a time of learning.
	// Of no account with Params.
	Enforce bool
}

// Shipped is the detector of this program, where it has one.
func Shipped(enforce bool) Sentinel {
	raw, _ := detector.Default()
	return Sentinel{Detector: raw, Enforce: enforce}
}

// genesis is the genesis state of module threat of a network made at a time; nil: there
// is nothing to say.
func (s Sentinel) genesis(at time.Time) *threatv1.Genesis {
	g := new(threatv1.Genesis)
	switch {
	case s.Detector != nil && s.Enforce:
		g = threat.NewGenesis(s.Detector, 0)
	case s.Detector != nil:
		g = threat.NewGenesis(s.Detector, at.Add(learning).UnixMilli())
	case s.Params == nil:
		return nil
	}
	if s.Params != nil {
		g.Params = s.Params
	}
	return g
}

// past is what happened on a chain before its network begins.
type past struct {
	// founded is when its members were registered, and now is when it ends and the
	// network begins.
	founded, now time.Time
	// live goes from the genesis state of the founding to that of now. Keyrings and record
	// are there by then.
	live func(context.Context, *Record, map[string]json.RawMessage) (json.RawMessage, error)
}

// Design is what a network is made by.
type Design struct {
	Validators int // 0: 4
	BasePort   int // the first of three ports for each validator; 0: any free ones
	By         Sentinel
	// Tree is where all validators hold their state: config.TreeMemory or config.TreeDisk. Empty: every
	// other one in memory and the rest on disk.
	Tree string

	past *past       // nil: none
	in   *Containers // nil: the nodes are to be processes
}

// treeOf is where the validator of an index holds its state. Both kinds, where nothing is said, so
// that every network also compares them: validators that differed in one root would not
// agree on another block.
func (as Design) treeOf(index int) string {
	switch {
	case as.Tree != "":
		return as.Tree
	case index%2 == 0:
		return config.TreeDisk
	}
	return config.TreeMemory
}

// forNew is a flag of the design that says nothing of a network that is there; empty: there is none.
func (as Design) forNew() string {
	switch {
	case as.By.Enforce:
		return "--enforce"
	case as.Tree != "":
		return "--tree"
	}
	return ""
}

// make creates the folder of a network. One that an earlier call left half made is
// emptied and made again: no node ever ran there.
func (d Dir) make(ctx context.Context, as Design) (*Record, error) {
	n, basePort := as.Validators, as.BasePort
	if n == 0 {
		n = len(slugs)
	}
	if n < 1 || n > MaxValidators {
		return nil, usagef("--validators %d: want 1 to %d", n, MaxValidators)
	}
	if as.Tree != "" && as.Tree != config.TreeMemory && as.Tree != config.TreeDisk {
		return nil, usagef("--tree %s: want %s or %s", as.Tree, config.TreeMemory, config.TreeDisk)
	}
	if err := d.claim(); err != nil {
		return nil, err
	}
	var r *Record
	err := d.locked(ctx, func() (err error) {
		if err := d.clean(); err != nil {
			return err
		}
		if basePort == 0 {
			if basePort, err = pickPorts(n); err != nil {
				return err
			}
		} else if err := portsFree(basePort, n); err != nil {
			return err
		}
		if r, err = d.fill(ctx, n, basePort, as); err != nil {
			return err
		}
		if err := d.save(r); err != nil {
			return err
		}
		return os.Remove(d.makingFile())
	})
	return r, err
}

// claim makes the folder and marks it as being made. It refuses one that holds
// something else.
func (d Dir) claim() error {
	if err := os.MkdirAll(string(d), 0o700); err != nil {
		return fmt.Errorf("make the network's folder: %w", err)
	}
	entries, err := os.ReadDir(string(d))
	if err != nil {
		return fmt.Errorf("look into the network's folder: %w", err)
	}
	if _, err := os.Stat(d.makingFile()); err == nil {
		return nil
	}
	if len(entries) > 0 {
		return fmt.Errorf("%s is not empty and holds no network; name another folder with --dir, or empty it", d)
	}
	return os.WriteFile(d.makingFile(), []byte("A network is being made here. If no program is at it any more, 'chancery testnet start' does it again.\n"), 0o600)
}

// clean removes what an interrupted call made.
func (d Dir) clean() error {
	entries, err := os.ReadDir(string(d))
	if err != nil {
		return fmt.Errorf("look into the network's folder: %w", err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), "validator-") || slices.Contains([]string{"passphrase", "receipts", "tls", "compose.yaml"}, e.Name()) {
			if err := os.RemoveAll(d.path(e.Name())); err != nil {
				return fmt.Errorf("remove what an interrupted start left: %w", err)
			}
		}
	}
	return nil
}

// fill makes passphrase, homes, keys and genesis.
func (d Dir) fill(ctx context.Context, n, basePort int, as Design) (*Record, error) {
	passphrase := make([]byte, 15)
	rand.Read(passphrase) // never fails: it ends the process instead
	if err := os.WriteFile(d.PassphraseFile(), []byte(base32ID(passphrase)+"\n"), 0o600); err != nil {
		return nil, fmt.Errorf("write the passphrase: %w", err)
	}
	at := time.Now().UTC().Truncate(time.Millisecond)
	if as.past != nil {
		at = as.past.founded
	}
	r := &Record{
		Version: recordVersion, BasePort: basePort,
		ChainID: "testnet-" + strings.ToLower(rand.Text()[:8]),
	}
	if in := as.in; in != nil {
		r.Containers = &Containers{Project: strings.Replace(r.ChainID, "testnet-", "chancery-", 1), Image: in.Image}
		if in.Project != "" {
			r.Containers.Project = in.Project
		}
	}
	founding := &founding{at: at, chainID: r.ChainID, genesis: new(identityv1.Genesis)}
	for i := range n {
		v := Validator{Index: i, Organisation: organisationOf(i), Home: fmt.Sprintf("validator-%d", i)}
		home := d.Home(v)
		if err := home.Create(); err != nil {
			return nil, err
		}
		if err := founding.member(d, &v); err != nil {
			return nil, fmt.Errorf("%s: %w", v.Organisation, err)
		}
		r.Validators = append(r.Validators, v)
	}
	r.assign(basePort)
	founding.consortium(n)
	if r.Containers != nil {
		if err := d.certify(r, founding); err != nil {
			return nil, err
		}
	}
	if err := founding.write(ctx, d, r, as); err != nil {
		return nil, err
	}
	if r.Containers != nil {
		raw, err := r.compose().file()
		if err != nil {
			return nil, err
		}
		if err := os.WriteFile(d.ComposeFile(), raw, 0o600); err != nil {
			return nil, fmt.Errorf("write the compose file: %w", err)
		}
	}
	for _, v := range r.Validators {
		c := config.Default()
		c.Node.Moniker = slugOf(v.Index)
		// Networks for trying out are started again and again, and their homes copied by tests
		// alone, which set it.
		c.Signer.WatchBlocks = 0
		c.State.Tree = as.treeOf(v.Index)
		if err := config.Write(d.Home(v), r.configure(c, v)); err != nil {
			return nil, fmt.Errorf("%s: %w", v.Home, err)
		}
	}
	if err := os.Mkdir(d.Receipts(), 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("make the folder of receipts: %w", err)
	}
	return r, nil
}

// configure sets a validator's addresses and peers.
func (r *Record) configure(c config.Config, v Validator) config.Config {
	c.RPC.Listen, c.P2P.Listen, c.Telemetry.Listen = v.RPC, v.P2P, v.Telemetry
	c.RPC.Development = r.Containers == nil
	if r.Containers != nil {
		// A container's own address is not known before it starts.
		c.RPC.Listen, c.P2P.Listen = net.JoinHostPort("0.0.0.0", apiPort), net.JoinHostPort("0.0.0.0", peerPort)
		c.RPC.TLSCert, c.RPC.TLSKey = serverCert, serverKey
		c.Node.MemoryLimit = nodeGarbage
		// A container may have the address that another had a moment ago, whose connection is
		// not known to be dead yet. Peers are told apart by their keys.
		c.P2P.AllowDuplicateIP = true
	}
	c.P2P.PersistentPeers = nil
	for _, o := range r.Validators {
		if o.Index != v.Index {
			c.P2P.PersistentPeers = append(c.P2P.PersistentPeers, o.NodeID+"@"+o.P2P)
		}
	}
	return c
}

// founding gathers the genesis state of identity.
type founding struct {
	at      time.Time
	chainID string
	genesis *identityv1.Genesis
}

// standing is how long before the first block the members' records say that they were
// made. A network's members are no newcomers: somebody with a key of the same hour who
// changes policies is held by rules that every detector is built with.
const standing = 90 * 24 * time.Hour

func (f *founding) mark() *identityv1.Mark {
	return &identityv1.Mark{At: f.at.Add(-standing).UnixMilli(), Version: 1}
}

// member makes the keys of a member and registers it: two administrators, a
// registrar, its validator and its node.
func (f *founding) member(d Dir, v *Validator) error {
	home := d.Home(*v)
	organisation := &identityv1.Identity{
		Did: v.Organisation, Kind: identityv1.Kind_KIND_ORGANISATION, Organisation: v.Organisation,
		Status: identityv1.Status_STATUS_ACTIVE, Threshold: administratorsNeeded(v.Index),
		Version: 1, Created: f.mark(), Updated: f.mark(),
	}
	ring, err := OpenKeyring(d, home)
	if err != nil {
		return err
	}
	for _, name := range []string{"admin-1", "admin-2"} {
		administrator, err := f.actor(ring, name, v.Organisation, NewPersonID(), identityv1.Kind_KIND_PERSON)
		if err != nil {
			return err
		}
		organisation.Controllers = append(organisation.Controllers, administrator)
	}
	slices.Sort(organisation.Controllers)
	registrar, err := f.actor(ring, "registrar", v.Organisation, "registrar", identityv1.Kind_KIND_SERVICE)
	if err != nil {
		return err
	}
	f.genesis.Identities = append(f.genesis.Identities, organisation)
	f.genesis.Roles = append(f.genesis.Roles, &identityv1.RoleGrants{
		Did:    registrar,
		Grants: []*identityv1.RoleGrant{{Role: "registrar", Granted: f.mark()}},
	})

	// The validator's key and what it signed last are written together.
	signer := privval.GenFilePV(home.ValidatorKeyFile(), home.ValidatorStateFile())
	signer.Save()
	public, err := signer.GetPubKey()
	if err != nil {
		return fmt.Errorf("make the validator's key: %w", err)
	}
	consensus, ok := public.(ed25519.PubKey)
	if !ok {
		return fmt.Errorf("make the validator's key: it is of type %T", public)
	}
	f.genesis.Validators = append(f.genesis.Validators, &identityv1.Validator{
		PublicKey: consensus.Bytes(), Power: votingPower, Organisation: v.Organisation, Moniker: slugOf(v.Index), Bound: f.mark(),
	})
	peer, err := p2p.LoadOrGenNodeKey(home.NodeKeyFile())
	if err != nil {
		return fmt.Errorf("make the node's key: %w", err)
	}
	v.NodeID = string(peer.ID())
	f.genesis.Nodes = append(f.genesis.Nodes, &identityv1.Node{Id: v.NodeID, Organisation: v.Organisation, Bound: f.mark()})
	return nil
}

// actor makes a key in the keyring and registers a DID that signs with it.
func (f *founding) actor(ring *keyring.Keyring, name, organisation, id string, kind identityv1.Kind) (string, error) {
	who := organisation + ":" + id
	entry, err := ring.Create(name, keys.Ed25519)
	if err != nil {
		return "", err
	}
	if err := ring.Bind(name, who, did.URL(who, firstKey)); err != nil {
		return "", err
	}
	f.genesis.Identities = append(f.genesis.Identities, &identityv1.Identity{
		Did: who, Kind: kind, Organisation: organisation, Status: identityv1.Status_STATUS_ACTIVE,
		Keys: []string{firstKey}, Version: 1, Created: f.mark(), Updated: f.mark(),
	})
	f.genesis.Keys = append(f.genesis.Keys, &identityv1.Key{
		Did: who, Id: firstKey, Type: identityv1.KeyType(entry.Public.Type), Public: entry.Public.Bytes,
		Purposes: []identityv1.Purpose{identityv1.Purpose_PURPOSE_AUTHENTICATION, identityv1.Purpose_PURPOSE_ASSERTION},
		Added:    f.mark(),
	})
	return who, nil
}

// firstKey is the id of everybody's first key.
const firstKey = "key-1"

func (f *founding) consortium(n int) {
	c := &identityv1.Identity{
		Did: did.Consortium, Kind: identityv1.Kind_KIND_CONSORTIUM, Organisation: did.Consortium,
		Status: identityv1.Status_STATUS_ACTIVE, Threshold: consortiumNeeded(n),
		Version: 1, Created: f.mark(), Updated: f.mark(),
	}
	for i := range n {
		c.Controllers = append(c.Controllers, organisationOf(i))
	}
	slices.Sort(c.Controllers)
	f.genesis.Identities = append(f.genesis.Identities, c)
}

// write puts the genesis file into every home.
func (f *founding) write(ctx context.Context, d Dir, r *Record, as Design) error {
	section, err := chain.WriteGenesis(f.genesis)
	if err != nil {
		return fmt.Errorf("write the genesis state: %w", err)
	}
	sections := map[string]json.RawMessage{"identity": section}
	if g := as.By.genesis(f.at); g != nil {
		if sections["threat"], err = chain.WriteGenesis(g); err != nil {
			return fmt.Errorf("write the genesis state: %w", err)
		}
	}
	begins := f.at
	var state json.RawMessage
	if as.past == nil {
		state, err = json.Marshal(sections)
	} else {
		begins = as.past.now
		if state, err = as.past.live(ctx, r, sections); err != nil {
			return err
		}
	}
	if err != nil {
		return fmt.Errorf("write the genesis state: %w", err)
	}
	doc, err := node.NewGenesis(r.ChainID, begins, state)
	if err != nil {
		return fmt.Errorf("make the genesis file: %w", err)
	}
	for _, v := range r.Validators {
		if err := config.WriteGenesis(d.Home(v).GenesisFile(), doc); err != nil {
			return fmt.Errorf("write the genesis file: %w", err)
		}
	}
	return nil
}

// OpenKeyring opens the keyring of one of the network's homes with the network's
// passphrase.
func OpenKeyring(d Dir, home config.Home) (*keyring.Keyring, error) {
	raw, err := os.ReadFile(d.PassphraseFile())
	if err != nil {
		return nil, fmt.Errorf("read the network's passphrase: %w", err)
	}
	return keyring.Open(home.Keyring(), keyring.Static(strings.TrimSpace(string(raw))), keyring.WorkFactor(WorkFactor))
}

// NewPersonID is a random id of a person: 26 characters of base32.
func NewPersonID() string {
	raw := make([]byte, 16)
	rand.Read(raw) // never fails: it ends the process instead
	return base32ID(raw)
}

func base32ID(raw []byte) string {
	return strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(raw))
}
