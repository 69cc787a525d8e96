package tamper

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// Supported says why programs cannot be tampered with here; nil: they can.
func Supported() error { return sized() }

// sized compares the sizes of the kernel's messages with those that are used here.
var sized = sync.OnceValue(func() error {
	var sizes struct{ call, answer, data uint16 }
	if _, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_GET_NOTIF_SIZES, 0, uintptr(unsafe.Pointer(&sizes))); errno != 0 {
		return fmt.Errorf("the kernel hands no system calls over: %w", errno)
	}
	if uintptr(sizes.call) != unsafe.Sizeof(call{}) || uintptr(sizes.answer) != unsafe.Sizeof(answer{}) {
		return fmt.Errorf("the kernel's messages have %d and %d bytes, of which %d and %d are known", sizes.call, sizes.answer, unsafe.Sizeof(call{}), unsafe.Sizeof(answer{}))
	}
	return nil
})

// Process is a program that is tampered with.
type Process struct {
	o     Options
	calls int // file descriptor

	mu       sync.Mutex // guards all below
	clock    *clock     // nil: the program has not begun
	set      Clock
	drifting chan struct{} // closed: the clock drifts no more; nil: it does not
	disk     Disk
	free     time.Time // when the disk has done what it was told
	fault    error
}

// call is struct seccomp_notif, and answer struct seccomp_notif_resp, of linux/seccomp.h.
type call struct {
	id                 uint64
	thread             uint32
	_                  uint32
	number             int32
	_                  uint32
	instructionPointer uint64
	arguments          [6]uint64
}

type answer struct {
	id    uint64
	value int64
	fault int32
	flags uint32
}

// Start starts a command that has no Stdin, Stdout or Stderr but files. Who calls it waits
// for the command.
func Start(cmd *exec.Cmd, o Options) (*Process, error) {
	if err := Supported(); err != nil {
		return nil, err
	}
	if _, err := exec.LookPath(cmd.Path); err != nil {
		return nil, err
	}
	if o.Disk != "" {
		disk, err := filepath.EvalSymlinks(o.Disk)
		if err != nil {
			return nil, err
		}
		o.Disk = disk
	}
	p := &Process{o: o}
	started := make(chan error)
	go func() {
		// The filter is the thread's and its children's, and cannot be taken off: the thread
		// ends with this goroutine, which leaves it locked.
		runtime.LockOSThread()
		var err error
		if p.calls, err = filter(o); err != nil {
			started <- fmt.Errorf("%w: %w", ErrFilter, err)
			return
		}
		go p.serve()
		started <- cmd.Start()
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	return p, nil
}

// SetDisk changes how slow the disk is from now on; what waits already, waits no longer
// than it would have.
func (p *Process) SetDisk(d Disk) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.disk, p.free = d, time.Time{}
}

// Err is why calls could not be answered as they should; nil: they were.
func (p *Process) Err() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.fault
}

// Offsets of struct seccomp_data, linux/seccomp.h.
const (
	numberAt       = 0
	architectureAt = 4
	argumentAt     = 16 // the lower half of the first argument
)

// setThreadBase is ARCH_SET_FS, the first that a static Go program asks of the kernel, and
// the one time that it does: it has yet to look for the clock.
const setThreadBase = 0x1002

