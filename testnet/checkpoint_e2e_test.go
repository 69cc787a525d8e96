//go:build unix

package testnet_test

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/chancery/chancery/consensus/ports"
	"github.com/chancery/chancery/node/checkpoint"
	"github.com/chancery/chancery/node/config"
	"github.com/chancery/chancery/testnet"
)

// Two nodes of a network give one text, a witness in a process of its own co-signs both, a
// receipt is tied to what it saw, a forked log is refused, also after the witness was killed,
// and a node whose files are gone goes on from its headers.
func TestCheckpointsAreWitnessed(t *testing.T) {
	s := start(t)
	s.until("there are blocks", time.Minute, func(v []testnet.View) bool { return v[0].Height > 3 })
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	folder := at("witness")
	made := s.answer("witness", "init", "--dir", folder, "--name", "witness.example/one")
	witnessKey := made["key"].(string)
	policy := "witness one " + witnessKey + "\n"
	var keys []string
	for i := range 2 {
		key := s.answer("checkpoint", "key", "--home", string(s.home(i)))["key"].(string)
		keys = append(keys, key)
		policy += "log " + key + "\n"
	}
	s.run(append([]string{"witness", "add", "--dir", folder}, keys...)...)
	write(t, at("policy"), policy+"quorum one\n")

	listen := free(t)
	run := func() *process {
		p := s.process("witness", "start", "--dir", folder, "--listen", listen)
		for end := time.Now().Add(time.Minute); !strings.Contains(p.text(), "the witness runs"); time.Sleep(50 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatal(p.text())
			}
		}
		return p
	}
	witness := run()
	for i := range 2 {
		s.run("testnet", "kill", fmt.Sprint(i), "--signal", "TERM", "--dir", s.dir)
		s.until("it has ended", time.Minute, func(v []testnet.View) bool { return !v[i].Running })
		s.configure(i, func(c *config.Config) {
			c.Checkpoint.Interval = 5
			c.Witnesses = []config.Witness{{URL: "http://" + listen, Key: witnessKey, Timeout: config.Duration(5 * time.Second)}}
		})
		s.run("testnet", "restart", fmt.Sprint(i), "--dir", s.dir)
	}

	// body waits for a node's witnessed checkpoint beyond a size, and gives its text.
	body := func(i int, beyond int64) (string, int64) {
		t.Helper()
		for end := time.Now().Add(2 * time.Minute); ; time.Sleep(100 * time.Millisecond) {
			out, err := s.member(i, "checkpoint", "show")
			if err == nil {
				file := at(fmt.Sprintf("c%d-%d", i, time.Now().UnixNano()))
				if _, err := s.member(i, "checkpoint", "show", "--out", file); err == nil {
					raw, err := os.ReadFile(file)
					if err != nil {
						t.Fatal(err)
					}
					c, err := checkpoint.Parse(raw)
					if err != nil {
						t.Fatal(err)
					}
					if c.Size > beyond {
						s.run("checkpoint", "verify", file, "--policy", at("policy"))
						return string(raw), c.Size
					}
				}
			}
			if time.Now().After(end) {
				t.Fatalf("no checkpoint of more than %d blocks: %v\n%s", beyond, err, out)
			}
		}
	}
	first, size := body(0, 0)
	second, other := body(1, 0)
	for size != other { // until both are seen at one size
		if size < other {
			first, size = body(0, other-1)
		} else {
			second, other = body(1, size-1)
		}
	}
	text := func(raw string) string { b, _, _ := strings.Cut(raw, "\n\n"); return b }
	if text(first) != text(second) || first == second {
		t.Fatalf("two nodes give\n%s\n%s", first, second)
	}
	write(t, at("old"), first)

	// A receipt whose block is in what the witness saw.
	s.asMember(0, "query", "chain", "version", "--prove", at("version.receipt"))
	for end := time.Now().Add(2 * time.Minute); ; time.Sleep(500 * time.Millisecond) {
		if out, err := s.member(0, "checkpoint", "prove", "--receipt", at("version.receipt"), "--out", at("version.tlog-proof")); err == nil {
			break
		} else if time.Now().After(end) || !strings.Contains(out, `"retryable": true`) {
			t.Fatal(out)
		}
	}
	out := s.run("verify", at("version.receipt"), "--genesis", s.home(0).GenesisFile(), "--inclusion", at("version.tlog-proof"), "--policy", at("policy"))
	if !strings.Contains(out, "witness.example/one at ") {
		t.Error(out)
	}
	s.asMember(0, "checkpoint", "prove", "--height", "1", "--out", at("one.tlog-proof"))
	if out, err := s.try("verify", at("version.receipt"), "--genesis", s.home(0).GenesisFile(), "--inclusion", at("one.tlog-proof"), "--policy", at("policy")); err == nil || !strings.Contains(out, "checkpoint/12") {
		t.Errorf("the proof of another block is taken: %s", out)
	}
	s.asMember(1, "checkpoint", "prove", "--size", fmt.Sprint(size), "--out", at("longer"))
	s.run("checkpoint", "verify", at("longer"), "--old", at("old"), "--policy", at("policy"))

	// Somebody with a member's key forges another history.
	if err := witness.end(syscall.SIGKILL); err == nil {
		t.Error("it was not killed")
	}
	witness = run()
	last := size
	for code := 0; code != http.StatusUnprocessableEntity; {
		shown := s.answer("witness", "show", "--dir", folder)["logs"].([]any)[0].(map[string]any)
		if now := int64(shown["size"].(float64)); now < last {
			t.Fatalf("the witness forgot: %d of %d", now, last)
		} else {
			last = now
		}
		// While the nodes go on the witness may be at another size by then.
		if code = submit(t, listen, forged(t, s.home(0), s.record.ChainID, last)); code != http.StatusUnprocessableEntity && code != http.StatusConflict {
			t.Fatalf("a forked log is answered with %d", code)
		}
	}
	if !strings.Contains(witness.text(), "A FORK") {
		t.Error(witness.text())
	}

	// A node without its log computes it from its headers.
	s.run("testnet", "kill", "1", "--signal", "TERM", "--dir", s.dir)
	s.until("it has ended", time.Minute, func(v []testnet.View) bool { return !v[1].Running })
	if err := os.RemoveAll(s.home(1).Checkpoints()); err != nil {
		t.Fatal(err)
	}
	s.run("testnet", "restart", "1", "--dir", s.dir)
	body(1, last)
}

