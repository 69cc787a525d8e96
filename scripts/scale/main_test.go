package main

import (
	"math/rand/v2"
	"testing"
)

// plain has nothing random in it but the graph: every time can be said beforehand.
func plain(t *testing.T, delays string) *model {
	t.Helper()
	m := &model{validators: 9, neighbours: 9, pause: 100}
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
