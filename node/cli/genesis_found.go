package cli

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/cometbft/cometbft/types"
	"github.com/spf13/cobra"

	"github.com/chancery/chancery/modules/identity"
	"github.com/chancery/chancery/modules/identity/did"
	"github.com/chancery/chancery/modules/threat/detector"
	"github.com/chancery/chancery/node"
	"github.com/chancery/chancery/node/config"
	"github.com/chancery/chancery/node/founding"
	"github.com/chancery/chancery/node/keyring"
	identityv1 "github.com/chancery/chancery/proto/chancery/identity/v1"
)

// defaultLearning is for how long the sentinel of a new chain only records.
const defaultLearning = 30 * 24 * time.Hour

// founder is what 'chancery genesis part' is told.
type founder struct {
	*app

	chainID, organisation, address, out string
	administrators, authorities         []string
	threshold                           uint32
	power                               int64
}

func (a *app) genesisPart() *cobra.Command {
	p := &founder{app: a}
	c := &cobra.Command{
		Use:   "part",
		Short: "Write what this organisation gives the others for a new genesis file",
		Long: lines(
			"Writes this node's part of a new consortium's genesis file: its node id and the address at",
			"which the others reach it, its validator key, and the organisation with its administrators'",
			"keys and the authorities of its clients' certificates. Nothing in it is secret. Give it to",
			"every founding organisation; each of them assembles the genesis file by itself.",
			"",
			"--administrator names a key of the keyring. Its holder becomes a person of the organisation",
			"with a random id, to which the key is bound; each key proves for this one chain that it is",
			"held. On a further machine of the same organisation, leave --administrator out.",
		),
		Example: examples(
			"chancery genesis part --chain-id records-1 --organisation did:chancery:mercy --administrator admin-1 \\\n    --authority mercy-ca.der --address mercy.example:26656 --out mercy.part.json",
			"chancery genesis part --chain-id records-1 --organisation did:chancery:mercy --address mercy-2.example:26656 --out mercy-2.part.json",
		),
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return p.run() },
	}
	f := c.Flags()
	f.StringVar(&p.chainID, "chain-id", "", "the name of the new chain, on which all agree")
	f.StringVar(&p.organisation, "organisation", "", "DID of the organisation that the node is of")
	f.StringVar(&p.address, "address", "", "HOST:PORT at which the other nodes reach this one")
	f.StringArrayVar(&p.administrators, "administrator", nil, "key of an administrator; may be given again")
	f.Uint32Var(&p.threshold, "threshold", 1, "how many administrators act for the organisation together")
	f.StringArrayVar(&p.authorities, "authority", nil, "certificate of an authority that signs its clients' certificates, DER; may be given again")
	f.Int64Var(&p.power, "power", 10, "voting power of the validator")
	f.StringVar(&p.out, "out", "", "file to write, which must not exist")
	require(c, "chain-id", "organisation", "address", "out")
	return c
}

func (p *founder) run() error {
	if d, err := did.Parse(p.organisation); err != nil || !d.IsOrganisation() {
		return usagef("--organisation is %q; write did:chancery:SLUG", p.organisation)
	}
	if len(p.administrators) == 0 && len(p.authorities) > 0 {
		return usagef("--authority goes with --administrator, into the part that registers the organisation")
	}
	if _, err := os.Lstat(p.out); err == nil {
		return sentence(errNotSaved, "%s exists already; name another file or remove it", p.out)
	}
	c, err := config.Load(p.homeDir())
	if err != nil {
		return errHome.Wrap(err)
	}
	keys, err := p.homeDir().Keys()
	if err != nil {
		return errHome.Wrap(err)
	}
	part := &founding.Part{
		ChainID: p.chainID, Address: p.address,
		Validator: &identityv1.BindValidator{PublicKey: keys.Validator, Power: p.power, Organisation: p.organisation, Moniker: c.Node.Moniker},
		Node:      &identityv1.BindNode{NodeId: keys.NodeID},
	}
	if len(p.administrators) > 0 {
		if err := p.register(part); err != nil {
			return err
		}
	}
	raw, err := part.Bytes()
	if err != nil {
		return errNotSaved.Wrap(err)
	}
	// What the others would refuse is refused here.
	if _, err := founding.Parse(raw); err != nil {
		return usagef("the part would not be usable: %v", err)
	}
	if err := create(p.out, raw, 0o644); err != nil {
		return err
	}
	sum := sha256.Sum256(raw)
	return p.print(facts{
		{"part", p.out}, {"sha256", digits(sum[:])}, {"organisation", p.organisation}, {"administrators", names(part.Organisation)},
		{"node", part.Peer()}, {"validator key", digits(keys.Validator)}, {"voting power", p.power},
	})
}

