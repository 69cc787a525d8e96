package forecast

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

func BenchmarkPredict(b *testing.B) {
	for _, c := range []struct {
		name    string
		bucket  time.Duration
		horizon int
	}{{"minutes", time.Minute, MaxHorizon}, {"minutes, one ahead", time.Minute, 1}, {"half hours", 30 * time.Minute, MaxHorizon}} {
		days := 14
		if c.bucket > time.Minute {
			days = 20
		}
		h := historyOf(poisson(rand.New(rand.NewPCG(1, 1)), days, c.bucket, 12), c.bucket, nil).kept(DefaultSettings(), 0)
		b.Run(c.name, func(b *testing.B) {
			for b.Loop() {
				Predict(h, c.horizon)
			}
		})
	}
}

// A block of 1000 transactions, each of one of 1000 actors.
func BenchmarkObserve(b *testing.B) {
	st := store(b, nil)
	all := make([]Observation, 1000)
	for i := range all {
		name := fmt.Sprintf("did:chancery:alpha:%d", i)
		all[i] = Observation{Actor: name, Organisation: "did:chancery:alpha", Resources: []string{name}, Score: 100, Scored: true}
	}
	height, at := int64(0), 20_000*day
	for b.Loop() {
		height++
		at += 100
		st.Observe(height, at, all)
	}
}

// The rankings' first look at 10000 subjects, and the copies of 256 of them.
func BenchmarkLeading(b *testing.B) {
	st := store(b, nil)
	at, height := 20_000*day, int64(0)
	for range 800 {
		height++
		var all []Observation
		for i := range 10_000 {
			if (i+int(height))%10 == 0 {
				all = append(all, Observation{Actor: fmt.Sprint(i)})
			}
		}
		st.Observe(height, at, all)
		at += time.Minute.Milliseconds()
	}
	for b.Loop() {
		st.Leading(Actor, ByDeviation, candidatesOfTop)
	}
}
