//go:build unix

package testnet

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

const (
	// DefaultImage is what 'make image' builds.
	DefaultImage = "chancery:latest"

	// projectLabel is on everything that a network has in the engine, with the network's
	// project; validatorLabel is on a validator's container, with its number.
	projectLabel   = "io.chancery.testnet"
	validatorLabel = "io.chancery.testnet.validator"

	// nodeUser is who nodes run as, as in the image.
	nodeUser = "65532:65532"
	// volumeHome is where a node's volume is, nodeHome the node's home in it; both as in
	// the image.
	volumeHome = "/home/chancery"
	nodeHome   = volumeHome + "/node"
	// seedHome is where the container that fills a volume finds what it is filled with.
	seedHome = "/seed"

	apiPort  = "9090"
	peerPort = "26656"

	// What a node may use. Its own limit of memory, at which it collects more garbage, is
	// three quarters of the container's.
	nodeMemory     = 1 << 30
	nodeGarbage    = nodeMemory / 4 * 3
	nodePids       = 256
	seedMemory     = 256 << 20
	seedPids       = 64
	scratch        = "/tmp"
	scratchOptions = "size=16m,mode=1777,noexec,nosuid,nodev"

	stopGrace = 15 * time.Second

	logSize, logFiles = "10m", "3"
)

// alias is a validator's name in its networks.
func (v Validator) alias() string { return fmt.Sprintf("validator-%d", v.Index) }

// composition is everything that a network in containers is made of. The compose file
// and the arguments of the docker command line are both written from it.
type composition struct {
	Project  string
	Networks []bridge
	Volumes  []string
	Services []service
}

// bridge is a network of the engine.
type bridge struct {
	Name string
	// Internal ones have no way out of the machine, and publish no ports.
	Internal bool
}

// service is a container.
type service struct {
	Key      string // of the service in the compose file
	Name     string // of the container
	Image    string
	Command  []string
	User     string
	CapAdd   []string // all others are dropped
	Memory   int64    // bytes, with swap
	Pids     int64
	Restart  string
	Binds    []string // source:target:options; a source that begins with ./ is in the network's folder
	Networks []attachment
	Ports    []string // of 127.0.0.1
	Labels   map[string]string
	Scratch  bool      // whether it has a tmpfs
	After    []awaited // what must have come to pass before it starts
	Health   *probe
}

// attachment is a container's place in a network.
type attachment struct {
	Network, Alias string
}

// awaited is what a container waits for: that another is healthy, or has ended well.
type awaited struct {
	Key  string
	Ends bool
}

// probe is how often the engine asks a container how it is. What it asks with is in the
// image: the docker command line could name only a command of a shell, which there is none of.
type probe struct {
	Every, Patience  time.Duration
	StartsWithin     time.Duration
	FailuresInSeries int
}

// compose is a network's composition.
func (r *Record) compose() composition {
	p := r.Containers.Project
	c := composition{Project: p, Networks: []bridge{{Name: p + "-consensus", Internal: true}}}
	for _, v := range r.Validators {
		volume := p + "-" + v.alias()
		network := p + "-org-" + strconv.Itoa(v.Index)
		c.Networks = append(c.Networks, bridge{Name: network})
		c.Volumes = append(c.Volumes, volume)
		seed := service{
			Key: "seed-" + strconv.Itoa(v.Index), Name: p + "-seed-" + strconv.Itoa(v.Index), Image: r.Containers.Image,
			Command: []string{"testnet", "docker", "seed", "--from", seedHome, "--to", nodeHome, "--owner", nodeUser},
			// The files are the caller's and readable by nobody else; the node's user gets copies.
			User: "0:0", CapAdd: []string{"CHOWN", "DAC_OVERRIDE"},
			Memory: seedMemory, Pids: seedPids, Restart: "no",
			Binds:  []string{"./" + v.Home + ":" + seedHome + ":ro", volume + ":" + volumeHome},
			Labels: map[string]string{projectLabel: p},
		}
		_, port, _ := strings.Cut(v.RPC, ":")
		node := service{
			Key: v.alias(), Name: p + "-" + v.alias(), Image: r.Containers.Image, Command: []string{"start"},
			User: nodeUser, Memory: nodeMemory, Pids: nodePids, Restart: "unless-stopped",
			Binds:    []string{volume + ":" + volumeHome},
			Networks: []attachment{{network, v.alias()}, {p + "-consensus", v.alias()}},
			Ports:    []string{port + ":" + apiPort},
			Labels:   map[string]string{projectLabel: p, validatorLabel: strconv.Itoa(v.Index)},
			Scratch:  true,
			After:    []awaited{{seed.Key, true}},
			Health: &probe{
				Every: 2 * time.Second, Patience: 5 * time.Second, StartsWithin: 30 * time.Second, FailuresInSeries: 3,
			},
		}
		if v.Index > 0 {
			node.After = append(node.After, awaited{r.Validators[v.Index-1].alias(), false})
		}
		c.Services = append(c.Services, seed, node)
	}
	return c
}

