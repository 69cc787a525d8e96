package crash_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/chancery/chancery/testnet/crash"
)

// desk runs the built binary.
type desk struct {
	t      *testing.T
	binary string
	net    string // folder of a network of one validator, which is stopped
}

// newDesk makes the network, with its state in the tree, and some transactions in it.
func newDesk(t *testing.T, tree string) *desk {
	if os.Getenv("CHANCERY_E2E") != "1" {
		t.Skip("stops the built binary at each step of writing; 'make e2e' does")
	}
	if err := crash.Supported(); err != nil {
		t.Skip(err)
	}
	d := &desk{t: t, binary: os.Getenv("CHANCERY_BIN"), net: filepath.Join(t.TempDir(), "net")}
	if d.binary == "" {
		t.Fatal("CHANCERY_BIN must name the built binary; 'make e2e' sets it")
	}
	d.ok("testnet", "start", "--validators", "1", "--dir", d.net, "--detach")
	if tree == "memory" { // the first validator's is on disk: it begins again with another
		d.ok("testnet", "stop", "--dir", d.net)
		config := filepath.Join(d.home(), "config", "chancery.toml")
		raw, err := os.ReadFile(config)
		if err != nil {
			t.Fatal(err)
		}
		changed := bytes.Replace(raw, []byte("tree = \"disk\""), []byte("tree = \"memory\""), 1)
		if bytes.Equal(raw, changed) {
			t.Fatal("the configuration does not say that the state is on disk")
		}
		d.write(config, changed)
		data := filepath.Join(d.home(), "data")
		if err := os.RemoveAll(data); err != nil {
			t.Fatal(err)
		}
		if err := os.Mkdir(data, 0o700); err != nil {
			t.Fatal(err)
		}
		d.write(filepath.Join(data, "priv_validator_state.json"), []byte(`{"height":"0","round":0,"step":0}`))
		d.ok("testnet", "start", "--dir", d.net, "--detach")
	}
	d.ok("bench", "--testnet", d.net, "--rate", "50", "--warm-up", "1s", "--duration", "2s")
	d.ok("testnet", "stop", "--dir", d.net)
	return d
}

func (d *desk) home() string { return filepath.Join(d.net, "validator-0") }

func (d *desk) write(path string, raw []byte) {
	d.t.Helper()
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		d.t.Fatal(err)
	}
}

func (d *desk) command(args ...string) *exec.Cmd {
	cmd := exec.CommandContext(d.t.Context(), d.binary, args...)
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "CHANCERY_") {
			cmd.Env = append(cmd.Env, v)
		}
	}
	return cmd
}

