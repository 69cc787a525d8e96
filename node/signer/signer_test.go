package signer

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cometbft/cometbft/crypto"
	"github.com/cometbft/cometbft/crypto/ed25519"
	"github.com/cometbft/cometbft/p2p"
	cmtproto "github.com/cometbft/cometbft/proto/tendermint/types"
	"github.com/cometbft/cometbft/types"
)

const chain = "signer-test"

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

// blockID names a block by a letter.
func blockID(letter string) cmtproto.BlockID {
	return cmtproto.BlockID{Hash: []byte(strings.Repeat(letter, 32)), PartSetHeader: cmtproto.PartSetHeader{Total: 1, Hash: []byte(strings.Repeat(letter, 32))}}
}

func vote(of cmtproto.SignedMsgType, height int64, round int32, block string) *cmtproto.Vote {
	v := &cmtproto.Vote{Type: of, Height: height, Round: round, Timestamp: time.Unix(1767600000, 0).UTC(), ValidatorAddress: make([]byte, 20)}
	if block != "" {
		v.BlockID = blockID(block)
	}
	return v
}

// folder makes a signer's folder that signs for an address, with changes to its settings.
func folder(t *testing.T, node string, change ...func(*Settings)) Folder {
	t.Helper()
	f := Folder(filepath.Join(t.TempDir(), "signer"))
	s := Settings{ChainID: chain, Node: node}
	for _, c := range change {
		c(&s)
	}
	if err := Init(f, InitOptions{Settings: s}); err != nil {
		t.Fatal(err)
	}
	return f
}

func open(t *testing.T, f Folder) *Signer {
	t.Helper()
	s, err := Open(f)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func public(t *testing.T, s *Signer) crypto.PubKey {
	t.Helper()
	key, err := s.Key.GetPubKey()
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// run serves until the function that it returns is called.
func run(t *testing.T, s *Signer) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx, quiet) }()
	once := false
	stop = func() {
		if once {
			return
		}
		once = true
		cancel()
		if err := <-done; err != nil {
			t.Errorf("the signer ended: %v", err)
		}
	}
	t.Cleanup(stop)
	return stop
}

func listen(t *testing.T, o RemoteOptions) *Remote {
	t.Helper()
	o.ChainID, o.Log = chain, quiet
	if o.Timeout == 0 {
		o.Timeout = time.Second
	}
	r, err := Listen(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	return r
}

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: not within 20 s", what)
		}
	}
}

func connected(r *Remote) func() bool {
	return func() bool { here, _ := r.Connected(); return here }
}

func socket(t *testing.T) string {
	t.Helper()
	// A path of a socket has about a hundred bytes at most.
	dir, err := os.MkdirTemp("", "signer")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return "unix://" + filepath.Join(dir, "s")
}

func TestARemoteKeySignsVotesWithExtensionsAndProposals(t *testing.T) {
	address := socket(t)
	s := open(t, folder(t, address))
	key := public(t, s)
	r := listen(t, RemoteOptions{Address: address, Key: key})

	v := vote(cmtproto.PrevoteType, 1, 0, "a")
	begun := time.Now()
	if err := r.SignVote(chain, v); !errors.Is(err, ErrAway) || time.Since(begun) > 500*time.Millisecond {
		t.Fatalf("without a signer consensus waits for %v and is told %v", time.Since(begun), err)
	}
	stop := run(t, s)
	until(t, "the signer connects", connected(r))
	if err := r.SignVote(chain, v); err != nil || !key.VerifySignature(types.VoteSignBytes(chain, v), v.Signature) {
		t.Fatal(err)
	}
	if len(v.ExtensionSignature) != 0 {
		t.Error("a prevote has an extension's signature, over which the engine ends")
	}
	p := vote(cmtproto.PrecommitType, 1, 0, "a")
	p.Extension = []byte(strings.Repeat("e", types.MaxVoteExtensionSize))
	if err := r.SignVote(chain, p); err != nil {
		t.Fatal(err)
	}
	if !key.VerifySignature(types.VoteExtensionSignBytes(chain, p), p.ExtensionSignature) {
		t.Error("the extension is not signed")
	}
	proposal := &cmtproto.Proposal{Type: cmtproto.ProposalType, Height: 2, PolRound: -1, BlockID: blockID("b"), Timestamp: v.Timestamp}
	if err := r.SignProposal(chain, proposal); err != nil || !key.VerifySignature(types.ProposalSignBytes(chain, proposal), proposal.Signature) {
		t.Fatal(err)
	}

	stop()
	until(t, "the node notices that the signer is gone", func() bool { return !connected(r)() })
	run(t, s)
	until(t, "the signer is back", connected(r))
	if err := r.SignVote(chain, vote(cmtproto.PrevoteType, 3, 0, "c")); err != nil {
		t.Error(err)
	}
}