// create is the arguments of the docker command line that make the container, without
// starting it; its networks but the first are joined by connect. Sources of mounts
// are below dir.
func (s service) create(dir string) []string {
	args := []string{
		"create", "--name", s.Name, "--user", s.User, "--read-only", "--cap-drop", "ALL",
		"--security-opt", "no-new-privileges", "--pids-limit", strconv.FormatInt(s.Pids, 10),
		"--memory", strconv.FormatInt(s.Memory, 10), "--memory-swap", strconv.FormatInt(s.Memory, 10),
		"--restart", s.Restart, "--stop-timeout", strconv.Itoa(int(stopGrace.Seconds())),
		"--log-driver", "json-file", "--log-opt", "max-size=" + logSize, "--log-opt", "max-file=" + logFiles,
	}
	for _, c := range s.CapAdd {
		args = append(args, "--cap-add", c)
	}
	for _, k := range sortedKeys(s.Labels) {
		args = append(args, "--label", k+"="+s.Labels[k])
	}
	if s.Scratch {
		args = append(args, "--tmpfs", scratch+":"+scratchOptions)
	}
	for _, b := range s.Binds {
		if rest, ok := strings.CutPrefix(b, "./"); ok {
			b = dir + "/" + rest
		}
		args = append(args, "--volume", b)
	}
	if len(s.Networks) == 0 {
		args = append(args, "--network", "none")
	} else {
		args = append(args, "--network", s.Networks[0].Network, "--network-alias", s.Networks[0].Alias)
	}
	for _, p := range s.Ports {
		args = append(args, "--publish", "127.0.0.1:"+p)
	}
	if h := s.Health; h != nil {
		args = append(args, "--health-interval", h.Every.String(), "--health-timeout", h.Patience.String(),
			"--health-start-period", h.StartsWithin.String(), "--health-retries", strconv.Itoa(h.FailuresInSeries))
	} else {
		args = append(args, "--no-healthcheck")
	}
	return append(append(args, s.Image), s.Command...)
}

// connect is the arguments that join the container to its other networks.
func (s service) connect() (calls [][]string) {
	for _, a := range s.Networks[min(1, len(s.Networks)):] {
		calls = append(calls, []string{"network", "connect", "--alias", a.Alias, a.Network, s.Name})
	}
	return calls
}

func (b bridge) create(project string) []string {
	args := []string{"network", "create", "--driver", "bridge", "--label", projectLabel + "=" + project}
	if b.Internal {
		args = append(args, "--internal")
	}
	return append(args, b.Name)
}

func createVolume(project, name string) []string {
	return []string{"volume", "create", "--label", projectLabel + "=" + project, name}
}

func sortedKeys(m map[string]string) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}

