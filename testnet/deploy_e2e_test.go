//go:build linux

package testnet_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// host is a network namespace with an address of its own, and a shell in it that stays
// open, as an operator's does.
type host struct {
	t       *testing.T
	slug    string
	space   string
	address string
	dir     string
	in      io.Writer
	out     *bufio.Reader
	node    *exec.Cmd
	log     string
}

// threeHosts makes three network namespaces that a bridge joins. The bridge lies in a
// fourth, so that neither names nor firewall rules of this machine meet it.
type threeHosts struct {
	t      *testing.T
	wires  string // the namespace of the bridge
	hosts  []*host
	binary string
}

func newThreeHosts(t *testing.T) *threeHosts {
	t.Helper()
	if os.Getenv("CHANCERY_E2E") != "1" {
		t.Skip("runs whole networks of the built binary; 'make e2e' does")
	}
	if _, err := exec.LookPath("ip"); err != nil {
		t.Skip("makes network namespaces, and there is no program ip here (iproute2)")
	}
	h := &threeHosts{t: t, wires: fmt.Sprintf("chancery-%d", os.Getpid()), binary: os.Getenv("CHANCERY_BIN")}
	if out, err := exec.Command("ip", "netns", "add", h.wires).CombinedOutput(); err != nil {
		t.Skipf("makes network namespaces, which are not permitted here: %v: %s", err, out)
	}
	t.Cleanup(func() { h.ip("netns", "del", h.wires) })
	h.ip("-n", h.wires, "link", "add", "bridge", "type", "bridge")
	h.ip("-n", h.wires, "link", "set", "bridge", "up")
	for i, slug := range []string{"mercy", "northside", "harbour"} {
		o := &host{t: t, slug: slug, space: fmt.Sprintf("%s-%d", h.wires, i), address: fmt.Sprintf("10.77.0.%d", i+1), dir: t.TempDir()}
		o.log = filepath.Join(o.dir, "node.log")
		h.ip("netns", "add", o.space)
		t.Cleanup(func() { h.ip("netns", "del", o.space) })
		h.ip("-n", h.wires, "link", "add", slug, "type", "veth", "peer", "name", "eth0", "netns", o.space)
		h.ip("-n", h.wires, "link", "set", slug, "master", "bridge", "up")
		h.ip("-n", o.space, "address", "add", o.address+"/24", "dev", "eth0")
		h.ip("-n", o.space, "link", "set", "lo", "up")
		h.ip("-n", o.space, "link", "set", "eth0", "up")
		h.hosts = append(h.hosts, o)
	}
	return h
}

func (h *threeHosts) ip(args ...string) {
	h.t.Helper()
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		h.t.Errorf("ip %s: %v: %s", strings.Join(args, " "), err, out)
	}
}

// command is a command on the host.
func (o *host) command(env []string, name string, args ...string) *exec.Cmd {
	cmd := exec.Command("ip", append([]string{"netns", "exec", o.space, name}, args...)...)
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "CHANCERY_") {
			cmd.Env = append(cmd.Env, v)
		}
	}
	cmd.Env = append(cmd.Env, env...)
	return cmd
}

// open opens the operator's shell.
func (o *host) open(env ...string) {
	o.t.Helper()
	cmd := o.command(env, "bash")
	cmd.Dir = o.dir
	in, err := cmd.StdinPipe()
	if err != nil {
		o.t.Fatal(err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		o.t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = w, w
	if err := cmd.Start(); err != nil {
		o.t.Fatal(err)
	}
	_ = w.Close()
	o.in, o.out = in, bufio.NewReader(r)
	o.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // it was killed
		_ = r.Close()
	})
	o.do("set -euo pipefail")
}

const ended = "@@ended"

// do runs commands in the operator's shell and returns what they print.
func (o *host) do(script string) string {
	o.t.Helper()
	if _, err := fmt.Fprintf(o.in, "{ %s\n} < /dev/null\nprintf '\\n%s\\n'\n", script, ended); err != nil {
		o.t.Fatal(err)
	}
	var all strings.Builder
	done := make(chan error, 1)
	go func() {
		for {
			line, err := o.out.ReadString('\n')
			if err != nil || line == ended+"\n" {
				done <- err
				return
			}
			all.WriteString(line)
		}
	}()
	select {
	case err := <-done:
		if err != nil {
			o.t.Fatalf("%s: the commands failed:\n%s\n%s\nthe log: %s", o.slug, script, all.String(), o.tail())
		}
	case <-time.After(4 * time.Minute):
		o.t.Fatalf("%s: the commands did not end:\n%s\nthe log: %s", o.slug, script, o.tail())
	}
	return all.String()
}

