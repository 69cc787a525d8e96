//go:build !upgradetest

package node

import "github.com/chancery/chancery/chain"

// migrations lead from each version of the state machine that this program knows to the
// next, the first from chain.FirstVersion. The steps of one are in the order of List. A
// version that was released is never changed. docs/upgrades.md says how one is made.
func migrations(Modules) []chain.Migration { return nil }

// beside are modules that no release has.
func beside() []chain.Module { return nil }