// The compose file, by the Compose Specification.
type (
	composeFile struct {
		Name     string                    `yaml:"name"`
		Services map[string]composeService `yaml:"services"`
		Networks map[string]composeNetwork `yaml:"networks"`
		Volumes  map[string]composeVolume  `yaml:"volumes"`
	}
	composeService struct {
		Image         string                       `yaml:"image"`
		ContainerName string                       `yaml:"container_name"`
		Command       []string                     `yaml:"command,flow"`
		User          string                       `yaml:"user"`
		ReadOnly      bool                         `yaml:"read_only"`
		CapDrop       []string                     `yaml:"cap_drop,flow"`
		CapAdd        []string                     `yaml:"cap_add,flow,omitempty"`
		SecurityOpt   []string                     `yaml:"security_opt,flow"`
		PidsLimit     int64                        `yaml:"pids_limit"`
		MemLimit      int64                        `yaml:"mem_limit"`
		MemswapLimit  int64                        `yaml:"memswap_limit"`
		Restart       string                       `yaml:"restart"`
		StopGrace     string                       `yaml:"stop_grace_period"`
		Logging       composeLogging               `yaml:"logging"`
		Labels        map[string]string            `yaml:"labels"`
		Tmpfs         []string                     `yaml:"tmpfs,omitempty"`
		Volumes       []string                     `yaml:"volumes"`
		NetworkMode   string                       `yaml:"network_mode,omitempty"`
		Networks      map[string]composeAttachment `yaml:"networks,omitempty"`
		Ports         []string                     `yaml:"ports,omitempty"`
		Healthcheck   composeHealth                `yaml:"healthcheck"`
		DependsOn     map[string]composeAwaited    `yaml:"depends_on,omitempty"`
	}
	composeLogging struct {
		Driver  string            `yaml:"driver"`
		Options map[string]string `yaml:"options"`
	}
	composeAttachment struct {
		Aliases []string `yaml:"aliases,flow"`
	}
	composeHealth struct {
		Disable     bool   `yaml:"disable,omitempty"`
		Interval    string `yaml:"interval,omitempty"`
		Timeout     string `yaml:"timeout,omitempty"`
		StartPeriod string `yaml:"start_period,omitempty"`
		Retries     int    `yaml:"retries,omitempty"`
	}
	composeAwaited struct {
		Condition string `yaml:"condition"`
	}
	composeNetwork struct {
		Name     string            `yaml:"name"`
		Driver   string            `yaml:"driver"`
		Internal bool              `yaml:"internal,omitempty"`
		Labels   map[string]string `yaml:"labels"`
	}
	composeVolume struct {
		Name   string            `yaml:"name"`
		Labels map[string]string `yaml:"labels"`
	}
)

// file is the compose file.
func (c composition) file() ([]byte, error) {
	label := map[string]string{projectLabel: c.Project}
	f := composeFile{Name: c.Project, Services: map[string]composeService{}, Networks: map[string]composeNetwork{}, Volumes: map[string]composeVolume{}}
	short := func(name string) string { return strings.TrimPrefix(name, c.Project+"-") }
	for _, b := range c.Networks {
		f.Networks[short(b.Name)] = composeNetwork{Name: b.Name, Driver: "bridge", Internal: b.Internal, Labels: label}
	}
	for _, v := range c.Volumes {
		f.Volumes[short(v)] = composeVolume{Name: v, Labels: label}
	}
	for _, s := range c.Services {
		out := composeService{
			Image: s.Image, ContainerName: s.Name, Command: s.Command, User: s.User, ReadOnly: true,
			CapDrop: []string{"ALL"}, CapAdd: s.CapAdd, SecurityOpt: []string{"no-new-privileges"},
			PidsLimit: s.Pids, MemLimit: s.Memory, MemswapLimit: s.Memory, Restart: s.Restart, StopGrace: stopGrace.String(),
			Logging: composeLogging{"json-file", map[string]string{"max-size": logSize, "max-file": logFiles}},
			Labels:  s.Labels, Healthcheck: composeHealth{Disable: true},
		}
		if s.Scratch {
			out.Tmpfs = []string{scratch + ":" + scratchOptions}
		}
		for _, b := range s.Binds {
			if strings.HasPrefix(b, "./") {
				out.Volumes = append(out.Volumes, b)
			} else {
				out.Volumes = append(out.Volumes, short(b))
			}
		}
		if len(s.Networks) == 0 {
			out.NetworkMode = "none"
		}
		for _, a := range s.Networks {
			if out.Networks == nil {
				out.Networks = map[string]composeAttachment{}
			}
			out.Networks[short(a.Network)] = composeAttachment{[]string{a.Alias}}
		}
		for _, p := range s.Ports {
			out.Ports = append(out.Ports, "127.0.0.1:"+p)
		}
		if h := s.Health; h != nil {
			out.Healthcheck = composeHealth{
				Interval: h.Every.String(), Timeout: h.Patience.String(),
				StartPeriod: h.StartsWithin.String(), Retries: h.FailuresInSeries,
			}
		}
		for _, a := range s.After {
			if out.DependsOn == nil {
				out.DependsOn = map[string]composeAwaited{}
			}
			condition := "service_healthy"
			if a.Ends {
				condition = "service_completed_successfully"
			}
			out.DependsOn[a.Key] = composeAwaited{condition}
		}
		f.Services[s.Key] = out
	}
	raw, err := yaml.Marshal(f)
	if err != nil {
		return nil, fmt.Errorf("write the compose file: %w", err)
	}
	return append([]byte(composeHead), raw...), nil
}

// composeHead is the beginning of the compose file.
const composeHead = `# A network of validators in containers, for 'docker compose up --wait' in this folder.
# 'chancery testnet docker up' makes the same without compose. For tests only: the
# passphrase of all its keys lies beside this file. Written by 'chancery testnet docker create'.

`