// block runs a block of the page, which must print what the page says.
func (o *host) block(b block) string {
	o.t.Helper()
	out := o.do(b.text)
	rest := out
	for _, want := range b.prints {
		_, after, ok := strings.Cut(rest, want)
		if !ok {
			o.t.Fatalf("docs/deploy.md:%d: %s: the block does not print %q, at least not after what comes before it:\n%s", b.line, o.slug, want, out)
		}
		rest = after
	}
	return out
}

// start runs the node by the command of the systemd unit.
func (o *host) start() {
	o.t.Helper()
	unit, err := os.ReadFile(filepath.Join("..", "docs", "operations", "chancery.service"))
	if err != nil {
		o.t.Fatal(err)
	}
	m := regexp.MustCompile(`(?m)^ExecStart=/usr/local/bin/chancery (.+)$`).FindSubmatch(unit)
	if m == nil {
		o.t.Fatal("the unit starts no chancery")
	}
	log, err := os.OpenFile(o.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		o.t.Fatal(err)
	}
	defer log.Close()
	o.node = o.command([]string{"CHANCERY_HOME=" + o.home()}, filepath.Join(o.dir, "bin", "chancery"), strings.Fields(string(m[1]))...)
	o.node.Stdout, o.node.Stderr = log, log
	if err := o.node.Start(); err != nil {
		o.t.Fatal(err)
	}
	o.t.Cleanup(o.stop)
}

// stop ends the node in good order.
func (o *host) stop() {
	o.t.Helper()
	if o.node == nil {
		return
	}
	_ = o.node.Process.Signal(syscall.SIGTERM)
	if err := o.node.Wait(); err != nil {
		o.t.Errorf("%s: the node ended with %v; the log: %s", o.slug, err, o.tail())
	}
	o.node = nil
}

func (o *host) home() string { return filepath.Join(o.dir, "home") }

func (o *host) tail() string {
	raw, _ := os.ReadFile(o.log) // it is for the reader of a failure
	return string(raw[max(0, len(raw)-3000):])
}

// height is what the node says in its own network.
func (o *host) height() int64 {
	o.t.Helper()
	var s struct {
		Height int64 `json:"height"`
	}
	out := o.do("chancery health --output json || true")
	if err := json.Unmarshal([]byte(out[strings.Index(out, "{"):strings.LastIndex(out, "}")+1]), &s); err != nil {
		o.t.Fatalf("%v: %s", err, out)
	}
	return s.Height
}

// release makes a signed release of the binary, as scripts/release.sh does.
func (h *threeHosts) release() (folder, key string) {
	t := h.t
	t.Helper()
	folder = t.TempDir()
	raw, err := os.ReadFile(h.binary)
	if err != nil {
		t.Fatal(err)
	}
	run := func(dir, script string, env ...string) {
		t.Helper()
		cmd := exec.Command("bash", "-euo", "pipefail", "-c", script)
		cmd.Dir, cmd.Env = dir, append(os.Environ(), env...)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", script, err, out)
		}
	}
	arch := "amd64"
	if out, err := exec.Command("uname", "-m").Output(); err == nil && strings.TrimSpace(string(out)) == "aarch64" {
		arch = "arm64"
	}
	if err := os.WriteFile(filepath.Join(folder, "chancery-linux-"+arch), raw, 0o755); err != nil {
		t.Fatal(err)
	}
	run(folder, "sha256sum chancery-linux-* > SHA256SUMS")
	tools := filepath.Join(t.TempDir(), "sign")
	run("..", "go build -o '"+tools+"' ./scripts/sign")
	keys := t.TempDir()
	run(keys, "'"+tools+"' --new release")
	run(folder, "'"+tools+"' SHA256SUMS", "CHANCERY_SIGNING_KEY_FILE="+filepath.Join(keys, "release.key"))
	if _, err := exec.LookPath("minisign"); err != nil {
		t.Log("there is no minisign here; scripts/sign verifies in its place")
		shim := fmt.Sprintf("#!/bin/sh\n[ \"$1\" = -Vm ] && [ \"$3\" = -p ] && exec '%s' --public \"$4\" \"$2\"\n", tools)
		for _, o := range h.hosts {
			if err := os.WriteFile(filepath.Join(o.dir, "bin", "minisign"), []byte(shim), 0o755); err != nil {
				t.Fatal(err)
			}
		}
	}
	return folder, filepath.Join(keys, "release.pub")
}

