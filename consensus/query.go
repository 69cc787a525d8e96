package consensus

import (
	"context"
	"strings"

	abci "github.com/cometbft/cometbft/abci/types"

	"github.com/chancery/chancery/chain"
)

const (
	filterID   = "/p2p/filter/id/"
	filterAddr = "/p2p/filter/addr/"
)

// The codes that refuse a peer.
const (
	codeNotMember = 1
	codeBanned    = 2
)

// Query answers the engine's question whether a peer may connect: its node id must
// be bound to an active organisation in the latest state, or listed in the configuration
// while the node has no state, and not banned. Addresses are not judged, ids are authenticated by the
// connection. Clients' queries have their own service.
func (a *application) Query(_ context.Context, req *abci.RequestQuery) (*abci.ResponseQuery, error) {
	if id, ok := strings.CutPrefix(req.Path, filterID); ok {
		if a.allowed(a.app.Latest(), id) {
			return &abci.ResponseQuery{}, nil
		}
		if a.bans.has(id) {
			a.log.Debug("refusing a peer that is banned", "node", id)
			return &abci.ResponseQuery{Code: codeBanned, Codespace: "consensus", Log: "the node id is banned for a while: it sent what its own description refutes"}, nil
		}
		a.log.Warn("refusing a peer that no active organisation has bound", "node", id)
		return &abci.ResponseQuery{Code: codeNotMember, Codespace: "consensus", Log: "the node id is not bound to an active organisation"}, nil
	}
	if strings.HasPrefix(req.Path, filterAddr) {
		return &abci.ResponseQuery{}, nil
	}
	code, codespace, log := codeOf(chain.ErrInternal.With("no ABCI query %q; use the node's gRPC services", req.Path))
	return &abci.ResponseQuery{Code: code, Codespace: codespace, Log: log}, nil
}
