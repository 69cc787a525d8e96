package threat

import (
	"slices"
	"sync"

	"github.com/chancery/chancery/chain/state"
	"github.com/chancery/chancery/modules/threat/detector"
	"github.com/chancery/chancery/modules/threat/features"
	"github.com/chancery/chancery/modules/threat/stream/cell"
	"github.com/chancery/chancery/modules/threat/stream/halfspace"
	"github.com/chancery/chancery/modules/threat/stream/midas"
	"github.com/chancery/chancery/modules/threat/stream/profile"
	threatv1 "github.com/chancery/chancery/proto/chancery/threat/v1"
)

// streams is what counts transactions in cells: the streaming parts of a detector,
// made of their settings alone, so that cells are rebuilt without it. nil counts
// nothing.
type streams struct {
	tickMs    int64
	sketch    *midas.Sketch
	kinTickMs int64
	kin       *midas.Sketch
	space     *halfspace.Forest
}

// streamsOf makes streams of Progress.Streams.
func streamsOf(raw []byte) (*streams, error) {
	if len(raw) == 0 {
		return nil, nil
	}
	settings := new(threatv1.Detector)
	if err := settings.UnmarshalVT(raw); err != nil {
		return nil, err
	}
	s := &streams{tickMs: settings.TickMs, kinTickMs: settings.KinTickMs}
	var err error
	if s.sketch, err = sketchOf(settings.Midas, midas.SpaceEdge); err != nil {
		return nil, err
	}
	if s.kin, err = sketchOf(settings.Kin, midas.SpaceKin); err != nil {
		return nil, err
	}
	if settings.HalfSpace != nil {
		raw, err := settings.HalfSpace.MarshalVT()
		if err != nil {
			return nil, err
		}
		parsed, err := halfspace.Unmarshal(raw)
		if err != nil {
			return nil, err
		}
		if s.space, err = halfspace.New(parsed); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// sketchOf is a sketch with tables from a space on; nil without settings.
func sketchOf(settings *threatv1.MidasSettings, first cell.Space) (*midas.Sketch, error) {
	if settings == nil {
		return nil, nil
	}
	raw, err := settings.MarshalVT()
	if err != nil {
		return nil, err
	}
	parsed, err := midas.Unmarshal(raw)
	if err != nil {
		return nil, err
	}
	return midas.NewAt(parsed, first)
}

// uses are what an actor's transaction uses, as numbers; 0 is none.
type uses struct{ actor, resource, kin uint64 }

// absorb counts an admitted transaction as detector.Absorb does.
func (s *streams) absorb(w cell.Writer, u uses, e profile.Event, time, began int64) {
	if s == nil {
		return
	}
	var err error
	if s.sketch != nil && u.resource != 0 {
		err = s.sketch.Absorb(w, midas.Edge{Actor: u.actor, Resource: u.resource}, tick(s.tickMs, time, began))
	}
	if s.kin != nil && u.kin != 0 && err == nil {
		err = s.kin.Absorb(w, midas.Edge{Actor: u.actor, Resource: u.kin}, tick(s.kinTickMs, time, began))
	}
	if s.space != nil && err == nil {
		var values [profile.MaxFeatures]int64
		for i, v := range e {
			values[i] = int64(v)
		}
		err = s.space.Absorb(w, values[:features.Schema.Features()])
	}
	if err != nil {
		panic(&state.Fault{Where: "count a transaction in cells", Err: err})
	}
}

// tick is the tick of so many milliseconds of a time where the first one began then, as
// detector.Tick and detector.KinTick have it.
func tick(ms, time, began int64) uint64 {
	if ms <= 0 || began < 0 || time <= began {
		return 1
	}
	return 1 + uint64(time-began)/uint64(ms)
}

// settings are what of a detector matters to what is learnt.
type settings struct {
	hash    [32]byte
	streams []byte // as Progress.Streams, empty where it counts nothing
	steps   steps
}

func settingsOf(d *detector.Detector) settings {
	all := d.Message()
	s := settings{
		hash: d.Hash(),
		streams: must((&threatv1.Detector{
			Midas: all.Midas, TickMs: all.TickMs, HalfSpace: all.HalfSpace, Kin: all.Kin, KinTickMs: all.KinTickMs,
		}).MarshalVT()),
		steps: defaultSteps,
	}
	if own := d.Steps(); own.Check() == nil {
		s.steps = steps{Settings: own, epochMs: all.Profile.EpochMs}
	}
	return s
}

// settingsMemo is how many detectors' settings are remembered.
const settingsMemo = 8

// settingsCache remembers the settings of detectors.
type settingsCache struct {
	//determinism:allow guards a cache of a pure function
	mu    sync.Mutex // guards known
	known []settings
}

func (c *settingsCache) of(d *detector.Detector) settings {
	c.mu.Lock()
	defer c.mu.Unlock()
	hash := d.Hash()
	for _, s := range c.known {
		if s.hash == hash {
			return s
		}
	}
	s := settingsOf(d)
	c.known = append(slices.Clone(c.known[max(len(c.known)+1-settingsMemo, 0):]), s)
	return s
}
