package doctor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/cometbft/cometbft/crypto/ed25519"
	"github.com/cometbft/cometbft/libs/protoio"
	"github.com/cometbft/cometbft/p2p"
	"github.com/cometbft/cometbft/p2p/conn"
	p2pproto "github.com/cometbft/cometbft/proto/tendermint/p2p"

	"github.com/chancery/chancery/node/config"
)

var networkChecks = []Check{
	{
		Code: "ports", Level: Fault, Needs: needsStopped, What: "The addresses that the node listens on are this machine's and free.",
		Remedy: "Stop the program that listens there, or choose another address or port in config/chancery.toml.",
		look: func(_ context.Context, e *exam) (found []string) {
			for _, l := range []struct{ key, address string }{
				{"rpc.listen", e.config.RPC.Listen}, {"p2p.listen", e.config.P2P.Listen}, {"telemetry.listen", e.config.Telemetry.Listen},
			} {
				if l.address == "" {
					continue
				}
				listener, err := net.Listen("tcp", l.address)
				if err != nil {
					found = append(found, fmt.Sprintf("%s: %v", l.key, err))
					continue
				}
				_ = listener.Close() // it was only looked whether it opens
			}
			return found
		},
	},
	{
		Code: "ports-distinct", Level: Fault, Needs: needsConfig, What: "No two listeners have one address.",
		Remedy: "Give rpc.listen, p2p.listen and telemetry.listen ports of their own.",
		look: func(_ context.Context, e *exam) (found []string) {
			by := map[string]string{}
			for _, l := range []struct{ key, address string }{
				{"rpc.listen", e.config.RPC.Listen}, {"p2p.listen", e.config.P2P.Listen}, {"telemetry.listen", e.config.Telemetry.Listen},
			} {
				if l.address == "" || strings.HasSuffix(l.address, ":0") {
					continue
				}
				if other, taken := by[l.address]; taken {
					found = append(found, fmt.Sprintf("%s and %s are both %s", other, l.key, l.address))
				}
				by[l.address] = l.key
			}
			return found
		},
	},
	{
		Code: "p2p-reachable", Level: Fault, Needs: needsConfig, What: "A node whose peers are on other machines listens for them on an address that they reach.",
		Remedy: "Set p2p.listen to an address that the peers reach, such as 0.0.0.0:26656, and let the firewall pass it.",
		look: func(_ context.Context, e *exam) []string {
			if !config.Loopback(e.config.P2P.Listen) {
				return nil
			}
			for _, p := range e.config.P2P.PersistentPeers {
				if _, address, _ := strings.Cut(p, "@"); !config.Loopback(address) {
					return one("p2p.listen is %s, and the peer %s is on another machine", e.config.P2P.Listen, p)
				}
			}
			return nil
		},
	},
	{
		Code: "peers-listed", Level: Fault, Needs: needsGenesis, What: "A node of a consortium of several validators lists peers, each once, and not itself.",
		Remedy: "List every member's node that this one can reach in p2p.persistent_peers, as NODEID@HOST:PORT.",
		look: func(_ context.Context, e *exam) (found []string) {
			own := ""
			if k, err := p2p.LoadNodeKey(e.Home.NodeKeyFile()); err == nil {
				own = string(k.ID())
			}
			others := 0
			seen := map[string]bool{}
			for _, p := range e.config.P2P.PersistentPeers {
				id, _, _ := strings.Cut(p, "@")
				switch {
				case id == own:
					found = append(found, "p2p.persistent_peers lists this node itself: "+p)
				case seen[id]:
					found = append(found, "p2p.persistent_peers lists a node twice: "+p)
				default:
					others++
				}
				seen[id] = true
			}
			if n := validatorsOf(e.genesis.AppState); others == 0 && n > 1 {
				found = append(found, fmt.Sprintf("no peer is listed, and the genesis file names %d validators", n))
			}
			return found
		},
	},
	{
		Code: "peers-reachable", Level: Fault, Needs: needsGenesis, What: "Every listed peer is found by its name, is reached, is the node that it is listed as, and of the same chain.",
		Remedy: "Ask the member whether its node runs, under which address and node id ('chancery status' shows it), and correct p2p.persistent_peers; or open the firewall between the two.",
		look:   func(ctx context.Context, e *exam) []string { return e.callPeers(ctx) },
	},
}

// callPeers looks at all listed peers at once, no longer than patience.
func (e *exam) callPeers(ctx context.Context) []string {
	key := ed25519.GenPrivKey() // the connection ends before its peer asks who this is
	found := make([]string, len(e.config.P2P.PersistentPeers))
	own := ""
	if k, err := p2p.LoadNodeKey(e.Home.NodeKeyFile()); err == nil {
		own = string(k.ID())
	}
	var all sync.WaitGroup
	for i, text := range e.config.P2P.PersistentPeers {
		id, address, _ := strings.Cut(text, "@")
		if id == own {
			continue // peers-listed says so
		}
		all.Go(func() {
			err := e.callPeer(ctx, key, id, address)
			// A node takes one connection from an address: to a second one of a peer that is
			// connected it hangs up.
			if err != nil && !(hungUp(err) && slices.Contains(e.connected, id)) {
				found[i] = fmt.Sprintf("%s: %v", text, err)
			}
		})
	}
	all.Wait()
	var out []string
	for _, f := range found {
		if f != "" {
			out = append(out, f)
		}
	}
	return out
}

// hungUp tells whether the other side ended a connection.
func hungUp(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// callPeer connects as a peer does, reads who it is, and hangs up.
func (e *exam) callPeer(ctx context.Context, key ed25519.PrivKey, id, address string) error {
	ctx, cancel := context.WithTimeout(ctx, e.Patience)
	defer cancel()
	raw, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	defer raw.Close()
	if err := raw.SetDeadline(time.Now().Add(e.Patience)); err != nil {
		return err
	}
	c, err := conn.MakeSecretConnection(raw, key)
	if err != nil {
		return fmt.Errorf("it does not speak as a node does: %w", err)
	}
	if got := string(p2p.PubKeyToID(c.RemotePubKey())); got != id {
		return fmt.Errorf("it is the node %s", got)
	}
	var told p2pproto.DefaultNodeInfo
	if _, err := protoio.NewDelimitedReader(c, p2p.MaxNodeInfoSize()).ReadMsg(&told); err != nil {
		return fmt.Errorf("it does not say who it is: %w", err)
	}
	if told.Network != e.genesis.ChainID {
		return fmt.Errorf("it is of the chain %q, and the genesis file here of %q", told.Network, e.genesis.ChainID)
	}
	return nil
}
