package threat

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/state"
	"github.com/chancery/chancery/modules/threat/detector"
	threatv1 "github.com/chancery/chancery/proto/chancery/threat/v1"
)

const (
	chunkSize = 64 << 10
	// maxModelBytes bounds a model's bytes.
	maxModelBytes = detector.MaxBytes
	// maxModels bounds the models that are not retired, and maxModelRecords all of
	// them: records stay, for what was said by a model has its hash.
	maxModels       = 16
	maxModelRecords = 1000
	// whole is all organisations, of which a canary's share is counted.
	whole = 10_000
)

// loaded is a model that can score.
type loaded struct {
	hash     []byte
	detector *detector.Detector
}

// detectorCache keeps decoded detectors by the hash of their bytes, the latest used
// first. No result depends on what is in it.
type detectorCache struct {
	//determinism:allow guards a cache of what is decoded from bytes with the hash that is its key
	mu   sync.Mutex
	list []*loaded // guarded by mu; at most maxCached
}

// maxCached is active, canary, shadow and the one that follows or went before.
const maxCached = 4

func (c *detectorCache) lookup(hash []byte) (*loaded, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	i := slices.IndexFunc(c.list, func(l *loaded) bool { return bytes.Equal(l.hash, hash) })
	if i < 0 {
		return nil, false
	}
	l := c.list[i]
	copy(c.list[1:i+1], c.list[:i])
	c.list[0] = l
	return l, true
}

func (c *detectorCache) add(l *loaded) {
	if _, known := c.lookup(l.hash); known {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.list = slices.Insert(c.list, 0, l)[:min(len(c.list)+1, maxCached)]
}

// chosen is the models of a block.
type chosen struct {
	active, canary, shadow *loaded // nil: there is none that can score
	share                  uint32  // of the canary
	why                    error   // why active is nil
}

// choose finds the models of the block that r is at the beginning of.
//
// r is the block's own context, which is not metered: what it reads depends on what
// this node has decoded before. A Screening chooses once, when it opens.
func (m *Module) choose(r chain.ReadCtx) *chosen {
	s := m.scheduleIn(r)
	c := new(chosen)
	if c.active, c.why = m.usable(r, s.Active); c.why != nil {
		c.active = nil
	}
	c.canary, _ = m.usable(r, s.Canary)
	if c.canary != nil {
		rec, _ := m.models.Lookup(r, s.Canary)
		c.share = rec.GetShare()
	}
	c.shadow, _ = m.usable(r, s.Shadow)
	return c
}

// deciding is the model that decides over an organisation's transactions, and the one
// that scores beside it without consequence, nil where there is none. The canary
// decides for its share of organisations, and the active model for the others; beside
// the canary scores the active model, and beside the active one the model in shadow or,
// without one, the canary. Where none decides, why says the reason.
func (c *chosen) deciding(organisation string) (decides, beside *loaded, why error) {
	if c.canary != nil && inShare(c.canary.hash, organisation, c.share) {
		if beside = c.active; beside == nil {
			beside = c.shadow
		}
		return c.canary, beside, nil
	}
	if beside = c.shadow; beside == nil {
		beside = c.canary
	}
	return c.active, beside, c.why
}

// inShare tells whether a canary decides for an organisation: where the first eight
// bytes, big endian, of SHA-256(hash || organisation) are below share modulo 10000. So
// each model has other organisations, and each of them the same one throughout.
func inShare(hash []byte, organisation string, share uint32) bool {
	h := sha256.Sum256(append(bytes.Clone(hash), organisation...))
	return binary.BigEndian.Uint64(h[:8])%whole < uint64(share)
}

// The reasons for which a model cannot score.
var (
	errNoModel = errors.New("no model is active")
	errTooMuch = errors.New("the model may need more work than max_score_work")
)

// usable is a model that can score, or why it cannot.
func (m *Module) usable(r state.Reader, hash []byte) (*loaded, error) {
	if len(hash) == 0 {
		return nil, errNoModel
	}
	l, ok := m.detectors.lookup(hash)
	if !ok {
		rec, known := m.models.Lookup(r, hash)
		if !known {
			panic("threat: the schedule names a model that has no record")
		}
		raw := m.modelBytes(r, rec)
		// It was registered by this hash, so other bytes are damage, and not a model that
		// cannot score: a node must not judge otherwise than its peers, even less in silence.
		if h := detector.Hash(raw); !bytes.Equal(h[:], hash) {
			panic(&state.Fault{Where: "read a model", Err: fmt.Errorf("the bytes of the model %x have the hash %x", hash, h)})
		}
		d, err := detector.Decode(raw)
		if err != nil {
			return nil, fmt.Errorf("the model cannot be read by this version: %w", err)
		}
		l = &loaded{hash: bytes.Clone(hash), detector: d}
		m.detectors.add(l)
	}
	if l.detector.MaxWork() > m.paramsIn(r).MaxScoreWork {
		return nil, errTooMuch
	}
	return l, nil
}

// modelBytes are the bytes of a model that are there.
func (m *Module) modelBytes(r state.Reader, rec *threatv1.ModelRecord) []byte {
	out := make([]byte, 0, rec.Size)
	for i := range rec.Loaded {
		c, ok := m.chunks.Lookup(r, state.Join(rec.Hash, i))
		if !ok {
			panic("threat: a chunk of a model is missing")
		}
		out = append(out, c.Bytes...)
	}
	return out
}

// dropChunks removes a model's bytes. The caller puts the record.
func (m *Module) dropChunks(w state.Writer, rec *threatv1.ModelRecord) {
	for i := range rec.Loaded {
		m.chunks.Remove(w, state.Join(rec.Hash, i))
	}
	rec.Loaded = 0
}

func (m *Module) scheduleIn(r state.Reader) *threatv1.Schedule {
	if s, ok := m.schedule.Lookup(r); ok {
		return s
	}
	return new(threatv1.Schedule)
}

// byConsortium refuses every author but the consortium.
func (m *Module) byConsortium(r chain.ReadCtx) error {
	if r.Author() != m.deps.Identity.Consortium() {
		return ErrNotConsortium.With("the author is %s", r.Author())
	}
	return nil
}

// modelRoutes handle the life of models.
func (m *Module) modelRoutes() []chain.Route {
	return []chain.Route{m.registerModel(), m.addModelChunk(), m.setModelStage(), m.rollBack()}
}
