//go:build unix

package testnet

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/chancery/chancery/node/config"
)

const (
	// readyPatience is how long a network may take to its second block.
	readyPatience = 60 * time.Second
	// pastPatience is the same for a network with a past, whose genesis file each node
	// reads and checks first.
	pastPatience = 4 * time.Minute
	readyHeight  = 2
	pollReady    = 200 * time.Millisecond
	// logTail is how much of a log is shown when a node does not start.
	logTail = 4 << 10
)

// Network is a network in a folder and the program that its nodes run.
type Network struct {
	Dir    Dir
	Binary string
	// Begin starts the program of a node, which it may change; nil: (*exec.Cmd).Start.
	Begin func(i int, cmd *exec.Cmd) error
}

// Open finds the network in the folder, or makes one there. Of one that is there, Validators
// and BasePort are as they were where they are 0, and the rest of the design is of no account.
func Open(ctx context.Context, d Dir, binary string, as Design) (*Network, error) {
	n, basePort := as.Validators, as.BasePort
	net := &Network{Dir: d, Binary: binary}
	r, err := Load(d)
	switch {
	case errors.Is(err, errNoNetwork):
		_, err := d.make(ctx, as)
		return net, err
	case err != nil:
		return nil, err
	case r.Containers != nil:
		return nil, errContained(d)
	case n != 0 && n != len(r.Validators):
		return nil, fmt.Errorf("the network in %s has %d validators, not %d; leave out --validators, or name another folder with --dir", d, len(r.Validators), n)
	case basePort != 0 && basePort != r.BasePort:
		return net, net.move(ctx, basePort)
	}
	return net, nil
}

// Create makes a network in a folder that has none.
func Create(ctx context.Context, d Dir, binary string, as Design) (*Network, error) {
	if _, err := d.make(ctx, as); err != nil {
		return nil, err
	}
	return &Network{Dir: d, Binary: binary}, nil
}

// move gives a network that does not run other ports.
func (n *Network) move(ctx context.Context, basePort int) error {
	return n.Dir.change(ctx, func(r *Record) error {
		for _, v := range r.Validators {
			if v.Process.alive() {
				return fmt.Errorf("the network in %s runs; stop it before it is given other ports", n.Dir)
			}
		}
		if err := portsFree(basePort, len(r.Validators)); err != nil {
			return err
		}
		r.assign(basePort)
		for _, v := range r.Validators {
			c, err := config.Load(n.Dir.Home(v))
			if err != nil {
				return err
			}
			if err := config.Write(n.Dir.Home(v), r.configure(c, v)); err != nil {
				return fmt.Errorf("%s: %w", v.Home, err)
			}
		}
		return nil
	})
}

// errContained says that a command for processes was given a network in containers.
func errContained(d Dir) error {
	return fmt.Errorf("the validators of %s run in containers; use 'chancery testnet docker' with --dir %s", d, d)
}

// processes reads the record of a network whose validators are processes.
func processes(d Dir) (*Record, error) {
	r, err := Load(d)
	if err == nil && r.Containers != nil {
		err = errContained(d)
	}
	return r, err
}

// Start starts the nodes that do not run and returns which they were.
func (n *Network) Start(ctx context.Context) (started []int, err error) {
	err = n.Dir.locked(ctx, func() error {
		r, err := processes(n.Dir)
		if err != nil {
			return err
		}
		for i := range r.Validators {
			if r.Validators[i].Process.alive() {
				continue
			}
			if err := n.launch(r, i); err != nil {
				return err
			}
			started = append(started, i)
		}
		return nil
	})
	return started, err
}

// launch starts one node and writes down its process at once.
func (n *Network) launch(r *Record, i int) error {
	v := &r.Validators[i]
	for _, a := range []string{v.RPC, v.P2P, v.Telemetry} {
		if err := portFreed(a); err != nil {
			return fmt.Errorf("validator %d: %w; end that program, or move the stopped network with --base-port", i, err)
		}
	}
	begin := (*exec.Cmd).Start
	if n.Begin != nil {
		begin = func(cmd *exec.Cmd) error { return n.Begin(i, cmd) }
	}
	p, err := launch(exec.Command(n.Binary, "start", "--home", string(n.Dir.Home(*v))), begin, n.Dir.LogFile(*v))
	if err != nil {
		return fmt.Errorf("validator %d: %w", i, err)
	}
	v.Process = p
	return n.Dir.save(r)
}

// Ready waits until every node has committed its second block and takes part. It fails as soon as
// a node ends, with the end of its log.
func (n *Network) Ready(ctx context.Context) error { return n.ready(ctx, readyPatience) }

