package consensus

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/chancery/chancery/chain/state"
)

// watch weighs the node's data against its budget until ctx ends.
func (p *pruner) watch(ctx context.Context) {
	if p.o.Budget == 0 {
		return
	}
	tick := time.NewTicker(weighEvery)
	defer tick.Stop()
	for {
		p.weigh()
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// weigh measures, and says what changed to its log.
func (p *pruner) weigh() {
	used := p.o.Used()
	p.mu.Lock()
	before := p.level
	p.used, p.level = used, levelOf(used, p.o.Budget, before)
	level, complain := p.level, p.level >= DiskAlarm && now().Sub(p.complained) >= complainEvery
	if complain || level > before {
		p.complained = now()
	}
	p.mu.Unlock()
	attrs := []any{"used_bytes", used, "budget_bytes", p.o.Budget}
	switch {
	case level == DiskRefuses && (before < level || complain):
		p.log.Error("the data folder has reached its budget: the node takes no new transactions until less is used. Raise pruning.disk_bytes, or let it keep less", attrs...)
	case level == DiskAlarm && (before < level || complain):
		p.log.Error("the data folder nears its budget, beyond which the node takes no new transactions. Raise pruning.disk_bytes, or let it keep less", attrs...)
	case before == DiskRefuses && level < before:
		p.log.Info("the node takes new transactions again: the data folder is within its budget", attrs...)
	}
}

// levelOf is the level of so many bytes, where it was another before.
func levelOf(used, budget int64, before DiskLevel) DiskLevel {
	if budget == 0 {
		return DiskWithin
	}
	beyond := func(hundredths int64) bool { return used/100 >= budget/10_000*hundredths }
	switch {
	case beyond(refuseFrom) || before == DiskRefuses && beyond(refuseEnd):
		return DiskRefuses
	case beyond(alarmFrom):
		return DiskAlarm
	case beyond(shortFrom):
		return DiskShort
	}
	return DiskWithin
}

// relieve is called when all that is due was removed. Where disk is short, it has the
// databases give back what was removed; and where that did not help, it raises the height
// below which nothing is kept, an eighth of what there is at a time.
func (p *pruner) relieve(ctx context.Context, head int64) error {
	p.mu.Lock()
	level := p.level
	p.mu.Unlock()
	if level < DiskShort {
		p.floor = 0
		return nil
	}
	if now().Sub(p.reclaimed) < max(reclaimPause, 4*p.cost) {
		return nil
	}
	if p.dirty {
		return p.reclaim(ctx)
	}
	if !p.o.Blocks && !p.o.States {
		return nil
	}
	if p.snapshots != nil && len(p.snapshots.List()) > 1 {
		p.dirty, p.reclaimed = true, now()
		return p.snapshots.Trim(1)
	}
	oldest, least := p.tree.Oldest(), p.least(head, true)
	if p.o.Blocks {
		oldest = p.blocks.Base()
	}
	if floor := min(least, oldest+max(blocksPerStep, (head-oldest)/8)); floor > oldest {
		p.log.Warn("keeping less than the window: the data folder nears its budget", "oldest", oldest, "then", floor)
		p.floor = floor
	}
	return nil
}

// reclaim has the databases give back the room of what was removed.
func (p *pruner) reclaim(ctx context.Context) error {
	begun := now()
	for _, compact := range []func() error{
		p.records.Compact,
		func() error { return p.blockDB.Compact(nil, nil) },
		func() error { return p.stateDB.Compact(nil, nil) },
		func() error { return state.Reclaim(p.tree) },
	} {
		if ctx.Err() != nil {
			return nil
		}
		if err := compact(); err != nil {
			return fmt.Errorf("give room back to the disk: %w", err)
		}
	}
	p.dirty, p.reclaimed, p.cost = false, now(), now().Sub(begun)
	p.weigh()
	p.log.Info("gave room back to the disk", "took", p.cost)
	return nil
}

// keptLogs is how many full files of the engine's log of votes are kept beside the one
// that is written.
const keptLogs = 2

// trimLog removes full files of the engine's log of votes that hold nothing of the block
// that is being decided. The engine would keep a gigabyte of them; at its start it needs
// what follows the end of the latest block. That end was written after the block before
// was committed, so when two blocks have come since a moment, it is in no file that was
// last written before that moment.
func (p *pruner) trimLog(height int64, at time.Time) error {
	if p.o.Budget == 0 && !p.o.Blocks || at.Sub(p.mark.at) < logEvery || height < p.mark.height+2 {
		return nil
	}
	before := p.mark.at
	p.mark.height, p.mark.at = height, at
	if before.IsZero() {
		return nil
	}
	dir, name := filepath.Split(p.wal)
	entries, err := os.ReadDir(dir)
	if os.IsNotExist(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look at the engine's log: %w", err)
	}
	var full []int
	for _, e := range entries {
		if index, err := strconv.Atoi(strings.TrimPrefix(e.Name(), name+".")); err == nil && e.Name() == fmt.Sprintf("%s.%03d", name, index) {
			full = append(full, index)
		}
	}
	slices.Sort(full)
	for _, index := range full[:max(0, len(full)-keptLogs)] {
		path := filepath.Join(dir, fmt.Sprintf("%s.%03d", name, index))
		info, err := os.Stat(path)
		if err != nil {
			return fmt.Errorf("look at the engine's log: %w", err)
		}
		if !info.ModTime().Before(before) {
			return nil
		}
		if err := os.Remove(path); err != nil {
			return fmt.Errorf("trim the engine's log: %w", err)
		}
	}
	return nil
}