// What was signed forbids what conflicts with it, also after a restart, and gives the first
// signature again for the same.
func TestNothingIsSignedTwice(t *testing.T) {
	address := socket(t)
	f := folder(t, address)
	s := open(t, f)
	r := listen(t, RemoteOptions{Address: address, Key: public(t, s)})
	stop := run(t, s)
	until(t, "the signer connects", connected(r))
	first := vote(cmtproto.PrecommitType, 7, 1, "a")
	if err := r.SignVote(chain, first); err != nil {
		t.Fatal(err)
	}
	refusals := func(when string) {
		t.Helper()
		for name, v := range map[string]*cmtproto.Vote{
			"another block":    vote(cmtproto.PrecommitType, 7, 1, "b"),
			"no block":         vote(cmtproto.PrecommitType, 7, 1, ""),
			"an earlier step":  vote(cmtproto.PrevoteType, 7, 1, "a"),
			"an earlier round": vote(cmtproto.PrecommitType, 7, 0, "a"),
			"an earlier block": vote(cmtproto.PrecommitType, 6, 9, "a"),
			"no height":        vote(cmtproto.PrevoteType, 0, 0, "a"),
			"no round":         vote(cmtproto.PrevoteType, 8, -1, "a"),
			"no vote":          vote(cmtproto.ProposalType, 8, 0, "a"),
		} {
			if err := r.SignVote(chain, v); err == nil || errors.Is(err, ErrAway) || len(v.Signature) != 0 {
				t.Errorf("%s: %s is not refused: %v", when, name, err)
			}
		}
		if err := r.SignProposal(chain, &cmtproto.Proposal{Type: cmtproto.ProposalType, Height: 7, Round: 1, PolRound: -1, BlockID: blockID("a")}); err == nil {
			t.Errorf("%s: a proposal after a precommit is signed", when)
		}
		if err := r.SignVote("another-chain", vote(cmtproto.PrevoteType, 9, 0, "a")); err == nil {
			t.Errorf("%s: it signs for another chain", when)
		}
		again := vote(cmtproto.PrecommitType, 7, 1, "a")
		again.Timestamp = again.Timestamp.Add(time.Second)
		if err := r.SignVote(chain, again); err != nil || string(again.Signature) != string(first.Signature) || !again.Timestamp.Equal(first.Timestamp) {
			t.Errorf("%s: the same vote at another time has not the first signature and time: %v", when, err)
		}
	}
	refusals("at once")
	stop()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	run(t, open(t, f))
	until(t, "the signer is back", func() bool { return r.SignVote(chain, vote(cmtproto.PrecommitType, 7, 1, "a")) == nil })
	refusals("after a restart")
}

