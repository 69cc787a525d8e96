//go:build unix

package testnet

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	// healthyPatience is how long one container may take until it is healthy.
	healthyPatience = 60 * time.Second
	pollHealthy     = 250 * time.Millisecond
)

// Docker is a network in containers, driven by the docker command line. The engine
// must be one that sees this machine's files.
type Docker struct {
	*Network
	// call runs the docker command line and returns its standard output.
	call func(ctx context.Context, args ...string) (string, error)
}

// NewDocker is the network of a folder.
func NewDocker(n *Network) *Docker { return &Docker{Network: n, call: engine} }

// engine runs the docker command line. Its error says what it wrote to standard error.
func engine(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "docker", args...)
	var out, fault bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &fault
	err := cmd.Run()
	if errors.Is(err, exec.ErrNotFound) {
		return "", errors.New("there is no program docker on this machine; install it, or use 'chancery testnet start', which needs none")
	}
	if err != nil {
		return "", fmt.Errorf("docker %s: %w: %s", strings.Join(args[:min(2, len(args))], " "), err, strings.TrimSpace(fault.String()))
	}
	return strings.TrimSpace(out.String()), nil
}

// EngineVersion is the version of the engine that answers; the error says why none does.
func EngineVersion(ctx context.Context) (string, error) {
	return engine(ctx, "version", "--format", "{{.Server.Version}}")
}

// Make finds the network in containers in the folder, or makes one of n validators there. It
// starts nothing and needs no engine. Zero values are as with Open.
func (d *Docker) Make(ctx context.Context, n, basePort int, by *Sentinel, in Containers) (*Record, error) {
	r, err := Load(d.Dir)
	switch {
	case errors.Is(err, errNoNetwork):
		if by == nil {
			s := Shipped(false)
			by = &s
		}
		if in.Image == "" {
			in.Image = DefaultImage
		}
		return d.Dir.make(ctx, Design{Validators: n, BasePort: basePort, By: *by, in: &in})
	case err != nil:
		return nil, err
	case r.Containers == nil:
		return nil, fmt.Errorf("the network in %s is one of processes; name another folder with --dir", d.Dir)
	case n != 0 && n != len(r.Validators), basePort != 0 && basePort != r.BasePort, in.Image != "" && in.Image != r.Containers.Image:
		return nil, fmt.Errorf("the network in %s is there already, with %s, ports from %d and the image %s; leave out what differs, or name another folder with --dir",
			d.Dir, counted(len(r.Validators)), r.BasePort, r.Containers.Image)
	}
	return r, nil
}

// record reads the record of a network in containers.
func (d *Docker) record() (*Record, error) {
	r, err := Load(d.Dir)
	if err == nil && r.Containers == nil {
		err = fmt.Errorf("the network in %s is one of processes; use 'chancery testnet' without docker", d.Dir)
	}
	return r, err
}

// Up makes what is missing of networks, volumes and containers and starts the validators, each
// when the one before it is healthy. It returns how many did not run before.
func (d *Docker) Up(ctx context.Context, say func(string, ...any)) (started int, err error) {
	err = d.Dir.locked(ctx, func() error {
		r, err := d.record()
		if err != nil {
			return err
		}
		if _, err := d.call(ctx, "image", "inspect", "--format", "{{.Id}}", r.Containers.Image); err != nil {
			return fmt.Errorf("the engine has no image %s; 'make image' builds chancery:latest: %w", r.Containers.Image, err)
		}
		c := r.compose()
		if err := d.lay(ctx, c); err != nil {
			return err
		}
		for _, s := range c.Services {
			if s.Health == nil {
				continue
			}
			was, err := d.state(ctx, s.Name)
			if err != nil {
				return err
			}
			if was.Status == "running" {
				continue
			}
			if was.Status == "created" {
				// An interrupted call may have left it without its second network. It never ran.
				if _, err := d.call(ctx, "rm", "--force", s.Name); err != nil {
					return err
				}
			}
			if was.Status == "" || was.Status == "created" {
				if err := d.create(ctx, c, s); err != nil {
					return err
				}
			}
			began := time.Now()
			if _, err := d.call(ctx, "start", s.Name); err != nil {
				return err
			}
			if err := d.healthy(ctx, s.Name); err != nil {
				return err
			}
			started++
			say("%s is healthy after %.1f s.", s.Name, time.Since(began).Seconds())
		}
		return nil
	})
	return started, err
}