// filter puts a filter on the calling thread and returns where its calls are handed over.
func filter(o Options) (int, error) {
	handed := bpf.RetConstant{Val: unix.SECCOMP_RET_USER_NOTIF}
	allowed := bpf.RetConstant{Val: unix.SECCOMP_RET_ALLOW}
	program := []bpf.Instruction{
		bpf.LoadAbsolute{Off: architectureAt, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.AUDIT_ARCH_X86_64, SkipTrue: 1},
		allowed,
		bpf.LoadAbsolute{Off: numberAt, Size: 4},
	}
	hand := func(numbers ...uint32) {
		for _, n := range numbers {
			program = append(program, bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: n, SkipTrue: 1}, handed)
		}
	}
	if o.Clock {
		program = append(program,
			bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.SYS_ARCH_PRCTL, SkipTrue: 4},
			bpf.LoadAbsolute{Off: argumentAt, Size: 4},
			bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: setThreadBase, SkipTrue: 1},
			handed,
			bpf.LoadAbsolute{Off: numberAt, Size: 4},
		)
	}
	if o.Disk != "" {
		hand(unix.SYS_FSYNC, unix.SYS_FDATASYNC, unix.SYS_SYNC_FILE_RANGE)
		hand(unix.SYS_WRITE, unix.SYS_PWRITE64, unix.SYS_WRITEV, unix.SYS_PWRITEV)
	}
	raw, err := bpf.Assemble(append(program, allowed))
	if err != nil {
		return 0, err
	}
	filters := make([]unix.SockFilter, len(raw))
	for i, r := range raw {
		filters[i] = unix.SockFilter{Code: r.Op, Jt: r.Jt, Jf: r.Jf, K: r.K}
	}
	// Without the promise that no program gains rights, a filter takes a right.
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return 0, fmt.Errorf("promise to gain no rights: %w", err)
	}
	of := unix.SockFprog{Len: uint16(len(filters)), Filter: &filters[0]}
	// A call that is being answered is not begun anew by the signals of Go's scheduler.
	const flags = unix.SECCOMP_FILTER_FLAG_NEW_LISTENER | unix.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
	calls, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, flags, uintptr(unsafe.Pointer(&of)))
	if errno != 0 {
		return 0, fmt.Errorf("filter system calls: %w", errno)
	}
	// It saves time where the kernel knows it, and changes nothing else.
	_, _, _ = unix.Syscall(unix.SYS_IOCTL, calls, unix.SECCOMP_IOCTL_NOTIF_SET_FLAGS, unix.SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP)
	return int(calls), nil
}

// serve answers calls until no process makes any.
func (p *Process) serve() {
	var late sync.WaitGroup
	defer func() {
		late.Wait()
		p.SetClock(Clock{})
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.clock != nil {
			_ = p.clock.memory.Close()
		}
		_ = unix.Close(p.calls)
	}()
	for {
		poll := []unix.PollFd{{Fd: int32(p.calls), Events: unix.POLLIN}}
		if _, err := unix.Poll(poll, -1); errors.Is(err, unix.EINTR) {
			continue
		} else if err != nil {
			p.failed(fmt.Errorf("wait for system calls: %w", err))
			return
		}
		if poll[0].Revents&unix.POLLIN == 0 {
			return
		}
		c := new(call)
		switch _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(p.calls), unix.SECCOMP_IOCTL_NOTIF_RECV, uintptr(unsafe.Pointer(c))); errno {
		case 0:
		case unix.EINTR, unix.ENOENT: // the thread has ended meanwhile
			continue
		default:
			p.failed(fmt.Errorf("receive a system call: %w", errno))
			return
		}
		switch c.number {
		case unix.SYS_ARCH_PRCTL:
			if err := p.bend(c.thread); err != nil {
				p.failed(fmt.Errorf("change the clock: %w", err))
			}
			p.pass(c)
		default:
			if wait := p.cost(c); wait > 0 {
				late.Go(func() { time.Sleep(wait); p.pass(c) })
			} else {
				p.pass(c)
			}
		}
	}
}

func (p *Process) failed(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fault = errors.Join(p.fault, err)
}

// pass lets the kernel do a call.
func (p *Process) pass(c *call) {
	p.reply(answer{id: c.id, flags: unix.SECCOMP_USER_NOTIF_FLAG_CONTINUE})
}

func (p *Process) reply(a answer) {
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(p.calls), unix.SECCOMP_IOCTL_NOTIF_SEND, uintptr(unsafe.Pointer(&a)))
	if errno != 0 && errno != unix.ENOENT { // ENOENT: the process was killed meanwhile
		p.failed(fmt.Errorf("answer a system call: %w", errno))
	}
}

// cost is how long a write or a sync is kept waiting.
func (p *Process) cost(c *call) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	most := p.disk.Sync
	switch c.number {
	case unix.SYS_WRITE, unix.SYS_PWRITE64, unix.SYS_WRITEV, unix.SYS_PWRITEV:
		most = p.disk.Write
	}
	if most <= 0 {
		return 0
	}
	path, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%d", c.thread, int32(c.arguments[0])))
	if err != nil || !strings.HasPrefix(path, p.o.Disk+"/") {
		return 0 // a connection, or closed meanwhile
	}
	now := time.Now()
	if p.free.Before(now) {
		p.free = now
	}
	p.free = p.free.Add(most/2 + rand.N(most/2+1))
	return p.free.Sub(now)
}
