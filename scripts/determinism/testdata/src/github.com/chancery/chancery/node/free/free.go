// Package free lies outside the state machine, where nothing is refused.
package free

import (
	"os"
	"time"
)

func Uptime(since time.Time) float64 {
	for k, v := range map[string]string{"HOME": os.Getenv("HOME")} {
		go func() { _, _ = k, v }()
	}
	return time.Since(since).Seconds()
}
