//go:build unix

package testnet

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// stopPatience is how long a node has to stop in good order before it is killed.
	stopPatience = 10 * time.Second
	// killPatience is how long the system has to end a killed process.
	killPatience = 5 * time.Second
	pollProcess  = 50 * time.Millisecond
)

// launch starts a program in a session of its own, so that neither a terminal's
// Ctrl-C nor its end reaches it, with its output appended to a log.
func launch(cmd *exec.Cmd, begin func(*exec.Cmd) error, logFile string) (*Process, error) {
	log, err := os.OpenFile(logFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the log: %w", err)
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := begin(cmd); err != nil {
		return nil, fmt.Errorf("start %s: %w", cmd.Path, err)
	}
	p := &Process{PID: cmd.Process.Pid}
	started, _, err := inspect(p.PID)
	// Reaped here when it ends before this program does; otherwise by init. How it
	// ended is in its log.
	go func() { _ = cmd.Wait() }()
	if err != nil {
		return nil, fmt.Errorf("%s ended at once; %s says why: %w", cmd.Path, logFile, err)
	}
	p.Started = started
	return p, nil
}

// alive tells whether the process runs: this one, not another with its id.
func (p *Process) alive() bool {
	if p == nil {
		return false
	}
	started, zombie, err := inspect(p.PID)
	return err == nil && !zombie && started == p.Started
}

// signal sends a signal to the process, if it is still this one.
func (p *Process) signal(s syscall.Signal) error {
	if !p.alive() {
		return nil
	}
	if err := syscall.Kill(p.PID, s); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("signal process %d: %w", p.PID, err)
	}
	return nil
}

// gone waits until the process has ended, and tells whether it has.
func (p *Process) gone(patience time.Duration) bool {
	for end := time.Now().Add(patience); p.alive(); time.Sleep(pollProcess) {
		if time.Now().After(end) {
			return false
		}
	}
	return true
}

// stop ends the process in good order, or by force when it takes too long.
func (p *Process) stop() (forced bool, err error) {
	// A process that was halted by SIGSTOP takes SIGTERM only once it goes on.
	if err := errors.Join(p.signal(syscall.SIGTERM), p.signal(syscall.SIGCONT)); err != nil {
		return false, err
	}
	if p.gone(stopPatience) {
		return false, nil
	}
	if err := p.signal(syscall.SIGKILL); err != nil {
		return true, err
	}
	if !p.gone(killPatience) {
		return true, fmt.Errorf("process %d does not end even when killed", p.PID)
	}
	return true, nil
}

// signalNamed is the signal of a name such as KILL or SIGKILL.
func signalNamed(name string) (syscall.Signal, error) {
	for _, n := range []string{name, "SIG" + name} {
		if s := unix.SignalNum(n); s != 0 {
			return s, nil
		}
	}
	return 0, usagef("--signal %q: want a name such as KILL, TERM, STOP or CONT", name)
}

// ends tells whether a signal is meant to end a node.
func ends(s syscall.Signal) bool {
	return s == syscall.SIGKILL || s == syscall.SIGTERM || s == syscall.SIGINT || s == syscall.SIGQUIT
}
