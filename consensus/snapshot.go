package consensus

import "time"

// snapshot begins to take the snapshot of a block that was just committed, where one is
// due. Blocks go on meanwhile. Where the one before is still being taken, this one is
// left out: the disk is slower than the interval.
func (a *application) snapshot(height int64) {
	if a.snapshots == nil || a.interval == 0 || height%a.interval != 0 {
		return
	}
	if a.taking != nil {
		select {
		case <-a.taking.done:
			_, _ = a.taking.wait() // what failed is in the log; what is broken ends the node here
		default:
			a.log.Warn("leaving a snapshot out: the one before is still being taken; a longer snapshots.interval helps", "height", height)
			return
		}
	}
	state := a.app.Tree().Latest()
	a.taking = begin(func() (struct{}, error) {
		start := time.Now()
		taken, err := a.snapshots.Take(state)
		if err != nil {
			a.log.Error("no snapshot was taken; nodes that join use an older one", "height", height, "error", err)
		} else {
			a.log.Info("took a snapshot of the state", "height", height, "bytes", taken.Size, "chunks", len(taken.Chunks), "took", time.Since(start))
		}
		return struct{}{}, err
	})
}
