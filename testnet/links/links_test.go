package links

import (
	"bytes"
	"io"
	"net"
	"testing"
	"time"
)

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
	l, err := New([]string{target, target, target, target})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	defer l.Heal()
	dial := func() net.Conn {
		t.Helper()
		c, err := net.Dial("tcp", l.Address(0, 1))
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

	l.Between(one, two, func(w *Condition) { w.Delay = 200 * time.Millisecond })
	if took, err := round(c, patience); err != nil || took < 200*time.Millisecond {
		t.Errorf("delayed: %v, %v", took, err)
	}
	l.Heal()
	l.Between(two, one, func(w *Condition) { w.Rate = 10_000 })
	if took, err := round(c, patience); err != nil || took < 300*time.Millisecond {
		t.Errorf("throttled: %v, %v", took, err)
	}
	l.Heal()
	l.Between(one, two, func(w *Condition) { w.Loss = 1 })
	if took, err := round(c, patience); err != nil || took < retransmission {
		t.Errorf("with a loss: %v, %v", took, err)
	}
	l.Heal()

	// What was held arrives once it is held no more, and on the same connection.
	l.Between(two, one, func(w *Condition) { w.Held = true })
	if _, err := round(c, 300*time.Millisecond); err == nil {
		t.Error("held, and yet it arrives")
	}
	l.Heal()
	_ = c.SetReadDeadline(time.Now().Add(patience))
	if _, err := io.ReadFull(c, make([]byte, 3000)); err != nil {
		t.Errorf("after it was held: %v", err)
	}

	// A cut breaks what there is and refuses what is new; others are let alone.
	l.Between(two, one, func(w *Condition) { w.Cut = true })
	if _, err := round(c, patience); err == nil {
		t.Error("cut, and yet it lasts")
	}
	if _, err := round(dial(), patience); err == nil {
		t.Error("cut, and yet there is a new connection")
	}
	other, err := net.Dial("tcp", l.Address(0, 2))
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if _, err := round(other, patience); err != nil {
		t.Errorf("another link: %v", err)
	}
	l.Heal()
	if _, err := round(dial(), patience); err != nil {
		t.Errorf("healed: %v", err)
	}
	l.Reset([]int{0}, []int{2})
	if _, err := round(other, patience); err == nil {
		t.Error("reset, and yet it lasts")
	}
}

func TestRegionsDelayBothWays(t *testing.T) {
	r, err := ParseRegions("10,20.5,40")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		a, b int
		want time.Duration
	}{{0, 1, 10 * time.Millisecond}, {1, 2, 20_500 * time.Microsecond}, {0, 2, 40 * time.Millisecond}, {1, 1, within}} {
		if there, back := r.Delay(c.a, c.b), r.Delay(c.b, c.a); there != c.want || back != c.want {
			t.Errorf("from %d to %d: %v and %v back, want %v", c.a, c.b, there, back, c.want)
		}
	}
	for _, text := range []string{"", "1,2", "1,2,3,4", "1,2,x", "1,2,-1", "1,2,10001", "1,2,NaN"} {
		if _, err := ParseRegions(text); err == nil {
			t.Errorf("%q is taken", text)
		}
	}
	l, err := New([]string{"a", "b", "c", "d"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	l.Spread(r)
	if got := l.way(3, 1).Delay; got != 10*time.Millisecond {
		t.Errorf("from the fourth, in the first region, to the second: %v", got)
	}
}
