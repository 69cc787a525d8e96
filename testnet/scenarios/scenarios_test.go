package scenarios

import (
	"fmt"
	"testing"
	"time"
)

func TestTry(t *testing.T) {
	p, err := New(Options{Seed: 1, Days: 12, Attacks: Kinds()})
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	s := time.Now()
	kinds := map[string]int{}
	for a := range p.Actions() {
		n++
		kinds[fmt.Sprintf("%T", a.Messages[0])]++
	}
	fmt.Println(kinds)
	fmt.Println(n, time.Since(s))
	fails := map[string]int{}
	allow := map[string]int{}
	s = time.Now()
	r, err := Run(t.Context(), p, RunOptions{}, func(o *Outcome) error {
		if o.Refused != nil {
			fails[fmt.Sprintf("%T %s %v", o.Messages[0], o.Attack, o.Refused)]++
		} else if o.Result.Code != 0 {
			fails[fmt.Sprintf("%T %s %.90s", o.Messages[0], o.Attack, o.Result.Log)]++
		}
		for _, e := range o.Result.GetEvents() {
			_ = e
		}
		return nil
	})
	if r == nil {
		t.Fatal(err)
	}
	fmt.Println(r, err, time.Since(s), float64(r.Transactions)/time.Since(s).Seconds())
	for k, v := range fails {
		fmt.Println(v, k)
	}
	_ = allow
}
