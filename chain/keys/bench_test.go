package keys

import (
	"fmt"
	"testing"
)

func BenchmarkVerify(b *testing.B) {
	for _, typ := range types {
		b.Run(typ.String(), func(b *testing.B) {
			item := signed(b, newSigner(b, typ, 1), []byte("message"))
			for b.Loop() {
				if !item.verify() {
					b.Fatal("refused")
				}
			}
		})
	}
}

// ns/signature is the figure to compare with BenchmarkVerify/ed25519.
func BenchmarkVerifyBatch(b *testing.B) {
	for _, n := range []int{4, 8, 16, 64, 1024, 4096} {
		items := crowd(b, n)
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			random := coin(1)
			for b.Loop() {
				VerifyBatch(random, items)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/signature")
		})
	}
}

// BenchmarkVerifyBatchOfFew is what a validator sees: many signatures by few keys.
func BenchmarkVerifyBatchOfFew(b *testing.B) {
	const keys = 4
	signers := make([]Signer, keys)
	for i := range signers {
		signers[i] = newSigner(b, Ed25519, byte(i+1))
	}
	for _, n := range []int{1, 4, 8, 16, 64, 256, 1024} {
		items := make([]Item, n)
		for i := range items {
			items[i] = signed(b, signers[i%keys], fmt.Appendf(nil, "message %d", i))
		}
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			random := coin(1)
			for b.Loop() {
				VerifyBatch(random, items)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/signature")
		})
	}
}

func BenchmarkVerifyBatchWithBadOnes(b *testing.B) {
	const n = 4096
	for _, every := range []int{n, n / 4, 256, 64, 16, 2, 1} {
		items := crowd(b, n)
		for i := every / 3; i < n; i += every {
			items[i] = spoil(items[i])
		}
		b.Run(fmt.Sprintf("%d-of-%d", n/every, n), func(b *testing.B) {
			random := coin(1)
			for b.Loop() {
				VerifyBatch(random, items)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/signature")
		})
	}
}

func BenchmarkMemoryKnown(b *testing.B) {
	items := crowd(b, 1024)
	m := NewMemory(1<<16, [32]byte{})
	m.Verify(coin(1), items)
	for b.Loop() {
		m.Verify(nil, items)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(items)), "ns/signature")
}