// names are the DIDs of an organisation's administrators.
func names(o *identityv1.RegisterOrganisation) []string {
	out := []string{}
	for _, a := range o.GetAdministrators() {
		out = append(out, a.Did)
	}
	return out
}

// register adds the organisation to its part.
func (p *founder) register(part *founding.Part) error {
	k, err := p.openKeyring()
	if err != nil {
		return keyFault(err)
	}
	part.Organisation = &identityv1.RegisterOrganisation{Did: p.organisation, Threshold: p.threshold}
	for _, name := range p.administrators {
		a, err := p.administrator(k, name)
		if err != nil {
			return keyFault(err)
		}
		part.Organisation.Administrators = append(part.Organisation.Administrators, a)
	}
	if len(p.authorities) == 0 {
		return nil
	}
	part.Authorities = new(identityv1.SetAuthorities)
	for _, path := range p.authorities {
		der, err := p.read(path)
		if err != nil {
			return err
		}
		if _, err := identity.NewAuthority(der); err != nil {
			return sentence(errFile, "%s: %v; chancery certs ca writes one as OUT.der", path, err)
		}
		part.Authorities.Certificates = append(part.Authorities.Certificates, der)
	}
	return nil
}

// administrator is a person of the organisation who holds a key of the keyring. A key
// that is bound to one already stays so.
func (p *founder) administrator(k *keyring.Keyring, name string) (*identityv1.NewIdentity, error) {
	const keyID = "key-1"
	e, err := k.Lookup(name)
	if err != nil {
		return nil, err
	}
	who, id, _ := strings.Cut(e.KeyURL, "#")
	switch {
	case e.KeyURL == "":
		raw := make([]byte, 16)
		rand.Read(raw) // never fails: it ends the process instead
		who, id = p.organisation+":"+strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(raw)), keyID
	case !strings.HasPrefix(who, p.organisation+":"):
		return nil, sentence(errKey, "the key %s is bound to %s, which is nobody of %s; use another key, or end the binding: chancery keys bind %[1]s ''", name, e.KeyURL, p.organisation)
	}
	s, err := k.Signer(name)
	if err != nil {
		return nil, err
	}
	key, err := identity.Possess(p.chainID, who, id, s, identityv1.Purpose_PURPOSE_AUTHENTICATION, identityv1.Purpose_PURPOSE_ASSERTION)
	if err != nil {
		return nil, err
	}
	if e.KeyURL == "" {
		if err := k.Bind(name, who, did.URL(who, id)); err != nil {
			return nil, err
		}
	}
	return &identityv1.NewIdentity{Did: who, Kind: identityv1.Kind_KIND_PERSON, Keys: []*identityv1.NewKey{key}}, nil
}

