// Package ports finds ports of loopback for listeners that begin later, such as those of
// nodes whose addresses must be written into a configuration before they start.
package ports

import (
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
)

// Ports are looked for below those that systems give to outgoing connections, and to
// listeners at port 0 (from 32768 on Linux, from 49152 by RFC 6335), so that nobody is given
// one between the moment that it is found free and the moment that it is listened at, or while
// a network is stopped.
const (
	lowest  = 20000
	highest = 32000
	tries   = 200
)

// Pick returns the first of n ports in a row, at least one, at which nobody listens.
func Pick(n int) (int, error) {
	for range tries {
		first := lowest + rand.IntN(highest-lowest-n)
		if Free(first, n) == nil {
			return first, nil
		}
	}
	return 0, fmt.Errorf("no %d free ports in a row between %d and %d", n, lowest, highest)
}

// Free names the first of n ports in a row at which somebody listens.
func Free(first, n int) error {
	for port := first; port < first+n; port++ {
		if err := AddressFree(Address(port)); err != nil {
			return err
		}
	}
	return nil
}

// AddressFree says that somebody listens at an address, if so.
func AddressFree(address string) error {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return fmt.Errorf("%s is in use by another program: %w", address, err)
	}
	return l.Close()
}

// Address is that of a port of loopback.
func Address(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }
