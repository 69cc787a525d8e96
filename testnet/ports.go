//go:build unix

package testnet

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"time"

	"github.com/chancery/chancery/node/config"
)

const (
	// portsEach is how many ports a validator has: for clients, for peers and for
	// telemetry, in this order.
	portsEach = 3
	// Ports are looked for below those that systems give to outgoing connections, so
	// that a network that was stopped finds them free again.
	lowestPort  = 20000
	highestPort = 32000
	portTries   = 200

	portPatience = 3 * time.Second
)

// pickPorts finds a range of free ports for n validators and returns its first.
func pickPorts(n int) (int, error) {
	size := n * portsEach
	for range portTries {
		base := lowestPort + rand.IntN(highestPort-lowestPort-size)
		if portsFree(base, n) == nil {
			return base, nil
		}
	}
	return 0, fmt.Errorf("no %d free ports in a row between %d and %d; name the first one with --base-port", size, lowestPort, highestPort)
}

// portsFree names the first port of the range that somebody listens on.
func portsFree(base, n int) error {
	if base < 1024 || base+n*portsEach > 65536 {
		return usagef("--base-port %d: want 1024 to %d", base, 65536-n*portsEach)
	}
	for p := base; p < base+n*portsEach; p++ {
		if err := portFree(address(p)); err != nil {
			return err
		}
	}
	return nil
}

func portFree(addr string) error {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return fmt.Errorf("%s is in use by another program: %w", addr, err)
	}
	return errors.Join(l.Close())
}

// portFreed is portFree with some patience: the last threads of a process that was
// killed may hold its sockets a moment longer than it is seen.
func portFreed(addr string) error {
	for end := time.Now().Add(portPatience); ; time.Sleep(pollProcess) {
		err := portFree(addr)
		if err == nil || time.Now().After(end) {
			return err
		}
	}
}

func address(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

// assign gives the validators the ports from base on.
func (r *Record) assign(base int) {
	r.BasePort = base
	for i := range r.Validators {
		p := base + i*portsEach
		v := &r.Validators[i]
		v.RPC, v.P2P, v.Telemetry = address(p), address(p+1), address(p+2)
		if r.Containers != nil {
			// Each in its own container; only the first port is one of this machine.
			v.P2P, v.Telemetry = net.JoinHostPort(v.alias(), peerPort), config.Default().Telemetry.Listen
		}
	}
}
