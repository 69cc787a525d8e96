//go:build unix

package testnet

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/chancery/chancery/node/config"
)

// contained makes a network in containers, without an engine.
func contained(t *testing.T) (*Docker, *Record) {
	t.Helper()
	d := NewDocker(&Network{Dir: Dir(filepath.Join(t.TempDir(), "net")), Binary: "unused"})
	r, err := d.Make(t.Context(), 4, 0, &Sentinel{}, Containers{})
	if err != nil {
		t.Fatal(err)
	}
	return d, r
}

// fakeEngine answers as an engine that has an image and nothing else, and keeps what it
// was told.
type fakeEngine struct {
	calls   [][]string
	running map[string]bool
	made    map[string]bool
}

func (f *fakeEngine) call(_ context.Context, args ...string) (string, error) {
	f.calls = append(f.calls, args)
	last := args[len(args)-1]
	switch {
	case args[0] == "create":
		f.made[args[2]] = true
	case args[0] == "start":
		if !f.made[last] {
			return "", fmt.Errorf("start %s, which is not there", last)
		}
		f.running[last] = true
	case args[0] == "rm":
		if !f.made[last] {
			return "", errors.New("Error: No such container: " + last)
		}
		delete(f.made, last)
	case args[0] == "container" && args[1] == "inspect":
		switch {
		case f.running[last]:
			return `{"Status":"running","Pid":7,"Health":{"Status":"healthy"}}`, nil
		case f.made[last]:
			return `{"Status":"created"}`, nil
		}
		return "", errors.New("Error: No such container: " + last)
	}
	return "", nil
}

// plan is what a network is made of, read from either form of it.
type plan struct {
	Networks   map[string]string            // name to "internal" or ""
	Volumes    map[string]string            // name to its labels
	Containers map[string]map[string]string // name to what was asked for
}

// planOfCalls reads the arguments that were given to the docker command line.
func planOfCalls(t *testing.T, calls [][]string, dir string) plan {
	t.Helper()
	p := plan{map[string]string{}, map[string]string{}, map[string]map[string]string{}}
	for _, c := range calls {
		last := c[len(c)-1]
		switch {
		case c[0] == "network" && c[1] == "create":
			p.Networks[last] = fmt.Sprint(c[2:4], slices.Contains(c, "--internal"), c[slices.Index(c, "--label")+1])
		case c[0] == "volume" && c[1] == "create":
			p.Volumes[last] = c[slices.Index(c, "--label")+1]
		case c[0] == "network" && c[1] == "connect":
			p.Containers[last]["networks"] += " " + c[4] + "=" + c[3]
		case c[0] == "create":
			s := map[string]string{}
			i, network, alias := 1, "", ""
			for ; strings.HasPrefix(c[i], "--"); i++ {
				switch flag := strings.TrimPrefix(c[i], "--"); flag {
				case "read-only", "no-healthcheck":
					s[flag] = "true"
				case "network":
					i++
					network = c[i]
				case "network-alias":
					i++
					alias = c[i]
				case "cap-drop", "cap-add", "label", "volume", "publish", "tmpfs", "security-opt", "log-opt":
					i++
					s[flag] += " " + strings.Replace(c[i], dir+"/", "./", 1)
				default:
					i++
					s[flag] = c[i]
				}
			}
			s["image"], s["command"] = c[i], strings.Join(c[i+1:], " ")
			if s["networks"] = " " + network + "=" + alias; network == "none" {
				s["networks"] = "none"
			}
			p.Containers[s["name"]] = s
		}
	}
	for _, s := range p.Containers {
		for _, list := range []string{"label", "volume", "publish", "networks", "cap-add", "log-opt"} {
			words := strings.Fields(s[list])
			slices.Sort(words)
			if s[list] = strings.Join(words, " "); s[list] == "" {
				delete(s, list)
			}
		}
		for k := range s {
			s[k] = strings.TrimSpace(s[k])
		}
	}
	return p
}

