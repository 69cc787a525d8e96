//go:build unix

package testnet

import (
	"fmt"
	"net"
	"time"

	"github.com/chancery/chancery/consensus/ports"
	"github.com/chancery/chancery/node/config"
)

const (
	// portsEach is how many ports a validator has: for clients, for peers and for
	// telemetry, in this order.
	portsEach = 3

	portPatience = 3 * time.Second
)

// pickPorts finds a range of free ports for n validators and returns its first.
func pickPorts(n int) (int, error) {
	base, err := ports.Pick(n * portsEach)
	if err != nil {
		return 0, fmt.Errorf("%w; name the first one with --base-port", err)
	}
	return base, nil
}

// portsFree names the first port of the range that somebody listens on.
func portsFree(base, n int) error {
	if base < 1024 || base+n*portsEach > 65536 {
		return usagef("--base-port %d: want 1024 to %d", base, 65536-n*portsEach)
	}
	return ports.Free(base, n*portsEach)
}

// portFreed waits a little for an address to be free: the last threads of a process that was
// killed may hold its sockets a moment longer than it is seen.
func portFreed(addr string) error {
	for end := time.Now().Add(portPatience); ; time.Sleep(pollProcess) {
		err := ports.AddressFree(addr)
		if err == nil || time.Now().After(end) {
			return err
		}
	}
}

// assign gives the validators the ports from base on.
func (r *Record) assign(base int) {
	r.BasePort = base
	for i := range r.Validators {
		p := base + i*portsEach
		v := &r.Validators[i]
		v.RPC, v.P2P, v.Telemetry = ports.Address(p), ports.Address(p+1), ports.Address(p+2)
		if r.Containers != nil {
			// Each in its own container; only the first port is one of this machine.
			v.P2P, v.Telemetry = net.JoinHostPort(v.alias(), peerPort), config.Default().Telemetry.Listen
		}
	}
}
