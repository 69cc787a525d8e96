package consensus

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/cometbft/cometbft/p2p"
)

const (
	// silence is after how long without a byte a peer's connection is taken for dead. A
	// live peer speaks at every step of consensus, and at least every 10 s while it
	// fetches blocks.
	silence = 15 * time.Second

	// Of two nodes that miss each other, the one with the lower id dials first, so that
	// two connections do not meet and end each other.
	firstDial  = time.Second
	secondDial = 4 * time.Second
	// redial is the pause between attempts, and up to half of it more.
	redial = 2 * time.Second

	resolvePatience = 2 * time.Second
)

var errSilent = errors.New("it has said nothing for too long")

// listed is a peer of the configuration.
type listed struct {
	id   p2p.ID
	host string
	port uint16
	next time.Time // when it is dialled if it is still missing; zero: it is connected
}

// peering keeps the node connected to its listed peers where the engine alone would be
// late: the engine resolves their names once, at its start, and leaves out for good what
// it cannot resolve then; it dials at last in steps of up to 16 hours; and it notices by its
// own ping that a connection died without a word, after up to 105 s.
type peering struct {
	n     *Node
	peers []*listed // used by look alone
}

func newPeering(n *Node, persistent string) (*peering, error) {
	p := &peering{n: n}
	for _, text := range strings.Split(persistent, ",") {
		if text = strings.TrimSpace(text); text == "" {
			continue
		}
		l, err := parseListed(text)
		if err != nil {
			return nil, err
		}
		p.peers = append(p.peers, l)
	}
	return p, nil
}

// parseListed reads NODEID@HOST:PORT.
func parseListed(text string) (*listed, error) {
	id, address, ok := strings.Cut(text, "@")
	if !ok {
		return nil, fmt.Errorf("peer %q: want NODEID@HOST:PORT", text)
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("peer %q: %w", text, err)
	}
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return nil, fmt.Errorf("peer %q: %w", text, err)
	}
	return &listed{id: p2p.ID(id), host: host, port: uint16(number)}, nil
}

func (p *peering) run(ctx context.Context) {
	everyWatch(ctx, func() { p.look(ctx) })
}

// look drops silent peers and dials missing ones that are due and may connect.
func (p *peering) look(ctx context.Context) {
	sw := p.n.node.Switch()
	for _, peer := range sw.Peers().Copy() {
		if idle := peer.Status().RecvMonitor.Idle; idle > silence {
			p.n.log.Warn("dropping a peer that says nothing, to connect anew", "node", peer.ID(), "silent", idle.Round(time.Second))
			sw.StopPeerForError(peer, errSilent)
		}
	}
	state := p.n.o.App.Latest()
	for _, l := range p.peers {
		if l.id == sw.NodeInfo().ID() || !p.n.app.allowed(state, string(l.id)) {
			continue
		}
		if !l.due(sw.Peers().Has(l.id), sw.NodeInfo().ID()) {
			continue
		}
		// It ends by itself: names are resolved and connections made in bounded time.
		go p.dial(ctx, *l)
	}
}

// due tells whether a peer is to be dialled now, and sets when it is next.
func (l *listed) due(connected bool, own p2p.ID) bool {
	switch {
	case connected:
		l.next = time.Time{}
		return false
	case l.next.IsZero():
		first := firstDial
		if l.id < own {
			first = secondDial
		}
		l.next = now().Add(first)
		return false
	case now().Before(l.next):
		return false
	}
	l.next = now().Add(redial + rand.N(redial/2))
	return true
}

// dial connects to wherever the peer's name leads now.
func (p *peering) dial(ctx context.Context, l listed) {
	within, cancel := context.WithTimeout(ctx, resolvePatience)
	defer cancel()
	ips, err := net.DefaultResolver.LookupIP(within, "ip", l.host)
	if err != nil {
		p.n.log.Debug("a peer's name is not known", "node", l.id, "host", l.host, "error", err)
		return
	}
	sw := p.n.node.Switch()
	if ctx.Err() != nil || !sw.IsRunning() {
		return
	}
	address := p2p.NewNetAddressIPPort(ips[0], l.port)
	address.ID = l.id
	if err := sw.DialPeerWithAddress(address); err != nil {
		p.n.log.Debug("a peer is not reached", "node", l.id, "address", address.DialString(), "error", err)
		return
	}
	p.n.log.Info("a peer is connected again", "node", l.id, "address", address.DialString())
}
