package identity

import (
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain"
)

// BenchmarkAuthenticate is the authority of one transaction over committed state,
// signatures aside.
func BenchmarkAuthenticate(b *testing.B) {
	w := start(b)
	for _, author := range []string{acme, dot, mercy, "did:chancery:consortium"} {
		claim := chain.Claim{Author: author, Messages: []proto.Message{harmless()}}
		for _, s := range by(author) {
			claim.Keys = append(claim.Keys, s.KeyURL())
		}
		r := w.View()
		b.Run(author, func(b *testing.B) {
			for b.Loop() {
				if _, err := w.m.Authenticate(r, claim); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