// planOfFile reads the compose file as compose would: by its names alone.
func planOfFile(t *testing.T, raw []byte) plan {
	t.Helper()
	var f struct {
		Services map[string]map[string]any
		Networks map[string]map[string]any
		Volumes  map[string]map[string]any
	}
	if err := yaml.Unmarshal(raw, &f); err != nil {
		t.Fatal(err)
	}
	p := plan{map[string]string{}, map[string]string{}, map[string]map[string]string{}}
	labels := func(v any) string {
		var out []string
		for k, v := range v.(map[string]any) {
			out = append(out, fmt.Sprint(k, "=", v))
		}
		slices.Sort(out)
		return strings.Join(out, " ")
	}
	for _, n := range f.Networks {
		p.Networks[n["name"].(string)] = fmt.Sprint([]any{"--driver", n["driver"]}, n["internal"] == true, labels(n["labels"]))
	}
	for _, v := range f.Volumes {
		p.Volumes[v["name"].(string)] = labels(v["labels"])
	}
	list := func(v any) string {
		var out []string
		for _, x := range v.([]any) {
			out = append(out, fmt.Sprint(x))
		}
		return strings.Join(out, " ")
	}
	seconds := func(v any) string {
		d, err := time.ParseDuration(v.(string))
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprint(int(d.Seconds()))
	}
	for _, c := range f.Services {
		s := map[string]string{}
		for key, v := range c {
			switch key {
			case "container_name":
				s["name"] = v.(string)
			case "image", "user", "restart":
				s[key] = v.(string)
			case "read_only":
				s["read-only"] = fmt.Sprint(v)
			case "command", "tmpfs":
				s[key] = list(v)
			case "cap_drop":
				s["cap-drop"] = list(v)
			case "cap_add":
				s["cap-add"] = list(v)
			case "security_opt":
				s["security-opt"] = list(v)
			case "ports":
				s["publish"] = list(v)
			case "pids_limit":
				s["pids-limit"] = fmt.Sprint(v)
			case "mem_limit":
				s["memory"] = fmt.Sprint(v)
			case "memswap_limit":
				s["memory-swap"] = fmt.Sprint(v)
			case "stop_grace_period":
				s["stop-timeout"] = seconds(v)
			case "labels":
				s["label"] = labels(v)
			case "logging":
				s["log-driver"], s["log-opt"] = v.(map[string]any)["driver"].(string), labels(v.(map[string]any)["options"])
			case "volumes":
				var out []string
				for _, m := range v.([]any) {
					source, rest, _ := strings.Cut(m.(string), ":")
					if named, ok := f.Volumes[source]; ok {
						source = named["name"].(string)
					}
					out = append(out, source+":"+rest)
				}
				slices.Sort(out)
				s["volume"] = strings.Join(out, " ")
			case "network_mode":
				s["networks"] = v.(string)
			case "networks":
				var out []string
				for name, a := range v.(map[string]any) {
					out = append(out, fmt.Sprint(f.Networks[name]["name"], "=", list(a.(map[string]any)["aliases"])))
				}
				slices.Sort(out)
				s["networks"] = strings.Join(out, " ")
			case "healthcheck":
				h := v.(map[string]any)
				if h["disable"] == true {
					s["no-healthcheck"] = "true"
					continue
				}
				for k, flag := range map[string]string{"interval": "health-interval", "timeout": "health-timeout", "start_period": "health-start-period", "retries": "health-retries"} {
					s[flag] = fmt.Sprint(h[k])
				}
				if len(h) != 4 {
					t.Errorf("health of %v: %v", c["container_name"], h)
				}
			case "depends_on": // the order of the calls is looked at below
			default:
				t.Errorf("the compose file has %q, which the docker command line is not compared with", key)
			}
		}
		p.Containers[s["name"]] = s
	}
	return p
}

// The compose file and the docker command line make the same networks, volumes and
// containers, in the same order.
func TestComposeAndDockerMakeTheSame(t *testing.T) {
	d, r := contained(t)
	f := &fakeEngine{running: map[string]bool{}, made: map[string]bool{}}
	d.call = f.call
	started, err := d.Up(t.Context(), func(string, ...any) {})
	if err != nil || started != 4 {
		t.Fatalf("%d started, %v", started, err)
	}
	raw, err := os.ReadFile(d.Dir.ComposeFile())
	if err != nil {
		t.Fatal(err)
	}
	issued, written := planOfCalls(t, f.calls, string(d.Dir)), planOfFile(t, raw)
	if !maps.Equal(issued.Networks, written.Networks) || len(issued.Networks) != 5 {
		t.Errorf("networks: docker makes %v, the compose file has %v", issued.Networks, written.Networks)
	}
	if !maps.Equal(issued.Volumes, written.Volumes) || len(issued.Volumes) != 4 {
		t.Errorf("volumes: docker makes %v, the compose file has %v", issued.Volumes, written.Volumes)
	}
	if len(issued.Containers) != 8 || len(written.Containers) != 8 {
		t.Errorf("%d containers by docker and %d by compose, want 8", len(issued.Containers), len(written.Containers))
	}
	for name, want := range written.Containers {
		got := issued.Containers[name]
		for key := range maps.Keys(got) {
			if _, ok := want[key]; !ok {
				t.Errorf("%s: docker gives --%s %s, the compose file does not", name, key, got[key])
			}
		}
		for key, v := range want {
			if got[key] != v {
				t.Errorf("%s: %s is %q by docker and %q by the compose file", name, key, got[key], v)
			}
		}
	}

	// Each validator starts after its volume was filled and the one before it was healthy.
	var order []string
	for _, c := range f.calls {
		if c[0] == "start" {
			order = append(order, strings.TrimPrefix(c[len(c)-1], r.Containers.Project+"-"))
		}
	}
	if want := []string{"seed-0", "validator-0", "seed-1", "validator-1", "seed-2", "validator-2", "seed-3", "validator-3"}; !slices.Equal(order, want) {
		t.Errorf("started in the order %v", order)
	}
	var file composeFile
	if err := yaml.Unmarshal(raw, &file); err != nil {
		t.Fatal(err)
	}
	for i := range 4 {
		want := map[string]composeAwaited{fmt.Sprintf("seed-%d", i): {"service_completed_successfully"}}
		if i > 0 {
			want[fmt.Sprintf("validator-%d", i-1)] = composeAwaited{"service_healthy"}
		}
		if got := file.Services[fmt.Sprintf("validator-%d", i)].DependsOn; !maps.Equal(got, want) {
			t.Errorf("validator %d waits for %v", i, got)
		}
	}
}

