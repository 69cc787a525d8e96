package main

import (
	"math/rand/v2"
	"testing"
)

// plain has nothing random in it but the graph: every time can be said beforehand.
func plain(t *testing.T, delays string) *model {
	t.Helper()
	m := &model{validators: 9, neighbours: 9, delay: 100, commit: 100}
	if err := m.read(delays); err != nil {
		t.Fatal(err)
	}
	return m
}

func generator() *rand.Rand { return rand.New(rand.NewPCG(1, 1)) }

func TestARoundTakesThePauseAndThreeDelays(t *testing.T) {
	m := plain(t, "0,0,0")
	m.hop = 10 // in a graph in which all are neighbours, a message takes one hop
	m.neighbours = 200
	got := quantile(m.run(50, 1, generator()), 0.5)
	// 0.5 ms within a region, a little more by chance.
	if got < 100+3*10 || got > 100+3*12 {
		t.Errorf("a round takes %.1f ms, want 130 to 136", got)
	}
}

func TestExecutionCountsTwice(t *testing.T) {
	m := plain(t, "0,0,0")
	before := quantile(m.run(80, 1, generator()), 0.5)
	m.execute = 100
	if d := quantile(m.run(80, 1, generator()), 0.5) - before; d < 180 || d > 260 {
		t.Errorf("executing for 100 ms makes a round longer by %.1f ms, want about 200", d)
	}
}

// A proposer rests as long as blocks take, waits for votes that come late, and for those
// that never come as long as it may.
func TestTheRestFollowsTheWork(t *testing.T) {
	round := func(execute float64, missing int, delays string) float64 {
		m := plain(t, delays)
		m.delay, m.execute, m.missing = 25, execute, missing
		return quantile(m.run(80, 3, generator()), 0.5)
	}
	quick := round(0, 0, "0,0,0")
	if quick < 25 || quick > 35 {
		t.Errorf("rounds without work take %.1f ms, want little more than the rest of 25", quick)
	}
	if dear := round(60, 0, "0,0,0"); dear < 170 || dear > 200 {
		t.Errorf("with blocks that take 60 ms rounds take %.1f ms, want a little more than three times that", dear)
	}
	if missed := round(0, 1, "0,0,0"); missed < 100 || missed > 110 {
		t.Errorf("with one missing rounds take %.1f ms, want little more than timeout_commit", missed)
	}
	if far := round(0, 0, "5,60,60"); far < quick+3*5+25 || far > quick+3*65 {
		t.Errorf("with a region that is 60 ms away rounds take %.1f ms, and %.1f in one", far, quick)
	}
}

// The farthest region is not waited for while nobody in the nearer two is missing.
func TestOnlyTwoThirdsAreWaitedFor(t *testing.T) {
	near := quantile(plain(t, "10,10,10").run(80, 3, generator()), 0.5)
	m := plain(t, "10,400,400")
	m.validators = 31 // 11 and 10 of 31 are more than two thirds
	far := quantile(m.run(90, 3, generator()), 0.05)
	if far > near+100 {
		t.Errorf("the quickest rounds take %.0f ms with a far region and %.0f ms without", far, near)
	}
	m.missing = 3
	if missed := quantile(m.run(90, 3, generator()), 0.5); missed < 400 {
		t.Errorf("with three missing in the nearer regions a round takes %.0f ms and cannot do without the far one", missed)
	}
}
