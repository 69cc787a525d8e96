package crash

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Supported says why programs cannot be traced here; nil: they can.
func Supported() error { return nil }

// Run runs a command that is not started yet, and disturbs it at its n-th step below
// folder, from 1 on; 0: it is only counted. until ends it earlier by SIGTERM, when it has
// made as many steps; 0: never. It must not be called from a goroutine that is locked to its thread.
func Run(cmd *exec.Cmd, folder string, n int, how How, until int) (Outcome, error) {
	folder, err := filepath.EvalSymlinks(folder)
	if err != nil {
		return Outcome{}, err
	}
	runtime.LockOSThread() // all of a tracee's stops are for the thread that traces
	defer runtime.UnlockOSThread()
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = new(syscall.SysProcAttr)
	}
	cmd.SysProcAttr.Ptrace = true
	if err := cmd.Start(); err != nil {
		return Outcome{}, fmt.Errorf("start under ptrace: %w", err)
	}
	t := &tracer{folder: folder, n: n, how: how, until: until, main: cmd.Process.Pid, threads: make(map[int]*thread)}
	err = t.follow()
	if err != nil {
		_ = unix.Kill(t.main, unix.SIGKILL)
	}
	_ = cmd.Wait() // the tracer has its status; this ends the goroutines that copy its output
	return t.Outcome, err
}

type tracer struct {
	folder      string
	n, until    int
	how         How
	main        int
	threads     map[int]*thread
	terminating bool
	Outcome
}

type thread struct {
	inside bool // a system call
	refuse bool // the call that it is inside of, whether or not it was made
}

func (t *tracer) follow() error {
	var status unix.WaitStatus
	if _, err := unix.Wait4(t.main, &status, unix.WALL, nil); err != nil {
		return fmt.Errorf("wait for the first stop: %w", err)
	}
	const options = unix.PTRACE_O_TRACESYSGOOD | unix.PTRACE_O_TRACECLONE | unix.PTRACE_O_TRACEFORK | unix.PTRACE_O_TRACEVFORK | unix.PTRACE_O_EXITKILL
	if err := unix.PtraceSetOptions(t.main, options); err != nil {
		return fmt.Errorf("set the options of ptrace: %w", err)
	}
	t.threads[t.main] = new(thread)
	if err := unix.PtraceSyscall(t.main, 0); err != nil {
		return err
	}
	for {
		id, err := unix.Wait4(-1, &status, unix.WALL|unix.WNOTHREAD, nil)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.ECHILD):
			return nil
		case err != nil:
			return fmt.Errorf("wait for a stop: %w", err)
		}
		switch {
		case status.Exited():
			if id == t.main {
				t.Exit = status.ExitStatus()
			}
			delete(t.threads, id)
			continue
		case status.Signaled():
			if id == t.main {
				t.Exit = -1
			}
			delete(t.threads, id)
			continue
		case !status.Stopped():
			continue
		}
		th := t.threads[id]
		fresh := th == nil
		if fresh {
			th = new(thread)
			t.threads[id] = th
		}
		deliver := 0
		switch signal := status.StopSignal(); {
		case signal == unix.SIGTRAP|0x80:
			if err := t.call(id, th); err != nil && !errors.Is(err, unix.ESRCH) {
				return err
			}
		case signal == unix.SIGTRAP: // a new thread, or the stop after exec
		case fresh && signal == unix.SIGSTOP: // how a new thread begins
		default:
			deliver = int(signal)
		}
		if err := unix.PtraceSyscall(id, deliver); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("go on: %w", err)
		}
	}
}

