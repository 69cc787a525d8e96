//go:build linux

package testnet_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	cmtproto "github.com/cometbft/cometbft/proto/tendermint/types"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain/tx"
	"github.com/chancery/chancery/modules/identity"
	"github.com/chancery/chancery/node/client"
	"github.com/chancery/chancery/testnet"

	identityv1 "github.com/chancery/chancery/proto/chancery/identity/v1"
	nodev1 "github.com/chancery/chancery/proto/chancery/node/v1"
	txv1 "github.com/chancery/chancery/proto/chancery/tx/v1"
)

// longestGap is the most that may lie between two blocks while members come and go. A
// block of an idle chain takes about a third of a second, and one whose proposer is missing
// a second more; the rest is for a machine with much else to do.
const longestGap = 5 * time.Second

// member runs the program as a member's operator does, in the member's home and with its
// keys.
func (s *started) member(i int, args ...string) (string, error) {
	v := s.record.Validators[i]
	d := testnet.Dir(s.dir)
	args = append(args, "--home", string(d.Home(v)), "--node", v.RPC, "--output", "json")
	cmd := s.command(args...)
	cmd.Env = append(cmd.Env, "CHANCERY_PASSPHRASE_FILE="+d.PassphraseFile())
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// asMember is member for what must succeed; it returns the answer.
func (s *started) asMember(i int, args ...string) map[string]any {
	s.t.Helper()
	out, err := s.member(i, args...)
	if err != nil {
		s.t.Fatalf("validator %d: %s: %v:\n%s", i, strings.Join(args, " "), err, out)
	}
	answer := map[string]any{}
	if err := json.Unmarshal([]byte(out), &answer); err != nil {
		s.t.Fatalf("%v in %s", err, out)
	}
	return answer
}

// proposing are the arguments that propose the messages in a file.
func (s *started) proposing(file, title string) []string {
	s.t.Helper()
	why := filepath.Join(s.t.TempDir(), "why.txt")
	if err := os.WriteFile(why, []byte(title+"."), 0o600); err != nil {
		s.t.Fatal(err)
	}
	return []string{"gov", "propose", "--file", file, "--title", title, "--rationale", why, "--emergency", "--from", "admin-1"}
}

// messages is a file with a message, as the program reads it.
func (s *started) messages(m proto.Message) string {
	s.t.Helper()
	envelope, err := tx.Envelope(m)
	if err != nil {
		s.t.Fatal(err)
	}
	raw, err := protojson.Marshal((*txv1.Message)(envelope))
	if err != nil {
		s.t.Fatal(err)
	}
	path := filepath.Join(s.t.TempDir(), "messages.json")
	if err := os.WriteFile(path, []byte("["+string(raw)+"]"), 0o600); err != nil {
		s.t.Fatal(err)
	}
	return path
}

// decide has a member propose the messages in a file and three of four vote for them, and
// waits until they are executed. An emergency needs three quarters and waits for no
// time-lock.
func (s *started) decide(proposer int, file, title string) {
	s.t.Helper()
	made := s.asMember(proposer, s.proposing(file, title)...)
	id := made["responses"].([]any)[0].(map[string]any)["value"].(map[string]any)["proposal_id"].(string)
	for _, voter := range []int{0, 1, 2} {
		args := []string{"gov", "vote", id, "yes", "--from", "admin-1"}
		if voter == 1 {
			args = append(args, "--from", "admin-2")
		}
		s.asMember(voter, args...)
	}
	for end := time.Now().Add(time.Minute); ; time.Sleep(200 * time.Millisecond) {
		shown := s.asMember(0, "gov", "show", id)
		status := shown["proposal"].(map[string]any)["status"]
		if status == "STATUS_EXECUTED" {
			break
		}
		if status == "STATUS_FAILED" || time.Now().After(end) {
			s.t.Fatalf("%s: it is not executed: %v", title, shown)
		}
	}
	s.t.Logf("decided with proposal %s: %s", id, title)
}

// validators are the powers of the validators by organisation, as a node has them at its
// latest block that is signed.
func (s *started) validators() (powers []int64, height int64) {
	s.t.Helper()
	b := s.lightBlock(s.dial(0), 0)
	for _, v := range b.ValidatorSet.Validators {
		powers = append(powers, v.VotingPower)
	}
	return powers, b.SignedHeader.Header.Height
}

func (s *started) lightBlock(c *client.Client, height int64) *cmtproto.LightBlock {
	s.t.Helper()
	r, err := nodev1.NewNodeClient(c.Conn()).LightBlock(s.t.Context(), &nodev1.LightBlockRequest{Height: height})
	if err != nil {
		s.t.Fatal(err)
	}
	b := new(cmtproto.LightBlock)
	if err := b.Unmarshal(r.LightBlock); err != nil {
		s.t.Fatal(err)
	}
	return b
}

// counted waits until so many validators make the blocks.
func (s *started) counted(n int) {
	s.t.Helper()
	for end := time.Now().Add(time.Minute); ; time.Sleep(200 * time.Millisecond) {
		powers, height := s.validators()
		if len(powers) == n {
			s.t.Logf("from block %d on there are %d validators", height, n)
			return
		}
		if time.Now().After(end) {
			s.t.Fatalf("there are %d validators, want %d", len(powers), n)
		}
	}
}

// A network of four grows to seven and shrinks to five by votes, under load, and never
// misses a commitment: nothing that was acknowledged is lost or twice there, and no two
// blocks are further apart than longestGap. A vote that would give an organisation a third of
// the power is refused with the reason.
func TestANetworkGrowsAndShrinksByVotes(t *testing.T) {
	s := start(t)
	s.snapshotsEvery(20)
	load := s.honest(2, 0, 1)
	first := s.lightBlock(s.dial(0), 0).SignedHeader.Header.Height

	s.until("there is a snapshot, and two blocks behind it", time.Minute, func(v []testnet.View) bool { return v[0].Height > 25 })
	var came []*joiner
	for n, slug := range []string{"quay", "lighthouse", "foundry"} {
		// Every organisation may propose; here each of two does, so that neither meets its limit.
		proposer := []int{0, 2}[n%2]
		j := s.newcomer(slug, func(m proto.Message) { s.decide(proposer, s.messages(m), "Register "+slug) })
		j.launch()
		j.follows(2 * time.Minute)
		j.at("following")
		s.decide(proposer, filepath.Join(filepath.Dir(j.home.ConfigFile()), "bind-validator.json"), "Bind a validator of "+slug)
		j.at("validating")
		s.counted(5 + n)
		came = append(came, j)
	}

	// 30 of 90.
	own, err := testnet.Dir(s.dir).Home(s.record.Validators[0]).Keys()
	if err != nil {
		t.Fatal(err)
	}
	out, err := s.member(0, s.proposing(s.messages(&identityv1.BindValidator{
		PublicKey: own.Validator, Power: 30, Organisation: s.record.Validators[0].Organisation, Moniker: "mercy",
	}), "Give one organisation a third")...)
	want := fmt.Sprintf("%s/%d", identity.ErrTooMuchPower.Module, identity.ErrTooMuchPower.Code)
	if err == nil || !strings.Contains(out, want) || !strings.Contains(out, "third of the voting power") {
		t.Fatalf("a third of the power for one organisation: %v: %s", err, out)
	}
	t.Logf("refused: %s", strings.TrimSpace(out))

	// One that came leaves, and one that was there from the beginning.
	leave := func(key []byte, organisation string, left int) {
		t.Helper()
		s.decide(0, s.messages(&identityv1.BindValidator{PublicKey: key, Power: 0, Organisation: organisation}), "Remove the validator of "+organisation[strings.LastIndexByte(organisation, ':')+1:])
		s.counted(left)
	}
	keys, err := came[1].home.Keys()
	if err != nil {
		t.Fatal(err)
	}
	leave(keys.Validator, "did:chancery:lighthouse", 6)
	if keys, err = testnet.Dir(s.dir).Home(s.record.Validators[3]).Keys(); err != nil {
		t.Fatal(err)
	}
	leave(keys.Validator, s.record.Validators[3].Organisation, 5)
	time.Sleep(2 * time.Second)
	ids := load.stop()
	last := s.lightBlock(s.dial(0), 0).SignedHeader.Header.Height

	// Every commitment is kept, once.
	in := make(map[string]int)
	node := nodev1.NewNodeClient(s.dial(0).Conn())
	var times []int64
	for h := int64(1); h <= last; h++ {
		b, err := node.Block(t.Context(), &nodev1.BlockRequest{Height: h})
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range b.Record.Txs {
			in[fmt.Sprintf("%x", r.TxId)]++
		}
		if h >= first {
			times = append(times, b.Record.Time)
		}
	}
	for _, id := range ids {
		if in[id] != 1 {
			t.Errorf("transaction %s, which was acknowledged, is in %d blocks", id, in[id])
		}
	}
	var gaps []time.Duration
	for i := 1; i < len(times); i++ {
		gaps = append(gaps, time.Duration(times[i]-times[i-1])*time.Millisecond)
	}
	slices.Sort(gaps)
	t.Logf("%d transactions acknowledged in %d blocks; between two blocks %v at the median and %v at most", len(ids), len(times), gaps[len(gaps)/2], gaps[len(gaps)-1])
	if gaps[len(gaps)-1] > longestGap {
		t.Errorf("%v lie between two blocks, more than %v", gaps[len(gaps)-1], longestGap)
	}

	// All seven nodes have one state, those that vote no longer too.
	root := s.lightBlock(s.dial(0), last).SignedHeader.Header.AppHash
	same := func(who string, c *client.Client) {
		t.Helper()
		for end := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) {
			status, err := c.Status(t.Context())
			if err == nil && status.Height > last {
				break
			}
			if time.Now().After(end) {
				t.Fatalf("%s does not come to block %d: %v, %v", who, last, status, err)
			}
		}
		if got := s.lightBlock(c, last).SignedHeader.Header.AppHash; string(got) != string(root) {
			t.Errorf("in block %d of %s the app hash is %s", last, who, base64.StdEncoding.EncodeToString(got))
		}
	}
	for i := range s.record.Validators {
		same(fmt.Sprintf("validator %d", i), s.dial(i))
	}
	for _, j := range came {
		same(string(j.home), j.client())
		j.same()
	}
}
