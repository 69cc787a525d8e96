//go:build linux

package testnet_test

import (
	"bytes"
	"context"
	"encoding/json"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	cs "github.com/cometbft/cometbft/consensus"
	"github.com/cometbft/cometbft/p2p"
	cmtproto "github.com/cometbft/cometbft/proto/tendermint/types"
	"github.com/cometbft/cometbft/types"

	"github.com/chancery/chancery/chain/tx"
	"github.com/chancery/chancery/node/config"
	"github.com/chancery/chancery/testnet"

	governancev1 "github.com/chancery/chancery/proto/chancery/governance/v1"
	identityv1 "github.com/chancery/chancery/proto/chancery/identity/v1"
)

// home is a validator's.
func (s *started) home(i int) config.Home { return testnet.Dir(s.dir).Home(s.record.Validators[i]) }

// configure changes a stopped validator's configuration.
func (s *started) configure(i int, change func(*config.Config)) {
	s.t.Helper()
	c, err := config.Load(s.home(i))
	if err != nil {
		s.t.Fatal(err)
	}
	change(&c)
	if err := config.Write(s.home(i), c); err != nil {
		s.t.Fatal(err)
	}
}

// heightOfFirst is that of validator 0.
func (s *started) heightOfFirst() int64 {
	s.t.Helper()
	_, height := s.validators()
	return height
}

// commit is who signed a block, by address in upper-case hexadecimal, and who should have.
func (s *started) commit(height int64) (signed, validators map[string]bool) {
	s.t.Helper()
	b := s.lightBlock(s.dial(0), height)
	signed, validators = map[string]bool{}, map[string]bool{}
	for _, v := range b.ValidatorSet.Validators {
		validators[types.Address(v.Address).String()] = true
	}
	for _, c := range b.SignedHeader.Commit.Signatures {
		if types.BlockIDFlag(c.BlockIdFlag) == types.BlockIDFlagCommit {
			signed[types.Address(c.ValidatorAddress).String()] = true
		}
	}
	return signed, validators
}

// signs waits for a new block with a signature of an address, or without one.
func (s *started) signs(address string, want bool, patience time.Duration) int64 {
	s.t.Helper()
	for end, next := time.Now().Add(patience), s.heightOfFirst()+1; ; time.Sleep(100 * time.Millisecond) {
		for ; next < s.heightOfFirst(); next++ {
			if signed, _ := s.commit(next); signed[address] == want {
				return next
			}
		}
		if time.Now().After(end) {
			s.t.Fatalf("after %v no block has %s among its signatures as it should (%v)", patience, address, want)
		}
	}
}

// innocent makes sure that the chain has recorded no misbehaviour.
func (s *started) innocent() {
	s.t.Helper()
	r, err := governancev1.NewQueryClient(s.dial(0).Conn()).Offences(s.t.Context(), &governancev1.OffencesRequest{})
	if err != nil {
		s.t.Fatal(err)
	}
	if len(r.Offences) != 0 {
		s.t.Errorf("the chain has evidence of a double signature: %v", r.Offences)
	}
}

// socket is a short path, as sockets need one.
func socket(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "signer")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return filepath.Join(dir, "s")
}

// process is a program that the test started.
type process struct {
	t   *testing.T
	cmd *exec.Cmd
	log string
}

func (s *started) process(args ...string) *process {
	s.t.Helper()
	p := &process{t: s.t, cmd: s.command(args...), log: filepath.Join(s.t.TempDir(), "log")}
	out, err := os.Create(p.log)
	if err != nil {
		s.t.Fatal(err)
	}
	defer out.Close()
	p.cmd.Stdout, p.cmd.Stderr = out, out
	if err := p.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		if p.cmd.ProcessState == nil {
			p.end(syscall.SIGKILL)
		}
	})
	return p
}

func (p *process) end(by syscall.Signal) error {
	_ = p.cmd.Process.Signal(by) // it may have ended
	return p.cmd.Wait()
}

func (p *process) text() string {
	p.t.Helper()
	raw, err := os.ReadFile(p.log)
	if err != nil {
		p.t.Fatal(err)
	}
	return string(raw)
}

// answer is what a command prints as JSON.
func (s *started) answer(args ...string) map[string]any {
	s.t.Helper()
	out := s.run(append(args, "--output", "json")...)
	a := map[string]any{}
	if err := json.Unmarshal([]byte(out), &a); err != nil {
		s.t.Fatalf("%v in %s", err, out)
	}
	return a
}

