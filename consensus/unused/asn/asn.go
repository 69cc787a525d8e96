// Package asnutil says of no address which autonomous system it belongs to. It takes the
// place of a table of 1.6 MB that relays of go-libp2p ask, which no node is.
package asnutil

import "net"

// AsnForIPv6 is 0: no system is known.
func AsnForIPv6(net.IP) uint32 { return 0 }
