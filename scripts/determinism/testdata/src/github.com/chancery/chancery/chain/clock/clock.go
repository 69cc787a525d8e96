package clock

import (
	"context"
	"time"
	tm "time"

	"google.golang.org/protobuf/types/known/timestamppb"
)

var start = time.Now() // want `time.Now is refused: it reads the machine's clock`

func refused(ctx context.Context, t time.Time) {
	_ = time.Since(t)                            // want `time.Since is refused`
	_ = time.Until(t)                            // want `time.Until is refused`
	<-time.After(1)                              // want `time.After is refused` `a channel is refused`
	_ = time.AfterFunc(1, nil)                   // want `time.AfterFunc is refused`
	_ = time.Tick(1)                             // want `time.Tick is refused`
	_ = time.NewTimer(1)                         // want `time.NewTimer is refused`
	_ = time.NewTicker(1)                        // want `time.NewTicker is refused`
	time.Sleep(1)                                // want `time.Sleep is refused`
	_ = tm.Now()                                 // want `time.Now is refused`
	now := time.Now                              // want `time.Now is refused`
	_ = now()                                    // the name was reported where it was taken
	_, _ = context.WithTimeout(ctx, 1)           // want `context.WithTimeout is refused`
	_, _ = context.WithDeadline(ctx, t)          // want `context.WithDeadline is refused`
	_ = timestamppb.Now()                        // want `timestamppb.Now is refused`
	_ = t.Local()                                // want `time.Time.Local is refused: it depends on the machine's time zone`
	_ = t.In(time.Local)                         // want `time.Local is refused`
	_, _ = time.Parse(time.RFC3339, "")          // want `time.Parse is refused`
	_, _ = time.LoadLocation("Europe/Amsterdam") // want `time.LoadLocation is refused`
	_ = time.Unix(1, 0)                          // want `time.Unix is refused without .UTC\(\)`
	_ = time.UnixMilli(1).Format(time.RFC3339)   // want `time.UnixMilli is refused`
}

type waiter struct {
	timer *time.Timer // want `time.Timer is refused`
}

func allowed(header time.Time, lifetime time.Duration) time.Time {
	if lifetime > 10*time.Minute {
		lifetime = 10 * time.Minute
	}
	_ = time.Unix(1, 0).UTC()
	_ = time.UnixMilli(1).In(time.UTC)
	_, _ = time.ParseInLocation(time.RFC3339, "", time.UTC)
	_ = timestamppb.Timestamp{Seconds: header.Unix()}
	return header.Add(lifetime)
}
