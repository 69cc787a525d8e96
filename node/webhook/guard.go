package webhook

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"syscall"
	"time"
)

// errForbidden is a URL that leads where requests must not go.
var errForbidden = errors.New("the URL leads to an address that requests are not sent to")

var (
	// sharedRanges are private in all but name: RFC 6598, 2544, 6890.
	sharedRanges = prefixes("100.64.0.0/10", "198.18.0.0/15", "192.0.0.0/24")
	// deadRanges lead nowhere or to one of the others in disguise: RFC 1122, 1112, 6052,
	// 8215, 3056, 4380.
	deadRanges = prefixes("0.0.0.0/8", "240.0.0.0/4", "64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32")
)

func prefixes(list ...string) []netip.Prefix {
	out := make([]netip.Prefix, len(list))
	for i, p := range list {
		out[i] = netip.MustParsePrefix(p)
	}
	return out
}

func within(ip netip.Addr, ranges []netip.Prefix) bool {
	for _, p := range ranges {
		if p.Contains(ip) {
			return true
		}
	}
	return false
}

// permitted says why a request must not go to an address. A URL that names loopback
// leads there and nowhere else.
func permitted(ip netip.Addr, local, private bool) error {
	ip = ip.Unmap().WithZone("")
	no := func(what string) error { return fmt.Errorf("%w: %s is %s", errForbidden, ip, what) }
	switch {
	case local != ip.IsLoopback():
		if local {
			return no("not loopback")
		}
		return no("loopback, which the URL does not name")
	case local:
		return nil
	case ip.IsUnspecified(), ip.IsMulticast(), within(ip, deadRanges):
		return no("no address of a host")
	case (ip.IsPrivate() || ip.IsLinkLocalUnicast() || within(ip, sharedRanges)) && !private:
		return no("private; set allow_private if it is meant")
	}
	return nil
}

// newClient is a client that follows no redirect, uses no proxy, and looks at the
// address that it is about to connect to, whatever name that came from.
func newClient(e Endpoint) (*http.Client, error) {
	u, err := url.Parse(e.URL)
	if err != nil {
		return nil, errors.New("the URL is none")
	}
	local := loopback(u.Hostname())
	dialer := &net.Dialer{Timeout: e.Timeout, Control: func(_, address string, _ syscall.RawConn) error {
		at, err := netip.ParseAddrPort(address)
		if err != nil {
			return fmt.Errorf("%w: %w", errForbidden, err)
		}
		return permitted(at.Addr(), local, e.AllowPrivate)
	}}
	return &http.Client{
		Timeout:       e.Timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			DialContext: dialer.DialContext, ForceAttemptHTTP2: true, MaxIdleConnsPerHost: 1, MaxConnsPerHost: 2, IdleConnTimeout: time.Minute,
			TLSHandshakeTimeout: e.Timeout, ResponseHeaderTimeout: e.Timeout, MaxResponseHeaderBytes: 64 << 10,
		},
	}, nil
}
