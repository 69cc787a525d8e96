package receipt

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/cometbft/cometbft/crypto/ed25519"
	cryptoenc "github.com/cometbft/cometbft/crypto/encoding"
	cmtproto "github.com/cometbft/cometbft/proto/tendermint/types"
	"github.com/cometbft/cometbft/types"
	ics23 "github.com/cosmos/ics23/go"

	"github.com/chancery/chancery/chain/state"
	nodev1 "github.com/chancery/chancery/proto/chancery/node/v1"
)

// Report is what a verified receipt says.
type Report struct {
	ChainID string `json:"chain_id"`
	// Height of the state that the facts are of.
	Height int64 `json:"height"`
	// StateRoot is the root of that state, in hexadecimal.
	StateRoot string `json:"state_root"`
	// SignedHeight is Height + 1: the block whose header holds the root.
	SignedHeight int64 `json:"signed_height"`
	// SignedTime is the time of that block in Unix milliseconds.
	SignedTime int64 `json:"signed_time"`
	// BlockHash is the hash of its header, in hexadecimal.
	BlockHash string `json:"block_hash"`
	Facts     []Fact `json:"facts"`
	// Signers are the validators that signed the block, in the set's order.
	Signers []Signer `json:"signers"`
	// SignedPower of TotalPower signed.
	SignedPower int64 `json:"signed_power"`
	TotalPower  int64 `json:"total_power"`
	// ValidatorChanges is how often the validator set changed since genesis.
	ValidatorChanges int `json:"validator_changes"`
}

// Fact is one record of the state, or the absence of one.
type Fact struct {
	Collection string `json:"collection"`
	// Key is the key in words, RawKey the tree's key in hexadecimal.
	Key    string `json:"key"`
	RawKey string `json:"raw_key"`
	// Present is false when the receipt proves that there is no such record.
	Present bool `json:"present"`
	// Value is the record as JSON, null when it is absent.
	Value json.RawMessage `json:"value"`
}

// Signer is a validator that signed.
type Signer struct {
	// Address and PublicKey (Ed25519) in hexadecimal.
	Address   string `json:"address"`
	PublicKey string `json:"public_key"`
	Power     int64  `json:"power"`
	// Time of its vote in Unix milliseconds.
	Time int64 `json:"time"`
}

// Verify checks a receipt's file form against nothing but the consortium's genesis
// document; the registry names and decodes the records. It trusts that more than
// a third of the power of each validator set since genesis was honest, and that
// those who have left did not sell their keys. The error is an *errs.Error of
// module receipt.
func Verify(raw []byte, genesis *types.GenesisDoc, registry *state.Registry) (*Report, error) {
	r, err := Parse(raw)
	if err != nil {
		return nil, err
	}
	if r.ChainId != genesis.ChainID {
		return nil, ErrWrongChain.With("the receipt is of %q, the genesis file of %q", r.ChainId, genesis.ChainID)
	}
	if n := len(r.Entries); n == 0 || n > MaxEntries {
		return nil, ErrNoEntries.With("it has %d", n)
	}
	validators, err := genesisValidators(genesis)
	if err != nil {
		return nil, err
	}
	if validators, err = follow(r.ChainId, r.History, r.Height, validators); err != nil {
		return nil, err
	}
	header, err := signedHeader(r.SignedHeader, r.ChainId, validators, "the header")
	if err != nil {
		return nil, err
	}
	if r.Height < 1 || header.Height != r.Height+1 {
		return nil, ErrHeader.With("the receipt is about height %d, so its header must be of the next; it is of %d", r.Height, header.Height)
	}
	report := &Report{
		ChainID: r.ChainId, Height: r.Height, StateRoot: hexOf(header.AppHash),
		SignedHeight: header.Height, SignedTime: header.Time.UnixMilli(), BlockHash: hexOf(header.Hash()),
		TotalPower: validators.TotalVotingPower(), ValidatorChanges: len(r.History),
	}
	for i, e := range r.Entries {
		if i > 0 && bytes.Compare(r.Entries[i-1].Key, e.Key) >= 0 {
			return nil, ErrMalformed.With("record %d is not after the one before it in order of key", i)
		}
		fact, err := prove(e, header.AppHash, registry)
		if err != nil {
			return nil, err
		}
		report.Facts = append(report.Facts, *fact)
	}
	for i, s := range header.Commit.Signatures {
		if s.BlockIDFlag != types.BlockIDFlagCommit {
			continue
		}
		v := validators.Validators[i]
		report.SignedPower += v.VotingPower
		report.Signers = append(report.Signers, Signer{
			Address: hexOf(v.Address), PublicKey: hexOf(v.PubKey.Bytes()), Power: v.VotingPower, Time: s.Timestamp.UnixMilli(),
		})
	}
	return report, nil
}

