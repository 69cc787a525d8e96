package testnet

import (
	"fmt"
)

// MaxValidators is the largest network that is made.
const MaxValidators = 16

// slugs are the names of the first members; the others are org-5 and so on.
var slugs = []string{"mercy-hospital", "northside-lab", "harbour-insurance", "delta-pharma"}

// slugOf is the slug of the i-th member, from 0.
func slugOf(i int) string {
	if i < len(slugs) {
		return slugs[i]
	}
	return fmt.Sprintf("org-%d", i+1)
}

// organisationOf is the DID of the i-th member.
func organisationOf(i int) string { return "did:chancery:" + slugOf(i) }

// administratorsNeeded is how many of a member's two administrators act for it: one,
// and both at the second member, so that m-of-n is seen.
func administratorsNeeded(i int) uint32 {
	if i == 1 {
		return 2
	}
	return 1
}

// consortiumNeeded is how many of n members act for the consortium: more than two
// thirds.
func consortiumNeeded(n int) uint32 { return uint32(2*n/3 + 1) }
