package node

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"sync"
	"time"

	cmtjson "github.com/cometbft/cometbft/libs/json"
	"github.com/cometbft/cometbft/privval"

	"github.com/chancery/chancery/node/config"
	"github.com/chancery/chancery/node/internal/durable"
)

// restored is what is written into a home that was restored from a backup. What its
// validator key signed after the backup is in no file, so the key must not sign a height
// that it may have signed already.
type restored struct {
	Format int   `json:"format"` // 1
	Height int64 `json:"height"` // of the backup
	// Floor is the height up to which the key signs nothing.
	Floor int64 `json:"floor"`
	// Held says that the key signs nothing until the node has caught up with the others
	// and has seen them make blocks.
	Held bool `json:"held"`
	// Before is the height up to which blocks may carry signatures that the key made
	// before the home was lost.
	Before int64 `json:"before"`
}

const restoredLimit = 4096

func readRestored(home config.Home) (*restored, error) {
	raw, err := durable.ReadSealed(home.RestoredFile(), restoredLimit)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("when the restored validator may sign: %w", err)
	}
	r := new(restored)
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(r); err != nil || r.Format != 1 || r.Floor < 0 {
		return nil, fmt.Errorf("%s is none of this version: restore the home again", home.RestoredFile())
	}
	return r, nil
}

func (r *restored) save(home config.Home) error {
	raw, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return durable.ReplaceSealed(home.RestoredFile(), raw)
}

// SigningFloor is the height up to which the validator key of a home must sign nothing
// since the home was restored, 0 where it was not.
func SigningFloor(home config.Home) (int64, error) {
	r, err := readRestored(home)
	if r == nil {
		return 0, err
	}
	return r.Floor, nil
}

// MarkRestored makes a home that was restored at a height safe to start. With from 0 the
// validator key signs nothing until others have made blocks without it; otherwise it signs
// from that height on, which the consortium has agreed on because too many validators are
// lost for blocks to be made without this one. signed is the height up to which the key is
// known to have signed, 0 where that is not known. It replaces the record of what was signed.
func MarkRestored(home config.Home, height, signed, from int64) error {
	r := &restored{Format: 1, Height: height, Floor: max(height, signed), Held: from == 0, Before: max(height, signed)}
	if from > 0 {
		r.Floor, r.Before = from-1, from-1
	}
	if least := max(height, signed); r.Floor < least {
		return fmt.Errorf("the backup is of height %d, and the key signed height %d for certain: the validator may sign from %d on at the earliest", height, signed, least+1)
	}
	if err := r.save(home); err != nil {
		return err
	}
	s := privval.FilePVLastSignState{Height: r.Floor}
	if r.Floor > 0 {
		s.Step = 3 // precommit, the last of a round
	}
	raw, err := cmtjson.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	return durable.Replace(home.ValidatorStateFile(), raw)
}

// signingHold keeps a restored validator from signing, and knows afterwards which blocks
// the key signed before.
type signingHold struct {
	home  config.Home
	log   *slog.Logger
	since int64 // when the node started, Unix milliseconds of this machine's clock

	mu       sync.Mutex // guards what follows
	restored restored
	first    int64 // block that others made after the node started; 0: none yet
}

// newSigningHold is the hold of a home, nil where the home is no restored one.
func newSigningHold(home config.Home, log *slog.Logger) (*signingHold, error) {
	r, err := readRestored(home)
	if r == nil || err != nil {
		return nil, err
	}
	if r.Held {
		log.Warn("the home was restored from a backup: the validator key signs nothing until the node has caught up and the other validators have made blocks", "backup", r.Height)
	}
	return &signingHold{home: home, log: log, since: time.Now().UnixMilli(), restored: *r}, nil
}

// errHeld is what the engine is told.
var errHeld = errors.New("the home was restored from a backup: the validator key signs nothing until the node has caught up and the other validators have made two blocks; see docs/recovery.md")

func (h *signingHold) may() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.restored.Held {
		return errHeld
	}
	return nil
}

// before tells whether a block may carry a signature of before the home was lost.
func (h *signingHold) before(height int64) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.restored.Held || height <= h.restored.Before
}

// foreign is how many blocks others must have made after the first whose time is after the
// node's start. A block's time is that of the votes for the one before it, so whoever had
// the key before this node started signed nothing of that first block; the others are for
// clocks that differ.
const foreign = 2

// saw tells the hold of a committed block and its time, and whether the node is catching up.
func (h *signingHold) saw(height, at int64, catchingUp bool) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case !h.restored.Held || catchingUp || at <= h.since:
		return nil
	case h.first == 0:
		h.first = height
		return nil
	case height < h.first+foreign:
		return nil
	}
	r := h.restored
	r.Held, r.Before = false, height
	if err := r.save(h.home); err != nil {
		return fmt.Errorf("note that the validator may sign again: %w", err)
	}
	h.restored = r
	h.log.Info("the restored validator signs again", "from", height+1)
	return nil
}