// lay makes the networks and volumes that are missing, and refuses others' with the same names.
func (d *Docker) lay(ctx context.Context, c composition) error {
	for _, b := range c.Networks {
		if err := d.own(ctx, c.Project, "network", b.Name, b.create(c.Project)); err != nil {
			return err
		}
	}
	for _, v := range c.Volumes {
		if err := d.own(ctx, c.Project, "volume", v, createVolume(c.Project, v)); err != nil {
			return err
		}
	}
	return nil
}

// own makes a network or a volume unless it is there and the project's.
func (d *Docker) own(ctx context.Context, project, kind, name string, create []string) error {
	have, err := d.call(ctx, kind, "ls", "--quiet", "--filter", "name=^"+name+"$")
	if err != nil {
		return err
	}
	if have == "" {
		_, err := d.call(ctx, create...)
		return err
	}
	label, err := d.call(ctx, kind, "inspect", "--format", `{{index .Labels "`+projectLabel+`"}}`, name)
	if err == nil && label != project {
		err = fmt.Errorf("the engine has a %s %s that is not this network's", kind, name)
	}
	return err
}

// create fills the container's volume and makes the container, joined to its networks.
func (d *Docker) create(ctx context.Context, c composition, s service) error {
	dir, err := filepath.Abs(string(d.Dir))
	if err != nil {
		return fmt.Errorf("name the network's folder from its root: %w", err)
	}
	for _, a := range s.After {
		for _, before := range c.Services {
			if before.Key != a.Key || !a.Ends {
				continue
			}
			if err := d.fill(ctx, before, dir); err != nil {
				return err
			}
		}
	}
	if _, err := d.call(ctx, s.create(dir)...); err != nil {
		return err
	}
	for _, args := range s.connect() {
		if _, err := d.call(ctx, args...); err != nil {
			return err
		}
	}
	return nil
}

// fill runs the container that fills a volume, to its end.
func (d *Docker) fill(ctx context.Context, s service, dir string) error {
	// What an interrupted call, or compose, left.
	if _, err := d.call(ctx, "rm", "--force", s.Name); err != nil && !strings.Contains(err.Error(), "No such container") {
		return err
	}
	if _, err := d.call(ctx, s.create(dir)...); err != nil {
		return err
	}
	_, err := d.call(ctx, "start", "--attach", s.Name)
	if err != nil {
		err = fmt.Errorf("fill a volume: %w", err)
	}
	_, removed := d.call(context.WithoutCancel(ctx), "rm", "--force", s.Name)
	return errors.Join(err, removed)
}

// containerState is what the engine says of a container.
type containerState struct {
	Status string // empty: there is none
	PID    int    `json:"Pid"`
	Exit   int    `json:"ExitCode"`
	Health struct{ Status string }
}

func (d *Docker) state(ctx context.Context, name string) (containerState, error) {
	var s containerState
	out, err := d.call(ctx, "container", "inspect", "--format", "{{json .State}}", name)
	if err != nil {
		if strings.Contains(err.Error(), "No such container") {
			return s, nil
		}
		return s, err
	}
	if err := json.Unmarshal([]byte(out), &s); err != nil {
		return s, fmt.Errorf("read the state of container %s: %w", name, err)
	}
	return s, nil
}

// healthy waits until a container is.
func (d *Docker) healthy(ctx context.Context, name string) error {
	for end := time.Now().Add(healthyPatience); ; {
		s, err := d.state(ctx, name)
		switch {
		case err != nil:
			return err
		case s.Health.Status == "healthy":
			return nil
		case s.Status != "running" && s.Status != "created":
			return fmt.Errorf("container %s is %s, exit code %d; 'docker logs %s' says why", name, s.Status, s.Exit, name)
		case time.Now().After(end):
			return fmt.Errorf("container %s is not healthy after %v; 'docker logs %s' says why", name, healthyPatience, name)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pollHealthy):
		}
	}
}

// pids are the processes of the containers as the engine's machine numbers them.
func (d *Docker) pids(ctx context.Context, r *Record) []int {
	out := make([]int, len(r.Validators))
	var group sync.WaitGroup
	for i, v := range r.Validators {
		group.Go(func() {
			if s, err := d.state(ctx, r.container(v)); err == nil && s.Status == "running" {
				out[i] = s.PID
			}
		})
	}
	group.Wait()
	return out
}

// container is the name of a validator's container.
func (r *Record) container(v Validator) string { return r.Containers.Project + "-" + v.alias() }

