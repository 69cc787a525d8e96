//go:build linux

package testnet_test

import (
	"archive/tar"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	cmtproto "github.com/cometbft/cometbft/proto/tendermint/types"

	"github.com/chancery/chancery/chain/tx"
	"github.com/chancery/chancery/node/client"
	"github.com/chancery/chancery/testnet"

	nodev1 "github.com/chancery/chancery/proto/chancery/node/v1"
	provenancev1 "github.com/chancery/chancery/proto/chancery/provenance/v1"
)

const (
	e2eImage = "chancery:e2e"

	upWithin       = 90 * time.Second
	partitioned    = 20 * time.Second
	commitsWithin  = 10 * time.Second // of two halves that met again
	longestPause   = 5 * time.Second  // of three while the fourth is away
	projectLabel   = "io.chancery.testnet"
	loadWorkers    = 4
	loadPause      = 100 * time.Millisecond
	settledWithin  = 60 * time.Second
	restartsWithin = 30 * time.Second
)

// contained is a network of containers that run the built binary.
type contained struct {
	*e2e
	record  *testnet.Record
	project string
	nodes   []*client.Client // one for each validator
	all     *client.Client
}

// docker runs the docker command line, which must succeed.
func (c *contained) docker(args ...string) string {
	c.t.Helper()
	out, err := exec.Command("docker", args...).CombinedOutput()
	if err != nil {
		c.t.Fatalf("docker %s: %v: %s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

func (c *contained) container(i int) string { return fmt.Sprintf("%s-validator-%d", c.project, i) }

func (c *contained) status() []testnet.View {
	c.t.Helper()
	var s struct {
		Validators []testnet.View `json:"validators"`
	}
	out := c.run("testnet", "docker", "status", "--dir", c.dir, "--output", "json")
	if err := json.Unmarshal([]byte(out), &s); err != nil {
		c.t.Fatalf("%v in %s", err, out)
	}
	return s.Validators
}

// settled waits until all validators are healthy at one height with one app hash.
func (c *contained) settled(patience time.Duration) []testnet.View {
	c.t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(200 * time.Millisecond) {
		views := c.status()
		well := oneHash(views)
		for _, v := range views {
			well = well && v.Healthy
		}
		if well {
			return views
		}
		if time.Now().After(end) {
			c.t.Fatalf("after %v the validators are not of one state:\n%s", patience, testnet.Table(views))
		}
	}
}

// connect makes clients of all nodes, and of each.
func (c *contained) connect() {
	c.t.Helper()
	r, err := testnet.Load(testnet.Dir(c.dir))
	if err != nil {
		c.t.Fatal(err)
	}
	c.record, c.project = r, r.Containers.Project
	options, err := testnet.Dir(c.dir).Credentials(r, r.Validators[0]).Options()
	if err != nil {
		c.t.Fatal(err)
	}
	dial := func(addresses string) *client.Client {
		n, err := client.Dial(c.t.Context(), addresses, append(options, client.ChainID(r.ChainID), client.Backoff(50*time.Millisecond, time.Second))...)
		if err != nil {
			c.t.Fatal(err)
		}
		c.t.Cleanup(func() { _ = n.Close() })
		return n
	}
	for _, v := range r.Validators {
		c.nodes = append(c.nodes, dial(v.RPC))
	}
	c.all = dial(r.Addresses())
}

// height is a node's, as it says itself; -1 where it does not answer.
func (c *contained) height(i int) int64 {
	ctx, cancel := context.WithTimeout(c.t.Context(), time.Second)
	defer cancel()
	s, err := c.nodes[i].Status(ctx)
	if err != nil {
		return -1
	}
	return s.Height
}

// hashes are the app hashes in the headers of a node up to a height.
func (c *contained) hashes(i int, height int64) []string {
	c.t.Helper()
	var out []string
	for h := int64(1); h <= height; h++ {
		b, err := nodev1.NewNodeClient(c.nodes[i].Conn()).LightBlock(c.t.Context(), &nodev1.LightBlockRequest{Height: h})
		if err != nil {
			c.t.Fatalf("validator %d, block %d: %v", i, h, err)
		}
		block := new(cmtproto.LightBlock)
		if err := block.Unmarshal(b.LightBlock); err != nil {
			c.t.Fatal(err)
		}
		out = append(out, hex.EncodeToString(block.SignedHeader.Header.AppHash))
	}
	return out
}

// The network of four organisations in containers, from its start to its removal.
func TestContainers(t *testing.T) {
	c := &contained{e2e: newE2E(t)}
	version, err := testnet.EngineVersion(t.Context())
	if err != nil {
		t.Skipf("needs a Docker engine: %v", err)
	}
	t.Logf("Docker engine %s", version)
	c.dir, err = filepath.Abs(c.dir)
	if err != nil {
		t.Fatal(err)
	}
	build := exec.Command("../scripts/image.sh", e2eImage)
	build.Env = append(os.Environ(), "BINARY="+c.binary, "VERSION=e2e-"+fmt.Sprint(os.Getpid()))
	out, err := build.CombinedOutput()
	if err != nil {
		t.Fatalf("build the image: %v: %s", err, out)
	}
	t.Logf("%s", out)
	t.Cleanup(func() {
		if out, err := exec.Command("docker", "image", "rm", e2eImage, "chancery:e2e-"+fmt.Sprint(os.Getpid())).CombinedOutput(); err != nil {
			t.Errorf("remove the image: %v: %s", err, out)
		}
	})
	t.Cleanup(func() {
		if _, err := os.Stat(filepath.Join(c.dir, "testnet.json")); err != nil {
			return
		}
		if t.Failed() {
			out, err := c.try("testnet", "docker", "logs", "--dir", c.dir, "--lines", "15")
			t.Logf("the logs (%v):\n%s", err, out)
		}
		if out, err := c.try("testnet", "docker", "clean", "--dir", c.dir); err != nil {
			t.Errorf("clean: %v: %s", err, out)
		}
	})

	began := time.Now()
	said := c.run("testnet", "docker", "up", "--dir", c.dir, "--image", e2eImage)
	if took := time.Since(began); took > upWithin {
		t.Errorf("it was up after %v, want %v at most:\n%s", took, upWithin, said)
	} else {
		t.Logf("up after %v:\n%s", took, said)
	}
	c.connect()
	for _, step := range []struct {
		name string
		do   func(*contained)
	}{
		{"the demonstration passes", (*contained).demonstrated},
		{"containers are locked down", (*contained).lockedDown},
		{"organisations do not reach one another's doors", (*contained).separated},
		{"the chain outlives down and up", (*contained).downAndUp},
		{"two of four that are cut off stop the chain", (*contained).halves},
		{"one that is cut off is not waited for", (*contained).oneAway},
		{"one that is killed is started again", (*contained).killed},
		{"nothing acknowledged is lost in a rolling restart", (*contained).rolling},
		{"clean removes everything", (*contained).cleaned},
	} {
		if !t.Run(step.name, func(t *testing.T) {
			outer := c.t
			c.t = t
			defer func() { c.t = outer }()
			step.do(c)
		}) {
			return
		}
	}
}

func (c *contained) demonstrated() {
	out := c.run("testnet", "docker", "up", "--dir", c.dir, "--demo")
	for _, line := range strings.Split(out, "\n") {
		if strings.HasPrefix(line, "All ") {
			c.t.Log(line)
		}
	}
}

func (c *contained) lockedDown() {
	t := c.t
	for i := range c.record.Validators {
		name := c.container(i)
		var all []struct {
			Config struct {
				User string
				Env  []string
			}
			HostConfig struct {
				ReadonlyRootfs       bool
				Privileged           bool
				CapAdd, CapDrop      []string
				SecurityOpt          []string
				Memory, PidsLimit    int64
				PortBindings         map[string][]struct{ HostIp string }
				Binds, NetworkMode   any
				MemorySwap           int64
				RestartPolicy        struct{ Name string }
				UsernsMode, UTSMode  string
				PublishAllPorts      bool
				ExtraHosts, GroupAdd []string
			}
			State           struct{ Pid int }
			NetworkSettings struct {
				Networks map[string]any
				Ports    map[string][]struct{ HostIp string }
			}
		}
		raw := c.docker("inspect", name)
		if err := json.Unmarshal([]byte(raw), &all); err != nil {
			t.Fatal(err)
		}
		x := all[0]
		h := x.HostConfig
		if x.Config.User != "65532:65532" || !h.ReadonlyRootfs || h.Privileged || len(h.CapAdd) > 0 || !slices.Equal(h.CapDrop, []string{"ALL"}) ||
			!slices.Equal(h.SecurityOpt, []string{"no-new-privileges"}) || h.Memory != 1<<30 || h.MemorySwap != 1<<30 || h.PidsLimit != 256 || h.PublishAllPorts || h.RestartPolicy.Name != "unless-stopped" {
			t.Errorf("%s: %+v", name, x)
		}
		for port, at := range x.NetworkSettings.Ports {
			for _, a := range at {
				if a.HostIp != "127.0.0.1" || port != "9090/tcp" {
					t.Errorf("%s publishes %s at %q", name, port, a.HostIp)
				}
			}
		}
		want := []string{c.project + "-consensus", fmt.Sprintf("%s-org-%d", c.project, i)}
		if got := slices.Sorted(maps.Keys(x.NetworkSettings.Networks)); !slices.Equal(got, want) {
			t.Errorf("%s is in the networks %v", name, got)
		}
		for _, e := range x.Config.Env {
			if k, _, _ := strings.Cut(e, "="); !slices.Contains([]string{"PATH", "HOME", "CHANCERY_HOME"}, k) {
				t.Errorf("%s has the environment %s", name, e)
			}
		}
		passphrase, err := os.ReadFile(filepath.Join(c.dir, "passphrase"))
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(raw, strings.TrimSpace(string(passphrase))) {
			t.Errorf("docker inspect %s tells the passphrase", name)
		}
		// What the kernel says of the process, where this machine is the engine's.
		proc, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", x.State.Pid))
		if err != nil {
			t.Logf("the process of %s cannot be looked at: %v", name, err)
			continue
		}
		for _, want := range []string{"\nUid:\t65532\t65532\t65532\t65532\n", "\nCapEff:\t0000000000000000\n", "\nCapBnd:\t0000000000000000\n", "\nNoNewPrivs:\t1\n", "\nSeccomp:\t2\n"} {
			if !strings.Contains(string(proc), want) {
				t.Errorf("the process of %s lacks %q:\n%s", name, want, proc)
			}
		}
	}

	// The program itself may write into its volume and the tmpfs, and nowhere else.
	writes := func(home string) (string, error) {
		out, err := exec.Command("docker", "exec", c.container(0), "/usr/bin/chancery", "init", "--home", home).CombinedOutput()
		return string(out), err
	}
	for _, home := range []string{"/home/chancery/other", "/tmp/other"} {
		if out, err := writes(home); err != nil {
			t.Errorf("into %s: %v: %s", home, err, out)
		}
	}
	for _, home := range []string{"/other", "/etc/other", "/usr/bin/other", "/home/other"} {
		if out, err := writes(home); err == nil || !strings.Contains(out, "read-only file system") {
			t.Errorf("into %s: %v: %s", home, err, out)
		}
	}
	if out, err := exec.Command("docker", "cp", "e2e_test.go", c.container(0)+":/etc/").CombinedOutput(); err == nil || !strings.Contains(string(out), "read-only") {
		t.Errorf("a copy into the root: %v: %s", err, out)
	}
	if out, err := exec.Command("docker", "exec", c.container(0), "/bin/sh", "-c", "true").CombinedOutput(); err == nil {
		t.Errorf("there is a shell: %s", out)
	}

	// The image holds what it should and no key. The engine itself adds a few empty files.
	id := c.docker("create", "--label", projectLabel+"="+c.project, e2eImage)
	defer c.docker("rm", "--force", "--volumes", id)
	export := exec.Command("docker", "export", id)
	pipe, err := export.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := export.Start(); err != nil {
		t.Fatal(err)
	}
	var files []string
	for in := tar.NewReader(pipe); ; {
		f, err := in.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if f.Typeflag == tar.TypeReg && f.Size > 0 {
			files = append(files, f.Name)
		}
	}
	if err := export.Wait(); err != nil {
		t.Fatal(err)
	}
	files = slices.DeleteFunc(files, func(f string) bool { return f == "etc/ssl/certs/ca-certificates.crt" }) // where the host has one
	if !slices.Equal(files, []string{"home/chancery/LICENSE", "usr/bin/chancery"}) {
		t.Errorf("the image holds %v", files)
	}
}

// separated: a client in an organisation's network reaches its own validator's door, and
// no other's.
func (c *contained) separated() {
	ask := func(network string, of int) (string, error) {
		// The certificates are the caller's and readable by nobody else.
		out, err := exec.Command("docker", "run", "--rm", "--label", projectLabel+"="+c.project, "--network", network, "--user", fmt.Sprint(os.Getuid()), "--read-only",
			"--tmpfs", "/home/chancery", "--volume", filepath.Join(c.dir, "tls")+":/tls:ro", e2eImage, "status", "--timeout", "5s",
			"--node", fmt.Sprintf("validator-%d:9090", of), "--tls-ca", "/tls/ca.pem",
			"--tls-cert", "/tls/mercy-hospital.pem", "--tls-key", "/tls/mercy-hospital-key.pem").CombinedOutput()
		return string(out), err
	}
	for i := range c.record.Validators {
		out, err := ask(fmt.Sprintf("%s-org-0", c.project), i)
		if i == 0 && (err != nil || !strings.Contains(out, c.record.ChainID)) {
			c.t.Errorf("its own validator: %v: %s", err, out)
		}
		if exit := (*exec.ExitError)(nil); i > 0 && (!errors.As(err, &exit) || exit.ExitCode() != 3) {
			c.t.Errorf("validator %d is reached: %v: %s", i, err, out)
		}
	}
	out, err := c.try("status", "--node", c.record.Validators[0].RPC, "--timeout", "5s")
	if err == nil {
		c.t.Errorf("a client without a certificate is answered: %s", out)
	}
}

func (c *contained) downAndUp() {
	t := c.t
	height := c.settled(settledWithin)[0].Height
	before := c.hashes(0, height)
	c.run("testnet", "docker", "down", "--dir", c.dir)
	if left := c.docker("ps", "--all", "--quiet", "--filter", "label="+projectLabel+"="+c.project); left != "" {
		t.Errorf("after down there are the containers %s", left)
	}
	began := time.Now()
	c.run("testnet", "docker", "up", "--dir", c.dir)
	t.Logf("up again after %v", time.Since(began))
	if now := c.settled(settledWithin)[0].Height; now <= height {
		t.Errorf("the chain was at height %d and is at %d", height, now)
	}
	for i := range c.nodes {
		if !slices.Equal(c.hashes(i, height), before) {
			t.Errorf("validator %d has another history of app hashes", i)
		}
	}
	t.Logf("the app hashes of heights 1 to %d are on all four what they were", height)
}

func (c *contained) cut(i int) {
	c.docker("network", "disconnect", c.project+"-consensus", c.container(i))
}

func (c *contained) mend(i int) {
	c.docker("network", "connect", "--alias", fmt.Sprintf("validator-%d", i), c.project+"-consensus", c.container(i))
}

func (c *contained) halves() {
	t := c.t
	c.settled(settledWithin)
	c.cut(2)
	c.cut(3)
	time.Sleep(time.Second) // a block may have been decided already
	var before [4]int64
	for i := range before {
		before[i] = c.height(i)
	}
	for end := time.Now().Add(partitioned); time.Now().Before(end); time.Sleep(500 * time.Millisecond) {
		for i := range before {
			if h := c.height(i); h != before[i] {
				t.Fatalf("validator %d was at height %d and is at %d, without a quorum", i, before[i], h)
			}
		}
	}
	// Two change places, so that each comes back under another address.
	c.mend(3)
	c.mend(2)
	began := time.Now()
	took := make([]time.Duration, 4)
	for done := 0; done < 4; time.Sleep(50 * time.Millisecond) {
		done = 0
		for i := range took {
			if took[i] == 0 && c.height(i) > slices.Max(before[:]) {
				took[i] = time.Since(began)
			}
			if took[i] != 0 {
				done++
			}
		}
		if time.Since(began) > commitsWithin {
			t.Fatalf("%v after the halves met again: validators commit after %v (0: not yet)\n%s", commitsWithin, took, testnet.Table(c.status()))
		}
	}
	t.Logf("no block for %v; after the halves met again the validators committed after %v", partitioned, took)
	c.equalHistories()
}

// equalHistories compares all validators at each of the latest heights.
func (c *contained) equalHistories() {
	c.t.Helper()
	height := c.settled(settledWithin)[0].Height
	first := c.hashes(0, height)
	for i := 1; i < len(c.nodes); i++ {
		if !slices.Equal(c.hashes(i, height), first) {
			c.t.Errorf("validator %d has other app hashes", i)
		}
	}
}

// pauses looks at validators until the function ends, and tells the longest time in
// which none of them committed a block.
func (c *contained) pauses(of []int, do func()) time.Duration {
	stop, result := make(chan struct{}), make(chan time.Duration, 1)
	go func() {
		var longest time.Duration
		last, at := int64(0), time.Now()
		for {
			for _, i := range of {
				if h := c.height(i); h > last {
					if last > 0 {
						longest = max(longest, time.Since(at))
					}
					last, at = h, time.Now()
				}
			}
			select {
			case <-stop:
				result <- max(longest, time.Since(at))
				return
			case <-time.After(20 * time.Millisecond):
			}
		}
	}()
	do()
	close(stop)
	return <-result
}

func (c *contained) oneAway() {
	longest := c.pauses([]int{0, 1, 2}, func() {
		c.cut(3)
		time.Sleep(partitioned)
		c.mend(3)
		time.Sleep(5 * time.Second)
	})
	if longest > longestPause {
		c.t.Errorf("the longest pause between two blocks was %v, want at most %v", longest, longestPause)
	} else {
		c.t.Logf("the longest pause between two blocks was %v", longest)
	}
	c.equalHistories()
}

// killed: a container whose process is killed from outside, as the kernel does when
// memory is short, is started again by the engine.
func (c *contained) killed() {
	t := c.t
	var s struct{ Pid int }
	if err := json.Unmarshal([]byte(c.docker("inspect", "--format", "{{json .State}}", c.container(1))), &s); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(s.Pid, syscall.SIGKILL); err != nil {
		t.Skipf("the process of a container cannot be killed by this user: %v", err)
	}
	began := time.Now()
	for {
		views := c.status()
		if views[1].Running && views[1].PID != s.Pid && views[1].Healthy && views[1].Height > 0 {
			break
		}
		if time.Since(began) > restartsWithin {
			t.Fatalf("%v after it was killed:\n%s", restartsWithin, testnet.Table(views))
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Logf("started again by the engine and healthy after %v", time.Since(began))
	if n := c.docker("inspect", "--format", "{{.RestartCount}}", c.container(1)); n != "1" {
		t.Errorf("the engine has started it again %s times", n)
	}
	c.equalHistories()
}

func (c *contained) rolling() {
	t := c.t
	v := c.record.Validators[0]
	ring, err := testnet.OpenKeyring(testnet.Dir(c.dir), testnet.Dir(c.dir).Home(v))
	if err != nil {
		t.Fatal(err)
	}
	entry, err := ring.Lookup("registrar")
	if err != nil {
		t.Fatal(err)
	}
	secret, err := ring.Signer("registrar")
	if err != nil {
		t.Fatal(err)
	}
	signer := client.Signer(entry.KeyURL, secret)
	var (
		mu    sync.Mutex // guards acked and fault
		acked = make(map[tx.ID]int64)
		fault error
		group sync.WaitGroup
	)
	first := c.height(0)
	stop := make(chan struct{})
	for w := range loadWorkers {
		group.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				case <-time.After(loadPause):
				}
				raw, id, err := c.all.Draft(entry.DID, &provenancev1.RegisterEntity{
					Id: fmt.Sprintf("rolling-%d-%d", w, n), Entity: &provenancev1.Entity{MediaType: "text/plain"},
				}).Sign(signer)
				var result interface{ GetHeight() int64 }
				if err == nil {
					result, err = c.all.Commit(t.Context(), raw)
				}
				mu.Lock()
				if err != nil {
					fault = errors.Join(fault, fmt.Errorf("transaction %d of client %d: %w", n, w, err))
				} else {
					acked[id] = result.GetHeight()
				}
				mu.Unlock()
			}
		})
	}
	longest := c.pauses([]int{0, 1, 2, 3}, func() {
		time.Sleep(2 * time.Second)
		for i := range c.record.Validators {
			c.docker("restart", "-t", "15", c.container(i))
			c.settled(settledWithin)
			time.Sleep(time.Second)
		}
	})
	close(stop)
	group.Wait()
	if fault != nil {
		t.Errorf("clients were told of failures: %v", fault)
	}
	// Every block of every validator, since a transaction counts once on each.
	last := c.settled(settledWithin)[0].Height
	for i, n := range c.nodes {
		seen := make(map[tx.ID]int)
		for h := first; h <= last; h++ {
			b, err := nodev1.NewNodeClient(n.Conn()).Block(t.Context(), &nodev1.BlockRequest{Height: h})
			if err != nil {
				t.Fatalf("validator %d, block %d: %v", i, h, err)
			}
			for _, r := range b.Record.Txs {
				id := tx.ID(r.TxId)
				if seen[id]++; acked[id] != 0 && acked[id] != h || r.Code != 0 {
					t.Errorf("validator %d: transaction %s is in block %d with code %d, acknowledged for block %d", i, id, h, r.Code, acked[id])
				}
			}
		}
		for id, h := range acked {
			if seen[id] != 1 {
				t.Errorf("validator %d has transaction %s, acknowledged for block %d, %d times", i, id, h, seen[id])
			}
		}
	}
	// One of four is away at a time, so the chain goes on.
	if longest > longestPause {
		t.Errorf("the longest pause between two blocks was %v, want at most %v", longest, longestPause)
		for i := range c.nodes {
			t.Logf("%s:\n%s", c.container(i), c.docker("logs", "--tail", "60", c.container(i)))
		}
	}
	if len(acked) < 50 {
		t.Errorf("only %d transactions were acknowledged: that is no load", len(acked))
	}
	t.Logf("four restarts, %d transactions acknowledged, each in one block of every validator; longest pause between blocks %v", len(acked), longest)
	c.equalHistories()
}

func (c *contained) cleaned() {
	c.run("testnet", "docker", "clean", "--dir", c.dir)
	filter := "label=" + projectLabel + "=" + c.project
	for what, left := range map[string]string{
		"containers": c.docker("ps", "--all", "--quiet", "--filter", filter),
		"networks":   c.docker("network", "ls", "--quiet", "--filter", filter),
		"volumes":    c.docker("volume", "ls", "--quiet", "--filter", filter),
	} {
		if left != "" {
			c.t.Errorf("%s are left: %s", what, left)
		}
	}
	if _, err := os.Stat(c.dir); !errors.Is(err, os.ErrNotExist) {
		c.t.Errorf("the folder is left: %v", err)
	}
}
