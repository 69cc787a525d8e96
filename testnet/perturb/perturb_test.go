//go:build linux

package perturb

import (
	"bytes"
	"io"
	"net"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestASeedDecidesThePlan(t *testing.T) {
	faults, modes := make(map[Fault]bool), make(map[Mode]bool)
	for seed := range uint64(200) {
		p := NewPlan(seed, 8*time.Second)
		if !reflect.DeepEqual(p, NewPlan(seed, 8*time.Second)) {
			t.Fatalf("seed %d has two plans", seed)
		}
		modes[p.Mode] = true
		total := time.Duration(0)
		for _, s := range p.Steps {
			faults[s.Fault] = true
			total += s.For + s.Rest
			switch {
			case p.Mode == Halves && len(s.Victims) != 2, p.Mode != Halves && len(s.Victims) != 1:
				t.Errorf("seed %d, %s: %v", seed, p.Mode, s)
			case p.Mode == Minority && s.Victims[0] != p.Steps[0].Victims[0]:
				t.Errorf("seed %d disturbs more than one validator", seed)
			}
		}
		if total < 8*time.Second || total > 16*time.Second {
			t.Errorf("seed %d takes %v", seed, total)
		}
	}
	for _, f := range single {
		if !faults[f] {
			t.Errorf("no seed has %s", f)
		}
	}
	if len(modes) != 3 {
		t.Errorf("modes %v", modes)
	}
}

// echo answers whatever it is sent.
func echo(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { _, _ = io.Copy(c, c); _ = c.Close() }()
		}
	}()
	return l.Addr().String()
}

func TestLinksDoWhatTheyAreTold(t *testing.T) {
	target := echo(t)
	l, err := newLinks([]string{target, target, target, target})
	if err != nil {
		t.Fatal(err)
	}
	defer l.close()
	defer l.heal()
	dial := func() net.Conn {
		t.Helper()
		c, err := net.Dial("tcp", l.address(0, 1))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
	// round sends some bytes and waits for them.
	round := func(c net.Conn, patience time.Duration) (time.Duration, error) {
		began := time.Now()
		sent := bytes.Repeat([]byte("x"), 3000)
		if _, err := c.Write(sent); err != nil {
			return 0, err
		}
		_ = c.SetReadDeadline(began.Add(patience))
		got := make([]byte, len(sent))
		_, err := io.ReadFull(c, got)
		return time.Since(began), err
	}
	const patience = 10 * time.Second
	one, two := []int{0}, []int{1}
	c := dial()
	if _, err := round(c, patience); err != nil {
		t.Fatal(err)
	}

	l.between(one, two, func(w *condition) { w.delay = 200 * time.Millisecond })
	if took, err := round(c, patience); err != nil || took < 200*time.Millisecond {
		t.Errorf("delayed: %v, %v", took, err)
	}
	l.heal()
	l.between(two, one, func(w *condition) { w.rate = 10_000 })
	if took, err := round(c, patience); err != nil || took < 300*time.Millisecond {
		t.Errorf("throttled: %v, %v", took, err)
	}
	l.heal()
	l.between(one, two, func(w *condition) { w.loss = 1 })
	if took, err := round(c, patience); err != nil || took < retransmission {
		t.Errorf("with a loss: %v, %v", took, err)
	}
	l.heal()

	// What was held arrives once it is held no more, and on the same connection.
	l.between(two, one, func(w *condition) { w.held = true })
	if _, err := round(c, 300*time.Millisecond); err == nil {
		t.Error("held, and yet it arrives")
	}
	l.heal()
	_ = c.SetReadDeadline(time.Now().Add(patience))
	if _, err := io.ReadFull(c, make([]byte, 3000)); err != nil {
		t.Errorf("after it was held: %v", err)
	}

	// A cut breaks what there is and refuses what is new; others are let alone.
	l.between(two, one, func(w *condition) { w.cut = true })
	if _, err := round(c, patience); err == nil {
		t.Error("cut, and yet it lasts")
	}
	if _, err := round(dial(), patience); err == nil {
		t.Error("cut, and yet there is a new connection")
	}
	other, err := net.Dial("tcp", l.address(0, 2))
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if _, err := round(other, patience); err != nil {
		t.Errorf("another link: %v", err)
	}
	l.heal()
	if _, err := round(dial(), patience); err != nil {
		t.Errorf("healed: %v", err)
	}
	l.reset([]int{0}, []int{2})
	if _, err := round(other, patience); err == nil {
		t.Error("reset, and yet it lasts")
	}
}

func TestEveryCheckFindsWhatItIsFor(t *testing.T) {
	sound := func() (*run, []map[int64]block) {
		r := &run{result: new(Result), load: new(load)}
		var chains []map[int64]block
		for range Validators {
			chains = append(chains, map[int64]block{
				1: {header: "A", app: "0", record: "a", txs: []string{"x", "y"}},
				2: {header: "B", app: "1", record: "b", txs: []string{"z"}},
			})
		}
		r.load.acks = []acknowledged{{"y", 1, 1}, {"z", 2, 0}}
		return r, chains
	}
	for name, c := range map[string]struct {
		spoil func(*run, []map[int64]block)
		want  string
	}{
		"nothing":             {func(*run, []map[int64]block) {}, ""},
		"another header":      {func(_ *run, c []map[int64]block) { c[2][2] = block{header: "C", record: "b", txs: c[2][2].txs} }, "validator 2 has header C"},
		"another record":      {func(_ *run, c []map[int64]block) { c[3][1] = block{header: "A", record: "c"} }, "record of block 1 differs on validator 3"},
		"twice":               {func(_ *run, c []map[int64]block) { c[0][2] = block{header: "B", record: "b", txs: []string{"z", "x"}} }, "is in block 1 at 0 and in block 2 at 1"},
		"lost":                {func(r *run, _ []map[int64]block) { r.load.acks = append(r.load.acks, acknowledged{"w", 2, 1}) }, "is in no block"},
		"elsewhere":           {func(r *run, _ []map[int64]block) { r.load.acks[0].height = 2 }, "acknowledged for block 2 at 1, is in block 1 at 1"},
		"begun at a snapshot": {func(_ *run, c []map[int64]block) { delete(c[1], 1) }, ""},
	} {
		r, chains := sound()
		c.spoil(r, chains)
		r.agree(chains, chains[0])
		r.onceEach(chains[0], 2)
		if got := strings.Join(r.result.Violations, "\n"); c.want == "" && got != "" || !strings.Contains(got, c.want) {
			t.Errorf("%s: %q", name, got)
		}
	}
	all := []told{{1, 0, "a"}, {1, 1, "b"}, {2, 0, "c"}}
	for name, got := range map[string][]told{"gap": {all[0], all[2]}, "repeat": {all[0], all[1], all[1], all[2]}, "end": all[:2], "more": append(all[:3:3], told{3, 0, "d"})} {
		if differ(got, all) == "" {
			t.Errorf("a stream with a %s passes", name)
		}
	}
	if fault := differ(all, all); fault != "" {
		t.Error(fault)
	}
}