func (a *app) genesisAssemble() *cobra.Command {
	var chainID, at, out string
	var threshold uint32
	var learning time.Duration
	var unjudged bool
	c := &cobra.Command{
		Use:   "assemble PART…",
		Short: "Make the genesis file of a new consortium from its organisations' parts",
		Long: lines(
			"Makes the genesis file from the parts of all founding organisations, after it verified every",
			"key's proof. The bytes depend on the parts and the flags alone, not on their order: every",
			"organisation runs it by itself, and persons who know each other compare the hash by voice.",
			"Where the hashes agree, all have the same members, keys and rules.",
			"",
			"The detector of this program judges transactions from the first block on. For the time of",
			"--learning its verdicts are recorded and not carried out. All must run the same version.",
		),
		Example: examples(
			"chancery genesis assemble --chain-id records-1 --time 2027-01-15T09:00:00Z --out genesis.json \\\n    mercy.part.json northside.part.json harbour.part.json",
		),
		Args: cobra.MinimumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			if _, err := os.Lstat(out); err == nil {
				return sentence(errNotSaved, "%s exists already; name another file or remove it", out)
			}
			begins, err := time.Parse(time.RFC3339, at)
			if err != nil {
				return usagef("--time is %q; write it like 2027-01-15T09:00:00Z", at)
			}
			if learning < 0 {
				return usagef("--learning is %v; it may not be negative", learning)
			}
			charter := founding.Charter{ChainID: chainID, Begins: begins.UTC(), Threshold: threshold, Learning: learning}
			if !unjudged {
				raw, shipped := detector.Default()
				if !shipped {
					return usagef("this program ships no detector; add --no-detector")
				}
				charter.Detector = raw
			}
			parts, err := a.parts(args)
			if err != nil {
				return err
			}
			doc, err := founding.Assemble(charter, parts)
			if err != nil {
				return sentence(errFile, "no genesis file comes of these parts: %v", err)
			}
			if err := config.WriteGenesis(out, doc); err != nil {
				return errNotSaved.Wrap(err)
			}
			return a.printAssembled(out, parts)
		},
	}
	f := c.Flags()
	f.StringVar(&chainID, "chain-id", "", "the name of the new chain, on which all agree")
	f.StringVar(&at, "time", "", "when the chain begins, RFC 3339; no node makes a block before")
	f.StringVar(&out, "out", "", "file to write, which must not exist")
	f.Uint32Var(&threshold, "threshold", 0, "how many organisations act for the consortium together; 0: more than two thirds")
	f.DurationVar(&learning, "learning", defaultLearning, "how long verdicts of the detector are recorded and not carried out")
	f.BoolVar(&unjudged, "no-detector", false, "begin without a model that judges transactions")
	require(c, "chain-id", "time", "out")
	return c
}

// parts reads the parts of a genesis file.
func (a *app) parts(paths []string) ([]*founding.Part, error) {
	var out []*founding.Part
	for _, path := range paths {
		raw, err := a.read(path)
		if err != nil {
			return nil, err
		}
		p, err := founding.Parse(raw)
		if err != nil {
			return nil, sentence(errFile, "%s: %v", path, err)
		}
		out = append(out, p)
	}
	return out, nil
}

func (a *app) printAssembled(path string, parts []*founding.Part) error {
	_, g, raw, err := a.genesisBytes([]string{path})
	if err != nil {
		return err
	}
	var who, peers []string
	for _, s := range founding.Shares(parts) {
		without := "the others go on without it"
		if !s.Dispensable {
			without = "the chain stands still without it"
		}
		administrators, needed := 0, uint32(0)
		for _, p := range parts {
			if p.Organisation.GetDid() == s.Organisation {
				administrators, needed = len(p.Organisation.Administrators), p.Organisation.Threshold
			}
		}
		who = append(who, fmt.Sprintf("%s: %d of %d administrators, %d validators, power %d; %s", s.Organisation, needed, administrators, s.Validators, s.Power, without))
	}
	for _, p := range parts {
		peers = append(peers, p.Peer())
	}
	slices.Sort(peers)
	sum := sha256.Sum256(raw)
	return a.print(append(genesisFacts(path, g, raw), facts{{"by voice", spoken(sum[:])}, {"organisations", who}, {"nodes", peers}}...))
}

