// Package chaintest exists for tests alone, so the rules leave it out.
package chaintest

import (
	"testing"
	"time"
)

func Deadline(t *testing.T) time.Time { return time.Now().Add(time.Minute) }
