package access

import (
	"fmt"
	"strings"
	"testing"

	accessv1 "github.com/chancery/chancery/proto/chancery/access/v1"
)

// BenchmarkEvaluate is one decision over 3 and over 300 policies, from state.
func BenchmarkEvaluate(b *testing.B) {
	for _, policies := range []int{3, 300} {
		b.Run(fmt.Sprint(policies), func(b *testing.B) {
			w := newWorld(b).furnish()
			w.policies(hospitalPolicies + strings.Repeat(`permit (principal in Chancery::Role::"mercy/nurse", action, resource) when { context.risk < 100 && resource has level };`+"\n", policies-3))
			r := w.View()
			b.ResetTimer()
			for b.Loop() {
				e, err := w.module.caches.evaluate(w.module.live(r, read(doctor, "open")))
				if err != nil || e.verdict.Outcome != accessv1.Outcome_OUTCOME_ALLOW {
					b.Fatal(e, err)
				}
			}
		})
	}
}