func TestASecondSignerIsRefused(t *testing.T) {
	address := socket(t)
	f := folder(t, address)
	s := open(t, f)
	if _, err := Open(f); err == nil || !strings.Contains(err.Error(), "a signer runs in") {
		t.Errorf("a second signer in one folder: %v", err)
	}
	r := listen(t, RemoteOptions{Address: address, Key: public(t, s)})
	run(t, s)
	until(t, "the signer connects", connected(r))

	// A copy of the folder.
	double := Folder(t.TempDir())
	if err := os.CopyFS(string(double), os.DirFS(string(f))); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{double.KeyFile(), double.ConnectionKeyFile()} {
		if err := os.Chmod(path, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	d := open(t, double)
	run(t, d)
	for height := int64(1); height <= 40; height++ {
		if err := r.SignVote(chain, vote(cmtproto.PrevoteType, height, 0, "a")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Millisecond)
	}
	if d.Key.Last() != 0 || s.Key.Last() != 40 {
		t.Errorf("the copy signed height %d and the first signer height %d", d.Key.Last(), s.Key.Last())
	}
}

func TestOverTCPBothSidesKnowEachOther(t *testing.T) {
	node := p2p.NodeKey{PrivKey: ed25519.GenPrivKey()}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	where := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	right := open(t, folder(t, "tcp://"+string(node.ID())+"@"+where))
	o := RemoteOptions{Address: "tcp://" + where, Key: public(t, right), Own: node.PrivKey, Signer: right.ID}
	for name, c := range map[string]struct {
		o  RemoteOptions
		by *Signer
	}{
		"another signer's connection key": {o: RemoteOptions{Signer: p2p.PubKeyToID(ed25519.GenPrivKey().PubKey()), Own: o.Own, Key: o.Key}, by: right},
		"another validator key":           {o: RemoteOptions{Signer: o.Signer, Own: o.Own, Key: ed25519.GenPrivKey().PubKey()}, by: right},
		"another node's key":              {o: RemoteOptions{Signer: o.Signer, Own: ed25519.GenPrivKey(), Key: o.Key}, by: right},
	} {
		t.Run(name, func(t *testing.T) {
			c.o.Address = o.Address
			r := listen(t, c.o)
			stop := run(t, c.by)
			for end := time.Now().Add(time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
				if here, _ := r.Connected(); here || r.SignVote(chain, vote(cmtproto.PrevoteType, 1, 0, "a")) == nil {
					t.Fatal("they work together")
				}
			}
			stop()
		})
	}
	r := listen(t, o)
	run(t, right)
	until(t, "the right ones find each other", connected(r))
	if err := r.SignVote(chain, vote(cmtproto.PrevoteType, 1, 0, "a")); err != nil {
		t.Error(err)
	}
}

// A record that cannot be written ends the signer: memory and disk would part.
func TestASignerThatCannotRememberSignsNothing(t *testing.T) {
	address := socket(t)
	f := folder(t, address)
	s := open(t, f)
	if err := os.Remove(f.StateFile()); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(f.StateFile(), 0o700); err != nil { // a folder is not replaced by a file
		t.Fatal(err)
	}
	r := listen(t, RemoteOptions{Address: address, Key: public(t, s)})
	done := make(chan error, 1)
	go func() { done <- s.Run(t.Context(), quiet) }()
	until(t, "the signer connects", connected(r))
	v := vote(cmtproto.PrevoteType, 1, 0, "a")
	if err := r.SignVote(chain, v); err == nil || len(v.Signature) != 0 {
		t.Fatal("it signed what it could not write down")
	}
	if err := r.SignVote(chain, v); err == nil {
		t.Error("asked again, it gives the signature out of memory")
	}
	select {
	case err := <-done:
		if !errors.Is(err, errBroken) {
			t.Error(err)
		}
	case <-time.After(20 * time.Second):
		t.Error("the signer goes on")
	}
}

// A node keeps a record of its own, so that it does not ask twice whatever the signer says.
func TestANodeRecordsWhatItHadSigned(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.json")
	willing := types.NewMockPV()
	r, err := Record(willing, path)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.SignVote(chain, vote(cmtproto.PrevoteType, 5, 0, "a")); err != nil {
		t.Fatal(err)
	}
	if r, err = Record(willing, path); err != nil {
		t.Fatal(err)
	}
	if err := r.SignVote(chain, vote(cmtproto.PrevoteType, 4, 0, "a")); err == nil {
		t.Error("after a restart it asks for an earlier height")
	}
	if err := r.SignProposal(chain, &cmtproto.Proposal{Type: cmtproto.ProposalType, Height: 5, PolRound: -1}); err == nil {
		t.Error("it asks for a proposal after a prevote")
	}
	if err := r.SignVote(chain, vote(cmtproto.PrecommitType, 5, 0, "a")); err != nil {
		t.Error(err)
	}
	s, err := ReadState(path)
	if err != nil || s.Height != 5 || s.Step != stepPrecommit || len(s.Signature) == 0 {
		t.Errorf("%+v %v", s, err)
	}
}

func TestSettingsAreChecked(t *testing.T) {
	id := strings.Repeat("0a", 20)
	for node, ok := range map[string]bool{
		"unix:///run/s": true, "tcp://" + id + "@10.0.0.7:26659": true,
		"": false, "10.0.0.7:26659": false, "tcp://10.0.0.7:26659": false, "tcp://" + id + "@10.0.0.7": false,
		"tcp://" + strings.ToUpper(id) + "@h:1": false, "http://" + id + "@h:1": false, "unix://": false,
	} {
		if err := (Settings{ChainID: chain, Node: node}).Check(); (err == nil) != ok {
			t.Errorf("%q: %v", node, err)
		}
	}
	full := PKCS11{Module: "m", Token: "t", Key: "k", PINFile: "p"}
	for name, p := range map[string]PKCS11{
		"no module": {Token: "t", Key: "k", PINFile: "p"}, "no token": {Module: "m", Key: "k", PINFile: "p"},
		"no key": {Module: "m", Token: "t", PINFile: "p"}, "no PIN": {Module: "m", Token: "t", Key: "k"},
		"two PINs": {Module: "m", Token: "t", Key: "k", PINFile: "p", PINEnv: "P"},
	} {
		if err := (Settings{ChainID: chain, Node: "unix:///s", PKCS11: p}).Check(); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
	if err := (Settings{ChainID: chain, Node: "unix:///s", PKCS11: full}).Check(); err != nil {
		t.Error(err)
	}
	f := folder(t, "unix:///run/s")
	if err := Init(f, InitOptions{Settings: Settings{ChainID: chain, Node: "unix:///run/s"}}); !errors.Is(err, ErrThere) {
		t.Errorf("a folder is made twice: %v", err)
	}
	if err := os.Chmod(f.KeyFile(), 0o644); err != nil { //nolint:gosec // the fault
		t.Fatal(err)
	}
	if _, err := Open(f); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("an open key is taken: %v", err)
	}
}