func hexOf(b []byte) string { return fmt.Sprintf("%x", b) }

func genesisValidators(g *types.GenesisDoc) (*types.ValidatorSet, error) {
	if len(g.Validators) == 0 {
		return nil, ErrGenesis.With("it lists no validators")
	}
	list := make([]*types.Validator, len(g.Validators))
	for i, v := range g.Validators {
		if v.PubKey == nil {
			return nil, ErrGenesis.With("validator %d has no key", i)
		}
		list[i] = types.NewValidator(v.PubKey, v.Power)
	}
	set, err := setOf(list)
	if err != nil {
		return nil, ErrGenesis.With("%v", err)
	}
	return set, nil
}

// setOf is a validator set of distinct Ed25519 keys with positive power.
func setOf(list []*types.Validator) (set *types.ValidatorSet, err error) {
	if len(list) == 0 {
		return nil, errors.New("the validator set is empty")
	}
	for _, v := range list {
		if _, ok := v.PubKey.(ed25519.PubKey); !ok {
			return nil, errors.New("a validator's key is not Ed25519")
		}
		if v.VotingPower < 1 || v.VotingPower > types.MaxTotalVotingPower {
			return nil, fmt.Errorf("a validator has power %d", v.VotingPower)
		}
	}
	set = new(types.ValidatorSet)
	if err := set.UpdateWithChangeSet(list); err != nil {
		return nil, err
	}
	// The proposer only picks the kind of batch verification.
	set.IncrementProposerPriority(1)
	return set, nil
}

// FirstValidators is the hash of the genesis validators, nil where receipts cannot be
// verified with that genesis.
func FirstValidators(genesis *types.GenesisDoc) []byte {
	set, err := genesisValidators(genesis)
	if err != nil {
		return nil
	}
	return set.Hash()
}

// Begins tells whether a change names the genesis validators as those that sign it.
func Begins(l *nodev1.Link, genesis *types.GenesisDoc) bool {
	parsed, err := parseLink(l)
	return err == nil && bytes.Equal(parsed.from, FirstValidators(genesis))
}

// Follow verifies changes of validators from those of the genesis on, each signature of
// them, and returns the validators that they lead to. Its errors are those of Verify.
func Follow(genesis *types.GenesisDoc, links []*nodev1.Link, most int64) (*types.ValidatorSet, error) {
	set, err := genesisValidators(genesis)
	if err != nil {
		return nil, err
	}
	return follow(genesis.ChainID, links, most, set)
}

// follow walks the history from one validator set to another. No header may be beyond a
// height.
func follow(chainID string, links []*nodev1.Link, most int64, set *types.ValidatorSet) (*types.ValidatorSet, error) {
	if len(links) > MaxLinks {
		return nil, ErrHistory.With("%d changes, at most %d", len(links), MaxLinks)
	}
	var height int64
	for i, l := range links {
		what := fmt.Sprintf("the header of change %d", i)
		header, err := signedHeader(l.GetSignedHeader(), chainID, set, what)
		if err != nil {
			return nil, err
		}
		// A change in the header of height h acts at h + 1.
		if header.Height <= height || header.Height > most {
			return nil, ErrHistory.With("%s is of height %d, between %d and %d it should be", what, header.Height, height+1, most)
		}
		height = header.Height
		next, err := linkSet(l)
		if err != nil {
			return nil, ErrHistory.With("change %d: %v", i, err)
		}
		if !bytes.Equal(next.Hash(), header.NextValidatorsHash) {
			return nil, ErrHistory.With("change %d names validators that its header does not", i)
		}
		if bytes.Equal(next.Hash(), set.Hash()) {
			return nil, ErrHistory.With("change %d changes nothing", i)
		}
		set = next
	}
	return set, nil
}