// A validator whose key moved into a signer goes on without a second signature of a height;
// without its signer the node follows and says what is missing; and the signer comes back.
func TestAValidatorSignsByItsSigner(t *testing.T) {
	s := start(t)
	s.until("there are blocks", time.Minute, func(v []testnet.View) bool { return v[0].Height > 5 })
	s.run("testnet", "kill", "3", "--signal", "TERM", "--dir", s.dir)
	at, dir := socket(t), filepath.Join(t.TempDir(), "signer")
	s.until("validator 3 has ended", time.Minute, func(v []testnet.View) bool { return !v[3].Running })
	s.run("signer", "init", "--dir", dir, "--chain-id", s.record.ChainID, "--from-home", string(s.home(3)), "--signs-for", "unix://"+at)
	if _, err := os.Stat(s.home(3).ValidatorKeyFile()); err == nil {
		t.Fatal("the key is in the home still")
	}
	shown := s.answer("signer", "show", "--dir", dir)
	address := shown["validator_address"].(string)
	s.configure(3, func(c *config.Config) {
		c.Signer.Listen, c.Signer.PublicKey = "unix://"+at, shown["signer.public_key"].(string)
	})
	signer := s.process("signer", "start", "--dir", dir, "--log-level", "debug")
	s.run("testnet", "restart", "3", "--dir", s.dir)
	s.signs(address, true, time.Minute)
	if out, err := s.try("signer", "start", "--dir", dir); err == nil || !strings.Contains(out, "a signer runs in") {
		t.Errorf("a second signer in one folder: %v: %s", err, out)
	}

	signer.end(syscall.SIGKILL)
	gone := s.signs(address, false, time.Minute)
	s.serves("the signer is away", 3, func(value func(string) float64) bool { return value("chancery_signer_connected") == 0 })
	if status := s.asMember(3, "status"); !strings.HasPrefix(status["signer"].(string), "away") {
		t.Errorf("the status says %v", status["signer"])
	}
	s.until("validator 3 follows without its key", time.Minute, func(v []testnet.View) bool { return v[3].Answers && v[3].Height > gone+5 })

	signer = s.process("signer", "start", "--dir", dir)
	s.signs(address, true, time.Minute)
	if err := signer.end(syscall.SIGTERM); err != nil {
		t.Errorf("told to end, the signer fails: %v\n%s", err, signer.text())
	}
	for line := range strings.Lines(signer.text()) {
		if !json.Valid([]byte(line)) {
			t.Errorf("a line of the signer's log is no JSON: %s", line)
		}
	}
	s.innocent()
}

// The ceremony of a new key, on a running network: no block lacks the validator, the new key
// signs from the very height on at which the chain binds it, and the old one nothing any
// more, also after kills at any time.
func TestAValidatorKeyIsChangedWithoutAGap(t *testing.T) {
	s := start(t)
	s.until("there are blocks", time.Minute, func(v []testnet.View) bool { return v[0].Height > 5 })
	before := s.asMember(3, "validator", "keys")["current_validator"].(string)
	made := s.asMember(3, "validator", "rotate")
	after := made["next_validator"].(string)
	if again := s.asMember(3, "validator", "rotate"); again["next_validator"] != after {
		t.Errorf("run again, it makes another key: %v", again)
	}
	s.signs(before, true, time.Minute) // the next key alone changes nothing
	from := s.heightOfFirst()
	s.decide(0, made["proposal"].(string), "Change a validator key")
	s.signs(after, true, time.Minute)
	turned, missed := int64(0), 0
	check := func() {
		t.Helper()
		to := s.heightOfFirst() - 1
		for ; from <= to; from++ {
			signed, validators := s.commit(from)
			if validators[before] == validators[after] {
				t.Fatalf("at height %d the old key is a validator: %v, the new one too: %v", from, validators[before], validators[after])
			}
			if validators[after] && turned == 0 {
				turned = from
			}
			if !signed[before] && !signed[after] {
				missed++
				t.Logf("block %d has no signature of either key", from)
			}
			if signed[before] && turned > 0 {
				t.Fatalf("the old key signed block %d, and the new one is the validator from %d on", from, turned)
			}
		}
	}
	check()
	if missed > 1 {
		t.Errorf("%d blocks lack the validator", missed)
	}
	last := s.asMember(3, "validator", "keys")
	if last["current_signed_height"].(float64) >= float64(turned) {
		t.Errorf("the old key signed height %v, the new one signs from %d on", last["current_signed_height"], turned)
	}

	// Killed after the change, it starts with the new key in place.
	s.run("testnet", "kill", "3", "--dir", s.dir)
	s.run("testnet", "restart", "3", "--dir", s.dir)
	s.signs(after, true, time.Minute)
	check()
	keys := s.asMember(3, "validator", "keys")
	if keys["current_validator"] != after || keys["next_validator"] != nil || len(keys["put_aside"].([]any)) != 1 {
		t.Errorf("after the restart: %v", keys)
	}
	s.innocent()
	t.Logf("the new key signs from block %d on; %d blocks lacked the validator", turned, missed)
}