func (n *Network) ready(ctx context.Context, patience time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	r, err := Load(n.Dir)
	if err != nil {
		return err
	}
	w, err := newWatch(n.Dir, r)
	if err != nil {
		return err
	}
	defer w.close()
	for {
		views := w.look(ctx, r)
		late := -1
		for _, v := range views {
			if !v.Running {
				return fmt.Errorf("validator %d has ended; the end of %s:\n%s", v.Index, n.Dir.LogFile(r.Validators[v.Index]), tail(n.Dir.LogFile(r.Validators[v.Index])))
			}
			if v.Height < readyHeight || v.CatchingUp {
				late = v.Index
			}
		}
		if late < 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			if !errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return ctx.Err()
			}
			return fmt.Errorf("validator %d does not take part after %v; see %s", late, patience, n.Dir.LogFile(r.Validators[late]))
		case <-time.After(pollReady):
		}
	}
}

// Stopped is what became of one node when it was stopped.
type Stopped struct {
	Index int `json:"validator"`
	// Was tells whether it ran at all.
	Was bool `json:"was_running"`
	// Forced tells that it did not stop in time and was killed.
	Forced bool   `json:"forced"`
	Error  string `json:"error,omitempty"`
}

// Stop ends the nodes in good order, all at once, and by force when it takes too
// long. Without numbers it ends every one.
func (n *Network) Stop(ctx context.Context, which ...int) ([]Stopped, error) {
	var out []Stopped
	err := n.Dir.change(ctx, func(r *Record) error {
		if r.Containers != nil {
			return errContained(n.Dir)
		}
		if len(which) == 0 {
			for i := range r.Validators {
				which = append(which, i)
			}
		}
		out = make([]Stopped, len(which))
		var group sync.WaitGroup
		for i, number := range which {
			v, err := r.validator(number)
			if err != nil {
				return err
			}
			out[i].Index = number
			if !v.Process.alive() {
				v.Process = nil
				continue
			}
			out[i].Was = true
			group.Go(func() {
				forced, err := v.Process.stop()
				out[i].Forced = forced
				if err != nil {
					out[i].Error = err.Error()
					return
				}
				v.Process = nil
			})
		}
		group.Wait()
		return nil
	})
	if err != nil {
		return nil, err
	}
	var faults []error
	for _, s := range out {
		if s.Error != "" {
			faults = append(faults, fmt.Errorf("validator %d: %s", s.Index, s.Error))
		}
	}
	return out, errors.Join(faults...)
}

// Signal sends a signal to one node; one that is meant to end it is waited for.
func (n *Network) Signal(ctx context.Context, i int, s syscall.Signal) error {
	return n.Dir.change(ctx, func(r *Record) error {
		v, err := r.validator(i)
		if err == nil && r.Containers != nil {
			err = errContained(n.Dir)
		}
		if err != nil {
			return err
		}
		if !v.Process.alive() {
			return fmt.Errorf("validator %d does not run", i)
		}
		if err := v.Process.signal(s); err != nil {
			return err
		}
		if ends(s) && !v.Process.gone(stopPatience) {
			return fmt.Errorf("validator %d still runs %v after the signal", i, stopPatience)
		}
		return nil
	})
}

// Restart starts one node again; one that runs is ended before, in good order.
func (n *Network) Restart(ctx context.Context, i int) error {
	return n.Dir.change(ctx, func(r *Record) error {
		v, err := r.validator(i)
		if err == nil && r.Containers != nil {
			err = errContained(n.Dir)
		}
		if err != nil {
			return err
		}
		if v.Process.alive() {
			if _, err := v.Process.stop(); err != nil {
				return err
			}
		}
		return n.launch(r, i)
	})
}

func (r *Record) validator(i int) (*Validator, error) {
	if i < 0 || i >= len(r.Validators) {
		return nil, usagef("there is no validator %d; they are 0 to %d", i, len(r.Validators)-1)
	}
	return &r.Validators[i], nil
}

// Addresses are the nodes' addresses for clients.
func (r *Record) Addresses() string {
	out := make([]string, len(r.Validators))
	for i, v := range r.Validators {
		out[i] = v.RPC
	}
	return strings.Join(out, ",")
}

// tail is the end of a log, in whole lines.
func tail(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return err.Error()
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err.Error()
	}
	from := max(0, info.Size()-logTail)
	raw, err := io.ReadAll(io.NewSectionReader(f, from, logTail))
	if err != nil {
		return err.Error()
	}
	if _, after, ok := bytes.Cut(raw, []byte("\n")); ok && from > 0 {
		raw = after
	}
	return strings.TrimSpace(string(raw))
}
