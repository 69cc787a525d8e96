package threat

import (
	"sync"

	"github.com/chancery/chancery/chain/state"
	"github.com/chancery/chancery/modules/threat/features"
	"github.com/chancery/chancery/modules/threat/stream/profile"
	threatv1 "github.com/chancery/chancery/proto/chancery/threat/v1"
)

// trace is a threatv1.Trace as it is worked with. One that traceIn returns is shared
// and must not be changed.
type trace struct {
	history features.History
	// known tells whether there are profiles; before, there is a tally.
	known    bool
	anchor   profile.Anchor
	adaptive profile.Adaptive
	tally    *threatv1.Trace // its field tally alone is read
}

// traceMemo is how many traces are remembered, of at most 15 KiB each with their
// bytes.
const traceMemo = 4096

// traceCache remembers what traces were read from which bytes.
type traceCache struct {
	//determinism:allow guards a cache of a pure function
	mu         sync.Mutex // guards young, old and places
	young, old map[string]*trace
	// places are the same by where the bytes begin, so that those that a tree in memory
	// hands out again need not be read to be known. Holding the place keeps its bytes.
	places map[*byte]*trace
}

func (c *traceCache) lookup(raw []byte) (*trace, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if t, ok := c.places[&raw[0]]; ok {
		return t, true
	}
	t, ok := c.young[string(raw)]
	if !ok {
		if t, ok = c.old[string(raw)]; ok {
			c.put(raw, t)
		}
	}
	if ok {
		if len(c.places) >= traceMemo || c.places == nil {
			c.places = make(map[*byte]*trace)
		}
		c.places[&raw[0]] = t
	}
	return t, ok
}

func (c *traceCache) keep(raw []byte, t *trace) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.put(raw, t)
}

// put needs mu held.
func (c *traceCache) put(raw []byte, t *trace) {
	if len(c.young) >= traceMemo/2 || c.young == nil {
		c.old, c.young = c.young, make(map[string]*trace)
	}
	c.young[string(raw)] = t
}

// traceIn is the trace of a subject, with one read of r whatever is remembered.
func (m *Module) traceIn(r state.Reader, subject string) (*trace, bool) {
	raw := r.Lookup(m.traces.Key(subject))
	if raw == nil {
		return nil, false
	}
	if t, ok := m.remembered.lookup(raw); ok {
		return t, true
	}
	stored, err := state.Proto[threatv1.Trace]().Decode(raw)
	var t *trace
	if err == nil {
		t, err = readTrace(stored)
	}
	if err != nil {
		panic(&state.Fault{Where: "read the trace of a subject", Err: err})
	}
	m.remembered.keep(raw, t)
	return t, true
}

// readTrace refuses profiles that are none of features.Schema, and a trace with one
// profile of the two or with a tally beside them.
func readTrace(s *threatv1.Trace) (*trace, error) {
	t := &trace{history: features.HistoryOf(s)}
	var err error
	switch {
	case len(s.Anchor) == 0 && len(s.Adaptive) == 0:
		if len(s.Tally) != 0 {
			if _, err = profile.UnmarshalTally(s.Tally, features.Schema); err != nil {
				return nil, err
			}
			t.tally = s
		}
		return t, nil
	case len(s.Anchor) == 0 || len(s.Adaptive) == 0 || len(s.Tally) != 0:
		return nil, ErrInvalid.With("a trace has one profile of two, or a tally beside them")
	}
	t.known = true
	if t.anchor, err = profile.UnmarshalAnchor(s.Anchor, features.Schema); err != nil {
		return nil, err
	}
	t.adaptive, err = profile.UnmarshalAdaptive(s.Adaptive, features.Schema)
	return t, err
}

// message is the trace as it is stored.
func (t *trace) message() *threatv1.Trace {
	s := &threatv1.Trace{}
	t.history.Write(s)
	if t.tally != nil {
		s.Tally = t.tally.Tally
	}
	if t.known {
		s.Anchor = must(t.anchor.Marshal())
		s.Adaptive = must(t.adaptive.Marshal())
	}
	return s
}

func must(raw []byte, err error) []byte {
	if err != nil {
		panic(&state.Fault{Where: "marshal a profile", Err: err})
	}
	return raw
}

// putTrace writes a trace, which must not be changed any more.
func (m *Module) putTrace(w state.Writer, subject string, t *trace) {
	m.traces.Put(w, subject, t.message())
	m.remembered.keep(w.Lookup(m.traces.Key(subject)), t)
}