// What runs is locked down, reached on loopback alone, and told no secret.
func TestContainersAreLockedDown(t *testing.T) {
	d, r := contained(t)
	secret, err := os.ReadFile(d.Dir.PassphraseFile())
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range r.compose().Services {
		args := s.create("/dir")
		line := strings.Join(args, " ") + " "
		for _, want := range []string{" --read-only ", " --cap-drop ALL ", " --security-opt no-new-privileges ", " --pids-limit ", " --memory ", " --memory-swap "} {
			if !strings.Contains(line, want) {
				t.Errorf("%s is made without%s", s.Name, want)
			}
		}
		if strings.Contains(line, "--env") || strings.Contains(line, strings.TrimSpace(string(secret))) || strings.Contains(line, "--privileged") {
			t.Errorf("%s is made by %s", s.Name, line)
		}
		for i, a := range args {
			if a == "--publish" && !strings.HasPrefix(args[i+1], "127.0.0.1:") {
				t.Errorf("%s publishes %s", s.Name, args[i+1])
			}
		}
		if s.Health != nil && (s.User != "65532:65532" || len(s.CapAdd) > 0 || len(s.Ports) != 1) {
			t.Errorf("%s: user %s, capabilities %v, ports %v", s.Name, s.User, s.CapAdd, s.Ports)
		}
		if s.Health == nil && (len(s.Networks) > 0 || len(s.Ports) > 0) {
			t.Errorf("%s, which is root in its container, has a network", s.Name)
		}
	}
	own := 0
	for _, b := range r.compose().Networks {
		if !b.Internal {
			own++
		}
	}
	if own != 4 {
		t.Errorf("%d networks lead out, want one for each organisation", own)
	}
}

