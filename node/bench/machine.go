package bench

import (
	"bufio"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
)

// Machine is what a run was made on. It names no host.
type Machine struct {
	CPU        string `json:"cpu"`
	Processors int    `json:"processors"` // that this program may use
	Memory     string `json:"memory"`
	System     string `json:"system"`
	Go         string `json:"go"`
	Engine     string `json:"engine"` // CometBFT's version
}

// ThisMachine describes the machine. What the system does not tell is empty.
func ThisMachine() Machine {
	m := Machine{
		CPU: field("/proc/cpuinfo", "model name"), Processors: runtime.GOMAXPROCS(0), Memory: field("/proc/meminfo", "MemTotal"),
		System: runtime.GOOS + "/" + runtime.GOARCH, Go: runtime.Version(),
	}
	if raw, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		m.System += " " + strings.TrimSpace(string(raw))
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, d := range info.Deps {
			if d.Path == "github.com/cometbft/cometbft" {
				m.Engine = "CometBFT " + d.Version
			}
		}
	}
	return m
}

// field is the first value of a name in a file of lines "name : value".
func field(path, name string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer func() { _ = f.Close() }()
	for s := bufio.NewScanner(f); s.Scan(); {
		if k, v, ok := strings.Cut(s.Text(), ":"); ok && strings.TrimSpace(k) == name {
			return strings.TrimSpace(v)
		}
	}
	return ""
}
