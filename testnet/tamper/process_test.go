//go:build linux && amd64

package tamper

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The test's own binary is not static; the program that is tampered with is built from this.
const program = `package main

import (
	"bufio"
	"fmt"
	"os"
	"time"
)

func main() {
	f, err := os.Create(os.Args[1])
	if err != nil {
		panic(err)
	}
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		began := time.Now()
		switch lines.Text() {
		case "write":
			_, err = f.Write([]byte("x"))
		case "sync":
			err = f.Sync()
		case "clock":
			for range 20_000 {
				_ = time.Now()
			}
		}
		if err != nil {
			panic(err)
		}
		// The wall clock, and how long it took by the monotonic one.
		fmt.Println(time.Now().Round(0).UnixNano(), int64(time.Since(began)))
	}
}
`

// begun is the program, and asks it.
type begun struct {
	*Process
	t       *testing.T
	cmd     *exec.Cmd
	to      *os.File
	answers *bufio.Scanner
}

func begin(t *testing.T, o Options) *begun {
	t.Helper()
	if err := Supported(); err != nil {
		t.Skip(err)
	}
	dir := t.TempDir()
	source, binary := filepath.Join(dir, "main.go"), filepath.Join(dir, "program")
	if err := os.WriteFile(source, []byte(program), 0o600); err != nil {
		t.Fatal(err)
	}
	build := exec.Command("go", "build", "-o", binary, source)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	data := filepath.Join(dir, "data")
	if err := os.Mkdir(data, 0o700); err != nil {
		t.Fatal(err)
	}
	if o.Disk != "" {
		o.Disk = data
	}
	in, to, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	from, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	b := &begun{t: t, cmd: exec.Command(binary, filepath.Join(data, "file")), to: to, answers: bufio.NewScanner(from)}
	b.cmd.Stdin, b.cmd.Stdout, b.cmd.Stderr = in, out, os.Stderr
	if b.Process, err = Start(b.cmd, o); err != nil {
		t.Fatal(err)
	}
	_, _ = in.Close(), out.Close()
	t.Cleanup(func() {
		_ = to.Close()
		if err := b.cmd.Wait(); err != nil {
			t.Error(err)
		}
		if err := b.Err(); err != nil {
			t.Error(err)
		}
	})
	return b
}

// ask returns how far the program's clock is ahead of the machine's, and how long what it
// was told took.
func (b *begun) ask(what string) (ahead, took time.Duration) {
	b.t.Helper()
	if _, err := fmt.Fprintln(b.to, what); err != nil {
		b.t.Fatal(err)
	}
	if !b.answers.Scan() {
		b.t.Fatal("the program has ended")
	}
	var at int64
	if _, err := fmt.Sscan(b.answers.Text(), &at, &took); err != nil {
		b.t.Fatal(err)
	}
	return time.Until(time.Unix(0, at)), took
}

// near is how long an answer may be under way.
const near = 2 * time.Second

func TestAClockThatIsShifted(t *testing.T) {
	b := begin(t, Options{Clock: true})
	for _, ahead := range []time.Duration{0, 30 * time.Second, -30 * time.Second, time.Hour, 0} {
		b.SetClock(Clock{Ahead: ahead})
		got, took := b.ask("")
		if got > ahead+near || got < ahead-near {
			t.Errorf("ahead by %v, want %v", got, ahead)
		}
		if took < 0 || took > near {
			t.Errorf("with a clock that is ahead by %v the monotonic one says that nothing took %v", ahead, took)
		}
	}
	b.SetClock(Clock{Drift: time.Minute})
	time.Sleep(500 * time.Millisecond)
	if got, _ := b.ask(""); got < 30*time.Second-near {
		t.Errorf("it drifted by %v in half a second, want half a minute", got)
	}
	b.SetClock(Clock{})
	if _, took := b.ask("clock"); took > 0 {
		t.Logf("%v each time that the clock is read", took/20_000)
	}
}

func TestADiskThatIsSlow(t *testing.T) {
	b := begin(t, Options{Disk: "data"})
	b.SetDisk(Disk{Sync: 600 * time.Millisecond, Write: 100 * time.Millisecond})
	if _, took := b.ask("sync"); took < 300*time.Millisecond {
		t.Errorf("a sync took %v", took)
	}
	if _, took := b.ask("write"); took < 50*time.Millisecond {
		t.Errorf("a write took %v", took)
	}
	// What the program writes elsewhere, such as its answers, is let alone.
	began := time.Now()
	for range 20 {
		b.ask("")
	}
	if took := time.Since(began); took > 20*50*time.Millisecond {
		t.Errorf("20 answers took %v", took)
	}
	b.SetDisk(Disk{})
	if _, took := b.ask("write"); took > 50*time.Millisecond {
		t.Errorf("a write took %v when the disk was slow no more", took)
	}
}

// The process is one like any other: it is stopped, goes on, and is killed while it waits.
func TestWhatIsTamperedWithCanBeSignalled(t *testing.T) {
	b := begin(t, Options{Clock: true, Disk: "data"})
	b.ask("write")
	for _, s := range []syscall.Signal{syscall.SIGSTOP, syscall.SIGCONT} {
		if err := b.cmd.Process.Signal(s); err != nil {
			t.Fatal(err)
		}
	}
	b.ask("sync")
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", b.cmd.Process.Pid))
	if err != nil || !strings.Contains(string(stat), "TracerPid:\t0\n") {
		t.Errorf("%v: it is traced:\n%s", err, stat)
	}
}

func TestAProgramThatIsNotThere(t *testing.T) {
	if err := Supported(); err != nil {
		t.Skip(err)
	}
	if _, err := Start(exec.Command(filepath.Join(t.TempDir(), "none")), Options{Clock: true}); err == nil {
		t.Error("it was started")
	}
}