func linkSet(l *nodev1.Link) (*types.ValidatorSet, error) {
	list := make([]*types.Validator, len(l.Validators))
	for i, raw := range l.Validators {
		simple := new(cmtproto.SimpleValidator)
		if err := canonical(raw, simple, "a validator"); err != nil {
			return nil, err
		}
		if simple.PubKey == nil {
			return nil, fmt.Errorf("validator %d has no key", i)
		}
		key, err := cryptoenc.PubKeyFromProto(*simple.PubKey)
		if err != nil {
			return nil, fmt.Errorf("validator %d: %w", i, err)
		}
		list[i] = types.NewValidator(key, simple.VotingPower)
	}
	set, err := setOf(list)
	if err != nil {
		return nil, err
	}
	for i, v := range set.Validators {
		if !bytes.Equal(v.Address, list[i].Address) {
			return nil, fmt.Errorf("validator %d is out of order", i)
		}
	}
	return set, nil
}

// signedHeader parses a signed header and checks that it is of the chain and that
// the set, which its header names, signed it.
func signedHeader(raw []byte, chainID string, set *types.ValidatorSet, what string) (*types.SignedHeader, error) {
	pb := new(cmtproto.SignedHeader)
	if err := canonical(raw, pb, what); err != nil {
		return nil, err
	}
	if pb.Header == nil || pb.Commit == nil {
		return nil, ErrHeader.With("%s or its signatures are missing", what)
	}
	sh, err := types.SignedHeaderFromProto(pb)
	if err != nil {
		return nil, ErrHeader.With("%s: %v", what, err)
	}
	if err := sh.ValidateBasic(chainID); err != nil {
		return nil, ErrHeader.With("%s: %v", what, err)
	}
	if !bytes.Equal(sh.ValidatorsHash, set.Hash()) {
		return nil, ErrHistory.With("%s, of height %d, is of other validators than those known by then", what, sh.Height)
	}
	// All signatures, not only the first two thirds: no byte goes unchecked.
	if err := types.VerifyCommit(chainID, set, sh.Commit.BlockID, sh.Height, sh.Commit); err != nil {
		return nil, ErrSignatures.With("%s, of height %d: %v", what, sh.Height, err)
	}
	return sh, nil
}

func prove(e *nodev1.Entry, root []byte, registry *state.Registry) (*Fact, error) {
	collection, ok := registry.Of(e.Key)
	if !ok || collection.Name != e.Collection {
		return nil, ErrCollection.With("key %x of %q", e.Key, e.Collection)
	}
	key, err := collection.DescribeKey(e.Key)
	if err != nil {
		return nil, ErrCollection.With("key %x of %s does not decode", e.Key, e.Collection)
	}
	proof := new(ics23.CommitmentProof)
	if err := canonical(e.Proof, proof, fmt.Sprintf("the proof of %s %s", e.Collection, key)); err != nil {
		return nil, err
	}
	if !proves(proof, root, e.Key, e.Value) {
		return nil, ErrProof.With("%s %s", e.Collection, key)
	}
	fact := &Fact{Collection: e.Collection, Key: key, RawKey: hexOf(e.Key), Present: len(e.Value) > 0}
	if !fact.Present {
		return fact, nil
	}
	text, err := collection.DescribeValue(e.Value)
	if err != nil {
		return nil, ErrValue.With("%s %s: %v", e.Collection, key, err)
	}
	fact.Value = asJSON(text)
	return fact, nil
}

// asJSON compacts JSON and quotes everything else.
func asJSON(text string) json.RawMessage {
	var out bytes.Buffer
	if json.Compact(&out, []byte(text)) == nil {
		return out.Bytes()
	}
	quoted, _ := json.Marshal(text) // a string always marshals
	return quoted
}

// proves tells whether a proof shows that key has value under root, or, with an
// empty value, that there is no such key.
func proves(p *ics23.CommitmentProof, root, key, value []byte) (ok bool) {
	// The library indexes into paths that a forger may leave empty.
	defer func() {
		if recover() != nil {
			ok = false
		}
	}()
	switch v := p.Proof.(type) {
	case *ics23.CommitmentProof_Exist:
		return len(value) > 0 && v.Exist != nil && v.Exist.Verify(state.ProofSpec, root, key, value) == nil
	case *ics23.CommitmentProof_Nonexist:
		// The library does not look at the key that the proof itself names.
		return len(value) == 0 && v.Nonexist != nil && bytes.Equal(v.Nonexist.Key, key) &&
			v.Nonexist.Verify(state.ProofSpec, root, key) == nil
	default:
		return false
	}
}