// spoken is a hash in groups that people can read to each other.
func spoken(sum []byte) string {
	var groups []string
	for text := hex.EncodeToString(sum); text != ""; text = text[4:] {
		groups = append(groups, text[:4])
	}
	return strings.Join(groups, " ")
}

func (a *app) genesisInstall() *cobra.Command {
	hash := ""
	c := &cobra.Command{
		Use:   "install FILE PART…",
		Short: "Put a new genesis file into the home, once its hash was compared",
		Long: lines(
			"Puts the genesis file into the home and lists the nodes of the other parts as its peers",
			"(p2p.persistent_peers). It refuses a file whose SHA-256 is not the one that you compared",
			"with persons of the other organisations, and parts among which this home's node and",
			"validator are not. Blanks in --sha256 do not count.",
		),
		Example: examples(
			"chancery genesis install genesis.json mercy.part.json northside.part.json harbour.part.json \\\n    --sha256 '6b5c 1d0e 8a41 77f2 93de 4c08 b2aa 5f19 e03d 6c7b 1288 9a4f 0d55 c1e6 72b3 4e90'",
		),
		Args: cobra.MinimumNArgs(2),
		RunE: func(_ *cobra.Command, args []string) error {
			path, g, raw, err := a.genesisBytes(args[:1])
			if err != nil {
				return err
			}
			sum := sha256.Sum256(raw)
			if want := strings.ToLower(strings.Join(strings.Fields(hash), "")); want != hex.EncodeToString(sum[:]) {
				return sentence(errDiffers, "%s has the hash %s, not the one that you give: do not start a node before you know who has another file, and why", path, spoken(sum[:]))
			}
			if err := node.CheckGenesis(g); err != nil {
				return errFile.Wrap(err)
			}
			parts, err := a.parts(args[1:])
			if err != nil {
				return err
			}
			return a.install(g, raw, parts)
		},
	}
	c.Flags().StringVar(&hash, "sha256", "", "the hash on which all agreed, 64 hexadecimal digits")
	require(c, "sha256")
	return c
}

// install puts a genesis file into the home, with the nodes of parts as peers.
func (a *app) install(g *types.GenesisDoc, raw []byte, parts []*founding.Part) error {
	h := a.homeDir()
	c, err := config.Load(h)
	if err != nil {
		return errHome.Wrap(err)
	}
	keys, err := h.Keys()
	if err != nil {
		return errHome.Wrap(err)
	}
	var own *founding.Part
	c.P2P.PersistentPeers = nil
	for _, p := range parts {
		switch bound, err := founding.Binds(g, p); {
		case err != nil:
			return errFile.Wrap(err)
		case !bound:
			return sentence(errDiffers, "the genesis file does not bind the node %s and its validator to %s: it was assembled from other parts", p.Node.NodeId, p.Validator.Organisation)
		}
		if p.Node.NodeId == keys.NodeID {
			own = p
			continue
		}
		c.P2P.PersistentPeers = append(c.P2P.PersistentPeers, p.Peer())
	}
	if own == nil || !bytes.Equal(own.Validator.PublicKey, keys.Validator) {
		return sentence(errDiffers, "none of the parts is of this home's node %s and its validator key; make it anew with chancery genesis part", keys.NodeID)
	}
	slices.Sort(c.P2P.PersistentPeers)
	switch known, err := os.ReadFile(h.GenesisFile()); {
	case errors.Is(err, fs.ErrNotExist):
		if err := create(h.GenesisFile(), raw, 0o644); err != nil {
			return err
		}
	case err != nil:
		return errHome.Wrap(err)
	case !bytes.Equal(known, raw):
		return sentence(errHome, "%s has another genesis file; a node does not change its chain: make another home for it", a.home)
	}
	if err := config.Write(h, c); err != nil {
		return errHome.Wrap(err)
	}
	return a.print(facts{
		{"home", a.home}, {"genesis", h.GenesisFile()}, {"peers", c.P2P.PersistentPeers},
		{"next", fmt.Sprintf("chancery start --home %s", filepath.Clean(a.home))},
	})
}