// The commands of docs/deploy.md take three organisations on three hosts from a release
// to a chain with receipts, doctor, backup and new keys; and with one host away the chain
// does what the page says.
func TestDeployOnThreeHosts(t *testing.T) {
	h := newThreeHosts(t)
	page := filepath.Join("..", "docs", "deploy.md")
	blocks := func(section string, n int) []block {
		t.Helper()
		out := blocksOf(t, page, section)
		if len(out) != n {
			t.Fatalf("docs/deploy.md has %d blocks under %q, and the test knows %d", len(out), section, n)
		}
		return out
	}
	everywhere := func(fn func(*host)) {
		t.Helper()
		var group sync.WaitGroup
		for _, o := range h.hosts {
			group.Go(func() { fn(o) })
		}
		group.Wait()
		if t.Failed() {
			t.FailNow()
		}
	}
	for _, o := range h.hosts {
		for _, dir := range []string{"bin", "office", "exchange", "backups"} {
			if err := os.Mkdir(filepath.Join(o.dir, dir), 0o700); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.WriteFile(filepath.Join(o.dir, "passphrase"), []byte("a passphrase for "+o.slug+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	folder, key := h.release()
	begins := time.Now().UTC().Add(20 * time.Second).Format(time.RFC3339)
	for i, o := range h.hosts {
		o.open("CHANCERY_HOME="+o.home(), "BIN="+filepath.Join(o.dir, "bin"), "RELEASE="+folder, "RELEASE_KEY="+key,
			"OFFICE="+filepath.Join(o.dir, "office"), "EXCHANGE="+filepath.Join(o.dir, "exchange"), "BACKUPS="+filepath.Join(o.dir, "backups"),
			"CHANCERY_PASSPHRASE_FILE="+filepath.Join(o.dir, "passphrase"), "BEGINS="+begins, "SLUG="+o.slug, "ADDRESS="+o.address,
			"MEMBERS="+h.hosts[(i+1)%3].address+", "+h.hosts[(i+2)%3].address, "CLIENTS=10.77.0.0/24",
			"PATH="+filepath.Join(o.dir, "bin")+":"+os.Getenv("PATH"))
	}

	values, install, firewall := blocks("Your values", 1), blocks("Install a release", 1), blocks("Firewall", 1)
	certificates, ceremony := blocks("Keys and certificates", 1), blocks("The ceremony", 3)
	_, noFirewall := exec.LookPath("nft")
	if noFirewall != nil {
		t.Log("there is no nft here; the firewall's rules are not tried")
	}
	everywhere(func(o *host) {
		o.block(values[0])
		o.block(install[0])
		if noFirewall == nil {
			o.block(firewall[0])
		}
		o.block(certificates[0])
		o.block(ceremony[0])
	})
	// Each sends both files to both others.
	for _, from := range h.hosts {
		for _, name := range []string{from.slug + ".part.json", from.slug + "-ca.pem"} {
			raw, err := os.ReadFile(filepath.Join(from.dir, "exchange", name))
			if err != nil {
				t.Fatal(err)
			}
			for _, to := range h.hosts {
				if err := os.WriteFile(filepath.Join(to.dir, "exchange", name), raw, 0o600); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	everywhere(func(o *host) { o.block(ceremony[1]) })
	// The persons compare what each host printed.
	agreed := ""
	for _, o := range h.hosts {
		said := strings.Fields(o.do(`chancery genesis hash "$EXCHANGE/genesis.json"`))[0]
		if agreed == "" {
			agreed = said
		}
		if len(said) != 64 || said != agreed {
			t.Fatalf("%s has the hash %s, others %s", o.slug, said, agreed)
		}
	}
	everywhere(func(o *host) {
		o.do("export AGREED=" + agreed)
		o.block(ceremony[2])
	})
	for _, o := range h.hosts {
		o.start()
	}

	first, administrator, watch := blocks("Start", 1), blocks("The first administrator", 2), blocks("Watch", 1)
	everywhere(func(o *host) {
		o.block(first[0])
		o.block(administrator[0])
		o.block(administrator[1])
	})
	h.goOn()
	everywhere(func(o *host) {
		// What one committed is read and verified at the others' doors.
		for _, other := range h.hosts {
			o.do(fmt.Sprintf("chancery verify %q --genesis \"$EXCHANGE/genesis.json\"", filepath.Join(other.dir, "exchange", other.slug+"-roles.receipt")))
		}
		o.block(watch[0])
	})
	h.closedToStrangers()

	one, others := h.hosts[0], h.hosts[1:]
	one.block(blocks("Back up", 1)[0])
	before := one.do(`chancery certs show "$CHANCERY_HOME/config/server.pem"`)
	one.block(blocks("Rotate certificates", 1)[0])
	if raw, _ := os.ReadFile(one.log); before == one.do(`chancery certs show "$CHANCERY_HOME/config/server.pem"`) || !strings.Contains(string(raw), "the door uses its new files") {
		t.Error("the door has its old certificate")
	}
	rotate := blocks("Rotate the node key", 3)
	one.block(rotate[0])
	raw, err := os.ReadFile(filepath.Join(one.dir, "exchange", "rotated"))
	if err != nil {
		t.Fatal(err)
	}
	ids := strings.Fields(string(raw))
	for _, o := range others {
		if err := os.WriteFile(filepath.Join(o.dir, "exchange", "rotated"), raw, 0o600); err != nil {
			t.Fatal(err)
		}
		o.block(rotate[1])
		if out := o.do(`grep persistent_peers "$CHANCERY_HOME/config/chancery.toml"`); len(ids) != 2 || !strings.Contains(out, ids[1]) || strings.Contains(out, ids[0]) {
			t.Errorf("%s lists %s, rotated %v", o.slug, out, ids)
		}
	}
	one.stop()
	one.start()
	one.block(rotate[2])
	for _, o := range h.hosts { // with the new lists
		o.stop()
		o.start()
		o.do("until chancery health | grep '^height *[1-9]'; do sleep 1; done")
	}
	// Nodes that have just started have neither peers nor a latest block whose age they know.
	h.goOn()
	everywhere(func(o *host) { o.block(watch[0]) })

	h.away(h.hosts[2])
}

// closedToStrangers tries doors without a certificate, and what only loopback serves.
func (h *threeHosts) closedToStrangers() {
	h.t.Helper()
	one, two := h.hosts[0], h.hosts[1]
	refused := two.do(fmt.Sprintf("env -u CHANCERY_TLS_CA -u CHANCERY_TLS_CERT -u CHANCERY_TLS_KEY chancery status --node %s:9090 --timeout 5s 2>&1 || true", one.address))
	if !strings.Contains(refused, "chancery:") || strings.Contains(refused, "height") {
		h.t.Errorf("a client without TLS: %s", refused)
	}
	for _, port := range []string{"26660", "9091"} {
		if out := two.do(fmt.Sprintf("curl --silent --max-time 2 http://%s:%s/metrics || echo closed", one.address, port)); !strings.Contains(out, "closed") {
			h.t.Errorf("port %s is open to others: %s", port, out)
		}
	}
}

// away takes a host off the bridge: of three validators the chain stands still, and goes
// on when it is back.
func (h *threeHosts) away(o *host) {
	t := h.t
	t.Helper()
	h.ip("-n", h.wires, "link", "set", o.slug, "down")
	time.Sleep(3 * time.Second) // a block may have been decided already
	heights := make([]int64, 3)
	for i, x := range h.hosts {
		heights[i] = x.height()
	}
	time.Sleep(17 * time.Second) // and more than watchdog.stall_seconds since the last
	for i, x := range h.hosts {
		if now := x.height(); now != heights[i] {
			t.Errorf("%s went from height %d to %d without %s", x.slug, heights[i], now, o.slug)
		}
	}
	if out := h.hosts[0].do("chancery health || true"); !strings.Contains(out, "waiting") {
		t.Errorf("with one of three away: %s", out)
	}
	// Reads go on.
	h.hosts[0].do(`chancery query identity roles --did "$did"`)
	h.ip("-n", h.wires, "link", "set", o.slug, "up")
	h.goOn()
	h.hosts[2].do(`chancery tx identity revoke-role --from admin-1 --author "$ORGANISATION" --did "$did" --role registrar`)
}

// goOn waits until all hosts have ten blocks more than any of them has now.
func (h *threeHosts) goOn() {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(h.t.Context(), 2*time.Minute)
	defer cancel()
	var from int64
	for _, o := range h.hosts {
		from = max(from, o.height())
	}
	for _, o := range h.hosts {
		for o.height() < from+10 {
			if ctx.Err() != nil {
				h.t.Fatalf("%s does not go on from height %d: %s", o.slug, from, o.tail())
			}
			time.Sleep(500 * time.Millisecond)
		}
	}
}
