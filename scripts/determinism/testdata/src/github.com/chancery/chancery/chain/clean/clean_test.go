package clean

import (
	"testing"
	"time"
)

func TestDouble(t *testing.T) {
	start := time.Now()
	for k, v := range map[int64]int64{1: 2} {
		if Double(k) != v {
			t.Fatal(time.Since(start).Seconds())
		}
	}
}