// Killed again and again while a key is changed, a validator signs no height with both and
// comes out with the new one.
func TestAKeyChangeSurvivesKills(t *testing.T) {
	s := start(t)
	s.until("there are blocks", time.Minute, func(v []testnet.View) bool { return v[0].Height > 5 })
	before := s.asMember(3, "validator", "keys")["current_validator"].(string)
	made := s.asMember(3, "validator", "rotate")
	after := made["next_validator"].(string)
	from := s.heightOfFirst()
	ctx, cancel := context.WithCancel(t.Context())
	var killed sync.WaitGroup
	kills := 0
	killed.Go(func() {
		for ctx.Err() == nil {
			for _, args := range [][]string{{"testnet", "kill", "3", "--dir", s.dir}, {"testnet", "restart", "3", "--dir", s.dir}} {
				if out, err := s.try(args...); err != nil {
					t.Errorf("%v: %v: %s", args, err, out)
					return
				}
			}
			kills++
			time.Sleep(time.Duration(300+rand.N(900)) * time.Millisecond)
		}
	})
	s.decide(0, made["proposal"].(string), "Change a validator key")
	time.Sleep(3 * time.Second) // on, across the height at which it acts
	cancel()
	killed.Wait()
	t.Logf("it was killed %d times", kills)
	s.signs(after, true, time.Minute)
	old, next := int64(0), int64(0)
	for ; from < s.heightOfFirst(); from++ {
		signed, _ := s.commit(from)
		if signed[before] {
			old = from
		}
		if signed[after] && next == 0 {
			next = from
		}
	}
	if old >= next {
		t.Errorf("the old key signed block %d, the new one from %d on", old, next)
	}
	s.innocent()
}

// All validators start together, each watches for a copy of itself, and no block comes
// meanwhile: the chain goes on all the same.
func TestValidatorsThatStartTogetherWatchAndGoOn(t *testing.T) {
	s := start(t)
	s.until("there are blocks", time.Minute, func(v []testnet.View) bool { return v[0].Height > 5 })
	s.run("testnet", "stop", "--dir", s.dir)
	for i := range s.record.Validators {
		s.configure(i, func(c *config.Config) { c.Signer = config.Default().Signer })
	}
	s.run("testnet", "start", "--dir", s.dir, "--detach")
	s.reload()
	height := s.heightOfFirst()
	s.until("the chain goes on", time.Minute, func(v []testnet.View) bool { return v[0].Height > height+10 && oneHash(v) })

	// One that starts alone watches the others' blocks.
	own, err := s.home(3).Keys()
	if err != nil {
		t.Fatal(err)
	}
	s.run("testnet", "kill", "3", "--dir", s.dir)
	s.signs(own.ValidatorAddress, false, time.Minute)
	s.run("testnet", "restart", "3", "--dir", s.dir)
	s.signs(own.ValidatorAddress, true, time.Minute)
	s.innocent()
}