// The files of a network in containers: nodes listen for others, are named by names,
// and let in clients of the network's authority alone.
func TestANetworkInContainersIsMadeWhole(t *testing.T) {
	d, r := contained(t)
	for i, v := range r.Validators {
		c, err := config.Load(d.Dir.Home(v))
		if err != nil {
			t.Fatal(err)
		}
		if c.RPC.Listen != "0.0.0.0:9090" || c.P2P.Listen != "0.0.0.0:26656" || !config.Loopback(c.Telemetry.Listen) || !config.Loopback(v.RPC) {
			t.Errorf("validator %d listens on %s, %s, %s and is reached at %s", i, c.RPC.Listen, c.P2P.Listen, c.Telemetry.Listen, v.RPC)
		}
		for _, p := range c.P2P.PersistentPeers {
			if !strings.Contains(p, "@validator-") || strings.Contains(p, "@"+v.alias()+":") {
				t.Errorf("validator %d has the peer %s", i, p)
			}
		}
		client, err := d.Dir.Credentials(r, v).TLS()
		if err != nil {
			t.Fatal(err)
		}
		home := d.Dir.Home(v)
		pair, err := tls.LoadX509KeyPair(home.Resolve(c.RPC.TLSCert), home.Resolve(c.RPC.TLSKey))
		if err != nil {
			t.Fatal(err)
		}
		server := &tls.Config{Certificates: []tls.Certificate{pair}, ClientCAs: client.RootCAs, ClientAuth: tls.RequireAndVerifyClientCert, MinVersion: tls.VersionTLS13}
		for _, name := range []string{"127.0.0.1", "localhost", v.alias()} {
			if err := handshake(server, client, name); err != nil {
				t.Errorf("validator %d as %s: %v", i, name, err)
			}
		}
		if err := handshake(server, client, "validator-9"); err == nil {
			t.Errorf("validator %d passes for another", i)
		}
		anonymous := client.Clone()
		anonymous.Certificates = nil
		if err := handshake(server, anonymous, "localhost"); err == nil {
			t.Errorf("validator %d lets in a client without a certificate", i)
		}
	}
	err := filepath.WalkDir(string(d.Dir), func(path string, e os.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() && strings.HasSuffix(path, "-key.pem") {
			if info, err := e.Info(); err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("%s: %v, %v", path, info.Mode(), err)
			}
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	// Commands for processes leave it alone, and those for containers leave processes alone.
	n := d.Network
	_, opened := Open(t.Context(), d.Dir, "unused", Design{By: Shipped(false)})
	_, begun := n.Start(t.Context())
	_, ended := n.Stop(t.Context())
	_, seen := n.Status(t.Context())
	for what, err := range map[string]error{
		"open": opened, "start": begun, "stop": ended, "status": seen, "kill": n.Signal(t.Context(), 0, 9), "restart": n.Restart(t.Context(), 0),
	} {
		if err == nil || !strings.Contains(err.Error(), "testnet docker") {
			t.Errorf("%s: %v", what, err)
		}
	}
	other := Dir(filepath.Join(t.TempDir(), "processes"))
	if _, err := Open(t.Context(), other, "unused", Design{Validators: 1, By: Shipped(false)}); err != nil {
		t.Fatal(err)
	}
	if _, err := NewDocker(&Network{Dir: other}).Make(t.Context(), 0, 0, nil, Containers{}); err == nil || !strings.Contains(err.Error(), "processes") {
		t.Errorf("a network of processes as one in containers: %v", err)
	}
}

// handshake is that of a client with a server that it calls by a name; the client hears
// of a refused certificate only when it reads.
func handshake(server, client *tls.Config, name string) error {
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	c := client.Clone()
	c.ServerName = name
	done := make(chan error, 1)
	go func() {
		defer a.Close()
		s := tls.Server(a, server)
		err := s.Handshake()
		if err == nil {
			_, err = s.Write([]byte{1})
		}
		done <- err
	}()
	conn := tls.Client(b, c)
	_, err := conn.Read(make([]byte, 1))
	_ = b.Close() // the server may still wait for the client
	return errors.Join(err, <-done)
}

// A volume is filled once, with what a node needs and no more. What its key signed
// since is never overwritten.
func TestAVolumeIsFilledOnce(t *testing.T) {
	d, r := contained(t)
	from, to := d.Dir.Home(r.Validators[2]), config.Home(filepath.Join(t.TempDir(), "volume", "node"))
	if err := os.Mkdir(filepath.Dir(string(to)), 0o700); err != nil {
		t.Fatal(err)
	}
	fill := func() (bool, error) { return seed(from, to, os.Getuid(), os.Getgid()) }
	if filled, err := fill(); err != nil || !filled {
		t.Fatal(filled, err)
	}
	if _, err := config.Load(to); err != nil {
		t.Error(err)
	}
	for _, path := range []string{to.GenesisFile(), to.NodeKeyFile(), to.ValidatorKeyFile(), to.ValidatorStateFile(), to.Resolve(serverKey)} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v", path, err)
		}
	}
	if _, err := os.Stat(to.Keyring()); err == nil {
		t.Error("people's keys are in the volume")
	}
	const signed = `{"height":"9000"}`
	if err := os.WriteFile(to.ValidatorStateFile(), []byte(signed), 0o600); err != nil {
		t.Fatal(err)
	}
	// The second time, there is no configuration, as in a home that was half filled.
	for round := range 2 {
		if filled, err := fill(); err != nil || filled != (round == 1) {
			t.Error(round, filled, err)
		}
		if raw, err := os.ReadFile(to.ValidatorStateFile()); err != nil || string(raw) != signed {
			t.Errorf("what the key signed last is now %s, %v", raw, err)
		}
		if err := os.Remove(to.ConfigFile()); err != nil {
			t.Fatal(err)
		}
	}
	if filled, err := fill(); err != nil || !filled {
		t.Error(filled, err)
	}
	other, r2 := contained(t)
	if _, err := seed(other.Dir.Home(r2.Validators[2]), to, os.Getuid(), os.Getgid()); err == nil || !strings.Contains(err.Error(), "another network") {
		t.Errorf("another network's home over this one: %v", err)
	}
}

func TestOwners(t *testing.T) {
	if uid, gid, err := owner("65532:7"); err != nil || uid != 65532 || gid != 7 {
		t.Error(uid, gid, err)
	}
	for _, bad := range []string{"", "65532", "root:root", "-1:0", "1:2:3"} {
		if _, _, err := owner(bad); err == nil {
			t.Errorf("%q is an owner", bad)
		}
	}
}