func (d *desk) ok(args ...string) string {
	d.t.Helper()
	out, err := d.command(args...).CombinedOutput()
	if err != nil {
		d.t.Fatalf("%s: %v:\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// traced runs the program under crash.Run, for three minutes at most: each system call stops it twice, which
// takes as long as the machine is busy.
func (d *desk) traced(folder string, n int, how crash.How, until int, args ...string) (crash.Outcome, string) {
	d.t.Helper()
	ctx, cancel := context.WithTimeout(d.t.Context(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, d.binary, args...)
	cmd.Env = d.command().Env
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	o, err := crash.Run(cmd, folder, n, how, until)
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		d.t.Fatalf("%s, disturbed at step %d (%s): %v\n%s", strings.Join(args, " "), n, o.Disturbed, err, tail(out.Bytes()))
	}
	return o, tail(out.Bytes())
}

func tail(raw []byte) string {
	const most = 3000
	return string(raw[max(0, len(raw)-most):])
}

// fresh is a copy of a folder.
func (d *desk) fresh(folder string) string {
	d.t.Helper()
	to := filepath.Join(d.t.TempDir(), "copy")
	if err := os.CopyFS(to, os.DirFS(folder)); err != nil {
		d.t.Fatal(err)
	}
	// Permissions are not copied, and the node looks at them.
	if err := filepath.WalkDir(to, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		return os.Chmod(path, 0o600)
	}); err != nil {
		d.t.Fatal(err)
	}
	return to
}

// height is that of a home which fsck finds nothing wrong with.
func (d *desk) height(home string) int64 {
	d.t.Helper()
	var r struct {
		Height int64 `json:"height"`
	}
	out := d.ok("fsck", "--home", home, "--output", "json")
	if err := json.Unmarshal([]byte(out), &r); err != nil || r.Height == 0 {
		d.t.Fatalf("fsck says %s (%v)", out, err)
	}
	return r.Height
}

// digest is of all files of a folder but for locks and what a program logs.
func (d *desk) digest(folder string) string {
	d.t.Helper()
	h := sha256.New()
	if err := filepath.WalkDir(folder, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || strings.HasSuffix(path, ".lock") || e.Name() == "LOCK" {
			return err
		}
		raw, err := os.ReadFile(path)
		fmt.Fprintf(h, "%s %x\n", path, sha256.Sum256(raw))
		return err
	}); err != nil {
		d.t.Fatal(err)
	}
	return fmt.Sprintf("%x", h.Sum(nil))
}

// steps are those that are tried of so many: all with CHANCERY_LONG=1, otherwise about some
// of them, evenly from the first to the last. CHANCERY_FROM=n leaves out those before the n-th,
// for a run that goes on where another was ended.
func steps(t *testing.T, total, some int) []int {
	t.Helper()
	if os.Getenv("CHANCERY_LONG") != "" || total <= some {
		some = total
	}
	from := 1
	if text := os.Getenv("CHANCERY_FROM"); text != "" {
		var err error
		if from, err = strconv.Atoi(text); err != nil || from < 1 || from > total {
			t.Fatalf("CHANCERY_FROM is %q: want a step from 1 to %d", text, total)
		}
	}
	var out []int
	for i := range some {
		if n := 1 + i*(total-1)/max(some-1, 1); n >= from {
			out = append(out, n)
		}
	}
	return slices.Compact(out)
}

var hows = map[string]crash.How{"killed": crash.Kill, "refused": crash.Fail, "refused-once": crash.FailOnce, "belied": crash.Belie}

// A node that is killed at any step of starting and of making blocks, or whose disk refuses
// one and all after it, goes on from where it was when it is started again: its height never
// falls, and fsck finds nothing. One whose disk refuses to write ends by itself. One that is
// told once that a step failed, which was made or was not, ends or goes on, as it sees fit.
func TestNodeAtEachStep(t *testing.T) {
	for _, tree := range []string{"disk", "memory"} {
		t.Run(tree, func(t *testing.T) {
			d := newDesk(t, tree)
			before := d.height(d.home())
			const blocks = 250 // steps of starting and of some blocks
			counted, out := d.traced(d.home(), 0, crash.Kill, blocks, "start", "--home", d.home())
			if counted.Exit != 0 || counted.Steps < blocks {
				t.Fatalf("undisturbed: %+v\n%s", counted, out)
			}
			for name, how := range hows {
				t.Run(name, func(t *testing.T) {
					d := &desk{t: t, binary: d.binary, net: d.net}
					tried := steps(t, blocks, 12)
					for _, n := range tried {
						home := d.fresh(d.home())
						o, out := d.traced(home, n, how, 4*blocks, "start", "--home", home)
						ends := how == crash.Kill || how == crash.Fail
						if o.Disturbed == "" || ends && o.Exit == 0 {
							t.Errorf("disturbed at step %d (%s), it ended with %d\n%s", n, o.Disturbed, o.Exit, out)
						}
						// What a busy machine makes of as many steps may be no block: the engine
						// opens its log anew every second.
						after := before
						for try := 0; try < 3 && after == before; try++ {
							again, out := d.traced(home, 0, crash.Kill, blocks, "start", "--home", home)
							if again.Exit != 0 {
								t.Errorf("after step %d (%s), it ended with %d\n%s", n, o.Disturbed, again.Exit, out)
								break
							}
							after = d.height(home)
						}
						if after <= before {
							t.Errorf("after step %d (%s), it is at %d, and was at %d before", n, o.Disturbed, after, before)
						}
						_ = os.RemoveAll(home)
					}
					t.Logf("%d steps, from %d to %d", len(tried), tried[0], tried[len(tried)-1])
				})
			}
		})
	}
}

// A backup that is cut off at any step, of writing its file or of what it does in the home,
// leaves the home as it was and no file that passes for a backup and is none; the next one succeeds.
func TestBackupAtEachStep(t *testing.T) {
	d := newDesk(t, "disk")
	home := d.home()
	before := d.digest(home)
	for name, how := range hows {
		for _, inHome := range []bool{false, true} {
			tried := 0
			for n := 1; ; n++ {
				out := d.t.TempDir()
				file := filepath.Join(out, "a.backup")
				folder := out
				if inHome {
					folder = home
				}
				o, said := d.traced(folder, n, how, 0, "backup", "--home", home, "--out", file)
				if o.Disturbed == "" {
					if o.Exit != 0 {
						t.Errorf("undisturbed, it ended with %d: %s", o.Exit, said)
					}
					break
				}
				tried++
				if _, err := os.Stat(file); err == nil {
					if said, err := d.command("backup", "verify", file).CombinedOutput(); err != nil {
						t.Errorf("%s at step %d (%s), there is a file that is no backup: %s", name, n, o.Disturbed, said)
					}
					if err := os.Remove(file); err != nil {
						t.Fatal(err)
					}
				} else if o.Exit == 0 {
					t.Errorf("%s at step %d (%s), it says that all is well, and there is no file", name, n, o.Disturbed)
				}
				d.ok("backup", "--home", home, "--out", file)
				d.ok("backup", "verify", file)
				if left, _ := os.ReadDir(out); len(left) != 1 {
					t.Errorf("%s at step %d (%s), %d files are left", name, n, o.Disturbed, len(left))
				}
				_ = os.RemoveAll(out)
			}
			least := 5
			if inHome {
				least = 1 // its lock: databases are opened for reading alone
			}
			if tried < least {
				t.Errorf("%s: only %d steps, in the home: %v", name, tried, inHome)
			}
			t.Logf("%s at each of %d steps, in the home: %v", name, tried, inHome)
		}
	}
	if d.digest(home) != before {
		t.Error("the home is not what it was")
	}
}

// A restoration that is cut off at any step leaves the home without data or with all of it;
// what it puts aside is never lost; and it can be done again.
func TestRestoreAtEachStep(t *testing.T) {
	d := newDesk(t, "memory")
	file := filepath.Join(t.TempDir(), "a.backup")
	d.ok("backup", "--home", d.home(), "--out", file)
	height := d.height(d.home())
	for _, replace := range []bool{false, true} {
		home := func() string {
			to := d.fresh(d.home())
			if !replace {
				if err := os.RemoveAll(filepath.Join(to, "data")); err != nil {
					t.Fatal(err)
				}
			}
			return to
		}
		args := func(home string) []string {
			a := []string{"restore", file, "--home", home}
			if replace {
				a = append(a, "--replace")
			}
			return a
		}
		counted := home()
		all, out := d.traced(counted, 0, crash.Kill, 0, args(counted)...)
		if all.Exit != 0 || all.Steps < 20 {
			t.Fatalf("undisturbed: %+v\n%s", all, out)
		}
		for name, how := range hows {
			for _, n := range steps(t, all.Steps, 40) {
				h := home()
				o, out := d.traced(h, n, how, 0, args(h)...)
				if o.Exit == 0 && d.height(h) != height {
					t.Errorf("replace %v, %s at step %d (%s): it says that all is well\n%s", replace, name, n, o.Disturbed, out)
				}
				aside, _ := filepath.Glob(filepath.Join(h, "data.before-restore-*"))
				if replace {
					// What was there is in its place or aside, or what took its place is whole.
					kept := len(aside) > 0
					if _, err := os.Stat(filepath.Join(h, "data")); err == nil && !kept {
						kept = d.height(h) == height
					}
					if !kept {
						t.Errorf("%s at step %d (%s): the data that was there is lost", name, n, o.Disturbed)
					}
				}
				if out, err := d.command(args(h)...).CombinedOutput(); err != nil && !bytes.Contains(out, []byte("holds data already")) {
					t.Errorf("replace %v, %s at step %d (%s), and done again: %v\n%s", replace, name, n, o.Disturbed, err, out)
				}
				if got := d.height(h); got != height {
					t.Errorf("replace %v, %s at step %d (%s), and done again: it is at %d, want %d", replace, name, n, o.Disturbed, got, height)
				}
				_ = os.RemoveAll(h)
			}
		}
		t.Logf("replace %v: %d steps", replace, all.Steps)
	}
}
