//go:build !byzantine

package consensus

import abci "github.com/cometbft/cometbft/abci/types"

// served is the application as the engine has it.
func served(n *Node) abci.Application { return n.app }