// forged is a body of add-checkpoint of another history, which goes on from the size that a
// witness is at, signed with a member's key.
func forged(t *testing.T, home config.Home, chainID string, from int64) []byte {
	t.Helper()
	key, err := checkpoint.ReadKey(home.CheckpointKeyFile(), checkpoint.LogRole)
	if err != nil {
		t.Fatal(err)
	}
	l, _, err := checkpoint.OpenLog(t.TempDir(), checkpoint.Origin(chainID))
	if err != nil {
		t.Fatal(err)
	}
	for range from + 1000 {
		if err := l.Append(bytes.Repeat([]byte{1}, checkpoint.HashBytes)); err != nil {
			t.Fatal(err)
		}
	}
	c := checkpoint.Checkpoint{Origin: checkpoint.Origin(chainID), Size: from + 1000}
	if c.Root, err = l.Root(c.Size); err != nil {
		t.Fatal(err)
	}
	path, err := l.Consistency(from, c)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := note.Sign(&note.Note{Text: c.Body()}, key)
	if err != nil {
		t.Fatal(err)
	}
	return checkpoint.Consistency{Old: from, Path: path, Checkpoint: raw}.Text()
}

func submit(t *testing.T, address string, body []byte) int {
	t.Helper()
	resp, err := http.Post("http://"+address+checkpoint.AddPath, "text/plain", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	return resp.StatusCode
}

// free is an address of loopback that nobody listens at.
func free(t *testing.T) string {
	t.Helper()
	port, err := ports.Pick(1)
	if err != nil {
		t.Fatal(err)
	}
	return ports.Address(port)
}

// listenSomewhere gives a node three addresses of loopback that nobody listens at.
func listenSomewhere(t *testing.T, c *config.Config) {
	t.Helper()
	first, err := ports.Pick(3)
	if err != nil {
		t.Fatal(err)
	}
	c.RPC.Listen, c.P2P.Listen, c.Telemetry.Listen = ports.Address(first), ports.Address(first+1), ports.Address(first+2)
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
