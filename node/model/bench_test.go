package model

import (
	"context"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// BenchmarkDefaultModel scores with a model of the default size: 200 boosted trees of 31
// leaves and a forest of 100 trees of 256 rows.
func BenchmarkDefaultModel(b *testing.B) {
	data := table(b, synthetic(5000, 8), Reading{Label: "bad"})
	trained, err := Train(context.Background(), data, Training{Name: "default", Kind: KindBoth})
	if err != nil {
		b.Fatal(err)
	}
	m, err := Schema(trained.Model.Message().Features).Apply(data)
	if err != nil {
		b.Fatal(err)
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cpu := func() int64 {
		var t unix.Timespec
		if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t); err != nil {
			b.Fatal(err)
		}
		return t.Nano()
	}
	b.ReportAllocs()
	work, i := uint64(0), 0
	begin := cpu()
	for b.Loop() {
		r, err := trained.Model.Score(m.Ints[i%m.Rows])
		if err != nil {
			b.Fatal(err)
		}
		work += uint64(r.Work)
		i++
	}
	// On a busy machine the clock also counts the time of others; the thread's does not.
	b.ReportMetric(float64(cpu()-begin)/float64(i), "cpu-ns/op")
	b.ReportMetric(float64(work)/float64(i), "units/op")
}