// call is at the entry into a system call or at the exit from it.
func (t *tracer) call(id int, th *thread) error {
	var r unix.PtraceRegs
	if th.inside = !th.inside; !th.inside {
		if !th.refuse {
			return nil
		}
		th.refuse = false
		if err := unix.PtraceGetRegs(id, &r); err != nil {
			return err
		}
		refusal := -int64(unix.EIO)
		r.Rax = uint64(refusal)
		return unix.PtraceSetRegs(id, &r)
	}
	if err := unix.PtraceGetRegs(id, &r); err != nil {
		return err
	}
	what, is := t.step(id, &r)
	if !is {
		return nil
	}
	t.Steps++
	if t.until > 0 && t.Steps >= t.until && !t.terminating {
		t.terminating = true
		if err := unix.Kill(t.main, unix.SIGTERM); err != nil {
			return err
		}
	}
	if t.n == 0 || t.Steps < t.n || t.how != Fail && t.Steps > t.n {
		return nil
	}
	if t.Disturbed == "" {
		t.Disturbed = what
	}
	if t.how == Kill {
		return unix.Kill(t.main, unix.SIGKILL) // in a stop at its entry, a call is not made
	}
	th.refuse = true
	if t.how == Belie {
		return nil
	}
	r.Orig_rax = ^uint64(0)
	return unix.PtraceSetRegs(id, &r)
}

// Where a call has the file that it changes: in an open one, or by a path.
const (
	byFile = iota
	byPath
)

// steps are the calls that change files, with the argument that says which, from 0.
var steps = map[uint64]struct {
	name         string
	by, argument int
}{
	unix.SYS_WRITE: {"write", byFile, 0}, unix.SYS_PWRITE64: {"pwrite", byFile, 0}, unix.SYS_WRITEV: {"writev", byFile, 0}, unix.SYS_PWRITEV: {"pwritev", byFile, 0},
	unix.SYS_SENDFILE: {"sendfile", byFile, 0}, unix.SYS_SPLICE: {"splice", byFile, 2}, unix.SYS_COPY_FILE_RANGE: {"copy_file_range", byFile, 2},
	unix.SYS_FSYNC: {"fsync", byFile, 0}, unix.SYS_FDATASYNC: {"fdatasync", byFile, 0}, unix.SYS_SYNC_FILE_RANGE: {"sync_file_range", byFile, 0},
	unix.SYS_FTRUNCATE: {"ftruncate", byFile, 0}, unix.SYS_FALLOCATE: {"fallocate", byFile, 0}, unix.SYS_TRUNCATE: {"truncate", byPath, 0},
	unix.SYS_OPENAT: {"create", byPath, 1}, unix.SYS_OPEN: {"create", byPath, 0},
	unix.SYS_MKDIR: {"mkdir", byPath, 0}, unix.SYS_MKDIRAT: {"mkdir", byPath, 1},
	unix.SYS_RENAME: {"rename", byPath, 0}, unix.SYS_RENAMEAT: {"rename", byPath, 1}, unix.SYS_RENAMEAT2: {"rename", byPath, 1},
	unix.SYS_LINK: {"link", byPath, 0}, unix.SYS_LINKAT: {"link", byPath, 1}, unix.SYS_SYMLINKAT: {"symlink", byPath, 2},
	unix.SYS_UNLINK: {"unlink", byPath, 0}, unix.SYS_UNLINKAT: {"unlink", byPath, 1}, unix.SYS_RMDIR: {"rmdir", byPath, 0},
}

// step tells whether a call is a step, and which.
func (t *tracer) step(id int, r *unix.PtraceRegs) (string, bool) {
	s, is := steps[r.Orig_rax]
	if !is {
		return "", false
	}
	arguments := [...]uint64{r.Rdi, r.Rsi, r.Rdx, r.R10}
	if s.name == "create" && arguments[s.argument+1]&(unix.O_CREAT|unix.O_TRUNC) == 0 {
		return "", false
	}
	path := ""
	if s.by == byFile {
		var err error
		if path, err = os.Readlink(fmt.Sprintf("/proc/%d/fd/%d", id, int32(arguments[s.argument]))); err != nil {
			return "", false // closed meanwhile
		}
	} else {
		path = text(id, arguments[s.argument])
	}
	if path != t.folder && !strings.HasPrefix(path, t.folder+"/") {
		return "", false
	}
	return s.name + " " + strings.TrimPrefix(path, t.folder+"/"), true
}

// text is the text at an address of a tracee, which ends with a zero byte.
func text(id int, at uint64) string {
	raw := make([]byte, unix.PathMax)
	n, _ := unix.PtracePeekData(id, uintptr(at), raw)
	if end := bytes.IndexByte(raw[:n], 0); end >= 0 {
		return string(raw[:end])
	}
	return ""
}