// watch looks at the network.
func (d *Docker) watch(r *Record) (*watch, error) {
	w, err := newWatch(d.Dir, r)
	if err == nil {
		w.pids = d.pids
	}
	return w, err
}

// Ready waits until every validator takes part.
func (d *Docker) Ready(ctx context.Context) error {
	r, err := d.record()
	if err != nil {
		return err
	}
	w, err := d.watch(r)
	if err != nil {
		return err
	}
	defer w.close()
	ctx, cancel := context.WithTimeout(ctx, readyPatience)
	defer cancel()
	for {
		late := ""
		for _, v := range w.look(ctx, r) {
			if !v.Running {
				return fmt.Errorf("container %s has ended; 'docker logs' says why", r.container(r.Validators[v.Index]))
			}
			if v.Height < readyHeight || v.CatchingUp || !v.Healthy {
				late = r.container(r.Validators[v.Index])
			}
		}
		if late == "" {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("container %s does not take part: %w", late, ctx.Err())
		case <-time.After(pollReady):
		}
	}
}

// Status looks at every validator.
func (d *Docker) Status(ctx context.Context) ([]View, error) {
	r, err := d.record()
	if err != nil {
		return nil, err
	}
	// Whether there is an engine at all: every container of none is stopped.
	if _, err := d.call(ctx, "version", "--format", "{{.Server.Version}}"); err != nil {
		return nil, err
	}
	w, err := d.watch(r)
	if err != nil {
		return nil, err
	}
	defer w.close()
	return w.look(ctx, r), nil
}

// Down stops and removes the containers and networks. Volumes stay.
func (d *Docker) Down(ctx context.Context) (containers int, err error) {
	err = d.Dir.locked(ctx, func() error {
		r, err := d.record()
		if err != nil {
			return err
		}
		containers, err = d.down(ctx, r.Containers.Project)
		return err
	})
	return containers, err
}

func (d *Docker) down(ctx context.Context, project string) (int, error) {
	names, err := d.listed(ctx, project, "container", "ls", "--all", "--format", "{{.Names}}")
	if err != nil {
		return 0, err
	}
	if len(names) > 0 {
		if _, err := d.call(ctx, append([]string{"stop", "-t", strconv.Itoa(int(stopGrace.Seconds()))}, names...)...); err != nil {
			return 0, err
		}
		if _, err := d.call(ctx, append([]string{"rm", "--force"}, names...)...); err != nil {
			return 0, err
		}
	}
	networks, err := d.listed(ctx, project, "network", "ls", "--format", "{{.Name}}")
	if err == nil && len(networks) > 0 {
		_, err = d.call(ctx, append([]string{"network", "rm"}, networks...)...)
	}
	return len(names), err
}

// listed are the project's own of what the engine lists.
func (d *Docker) listed(ctx context.Context, project string, args ...string) ([]string, error) {
	out, err := d.call(ctx, append(args, "--filter", "label="+projectLabel+"="+project)...)
	return strings.Fields(out), err
}

// Clean removes everything that the network has in the engine, its volumes too, and
// what was made in its folder.
func (d *Docker) Clean(ctx context.Context) error {
	return d.Dir.locked(ctx, func() error {
		r, err := d.record()
		if err != nil {
			return err
		}
		if _, err := d.down(ctx, r.Containers.Project); err != nil {
			return err
		}
		volumes, err := d.listed(ctx, r.Containers.Project, "volume", "ls", "--format", "{{.Name}}")
		if err != nil {
			return err
		}
		if len(volumes) > 0 {
			if _, err := d.call(ctx, append([]string{"volume", "rm"}, volumes...)...); err != nil {
				return err
			}
		}
		gone := []string{d.Dir.PassphraseFile(), d.Dir.ComposeFile(), d.Dir.path("tls"), d.Dir.Receipts(), d.Dir.path("demo")}
		for _, v := range r.Validators {
			gone = append(gone, string(d.Dir.Home(v)))
		}
		// The record last, so that an interrupted call can be made again.
		for _, path := range append(gone, d.Dir.RecordFile(), d.Dir.lockFile()) {
			if err := os.RemoveAll(path); err != nil {
				return fmt.Errorf("remove the network's files: %w", err)
			}
		}
		// A folder with files of others in it stays.
		if entries, err := os.ReadDir(string(d.Dir)); err == nil && len(entries) == 0 {
			if err := os.Remove(string(d.Dir)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("remove the network's folder: %w", err)
			}
		}
		return nil
	})
}