// A copy of a running validator's home, with a node key of its own so that peers let it in,
// signs nothing: it stops and says why.
func TestACopyOfAHomeSignsNothing(t *testing.T) {
	s := start(t)
	s.until("there are blocks", time.Minute, func(v []testnet.View) bool { return v[0].Height > 5 })
	if out, err := s.try("start", "--home", string(s.home(3))); err == nil || !strings.Contains(out, "a node is running in") {
		t.Errorf("a second node in one home: %v: %s", err, out)
	}
	own, err := s.home(3).Keys()
	if err != nil {
		t.Fatal(err)
	}
	// Both, the original and the copy, start at the same moment from the same files.
	s.run("testnet", "kill", "3", "--signal", "TERM", "--dir", s.dir)
	s.until("validator 3 has ended", time.Minute, func(v []testnet.View) bool { return !v[3].Running })
	s.configure(3, func(c *config.Config) {
		c.Signer.WatchBlocks = config.Default().Signer.WatchBlocks
		// Two that wait by chance for up to the five seconds of the default begin within the
		// time of one block, and unseen by each other, once in ten times or so.
		c.Signer.WatchTime = config.Duration(time.Minute)
	})
	double := config.Home(filepath.Join(t.TempDir(), "double"))
	if err := os.CopyFS(string(double), os.DirFS(string(s.home(3)))); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(double.ValidatorKeyFile(), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(double.NodeKeyFile()); err != nil {
		t.Fatal(err)
	}
	peer, err := p2p.LoadOrGenNodeKey(double.NodeKeyFile())
	if err != nil {
		t.Fatal(err)
	}
	_, admin := s.signer(3, "admin-1")
	s.act(s.record.Validators[3].Organisation, []tx.Signer{admin}, &identityv1.BindNode{NodeId: string(peer.ID())})
	c, err := config.Load(double)
	if err != nil {
		t.Fatal(err)
	}
	c.RPC.Listen, c.P2P.Listen, c.Telemetry.Listen = "127.0.0.1:0", "127.0.0.1:0", ""
	if err := config.Write(double, c); err != nil {
		t.Fatal(err)
	}
	copied := s.process("start", "--home", string(double))
	s.run("testnet", "restart", "3", "--dir", s.dir)
	ended := make(chan error, 1)
	go func() { ended <- copied.cmd.Wait() }()
	original := func() bool { v := s.status()[3]; return v.Running }
	for end := time.Now().Add(2 * time.Minute); ; time.Sleep(100 * time.Millisecond) {
		stopped := false
		select {
		case <-ended:
			stopped = true
		default:
		}
		if stopped || !original() {
			break
		}
		if time.Now().After(end) {
			t.Fatal("both go on")
		}
	}
	text := copied.text()
	if raw, err := os.ReadFile(testnet.Dir(s.dir).LogFile(s.record.Validators[3])); err == nil {
		text += string(raw)
	}
	if !strings.Contains(text, "the guard of the validator key found a foreign signature") {
		t.Errorf("the one that stopped does not say why:\n%s", text)
	}
	height := s.heightOfFirst()
	s.until("the chain goes on", time.Minute, func(v []testnet.View) bool { return v[0].Height > height+5 })
	s.innocent()
	once(t, own.ValidatorAddress, s.home(0), s.home(1))
}

// once makes sure that in the logs of votes that nodes took, no two signatures of a
// validator are of one height, round and step.
func once(t *testing.T, address string, homes ...config.Home) {
	t.Helper()
	type step struct {
		height int64
		round  int32
		kind   cmtproto.SignedMsgType
	}
	given := map[step][]byte{}
	for _, h := range homes {
		files, err := filepath.Glob(filepath.Join(h.Engine(), "cs.wal", "wal*"))
		if err != nil || len(files) == 0 {
			t.Fatal(files, err)
		}
		for _, path := range files {
			f, err := os.Open(path)
			if err != nil {
				t.Fatal(err)
			}
			for decoder := cs.NewWALDecoder(f); ; {
				m, err := decoder.Decode()
				if err != nil {
					break // the end, or what is being written
				}
				// The engine does not export the type that holds a message and its sender.
				text := reflect.ValueOf(m.Msg)
				if text.Kind() != reflect.Struct || !text.FieldByName("Msg").IsValid() {
					continue
				}
				v, ok := text.FieldByName("Msg").Interface().(*cs.VoteMessage)
				if !ok || v.Vote.ValidatorAddress.String() != address {
					continue
				}
				at := step{v.Vote.Height, v.Vote.Round, v.Vote.Type}
				if first := given[at]; first != nil && !bytes.Equal(first, v.Vote.Signature) {
					t.Errorf("two signatures at height %d, round %d, of type %v", at.height, at.round, at.kind)
				}
				given[at] = v.Vote.Signature
			}
			_ = f.Close() // it was only read
		}
	}
	if len(given) == 0 {
		t.Error("there is no vote of the validator in the logs, so nothing was checked")
	}
	t.Logf("%d votes of the validator, one a step", len(given))
}
