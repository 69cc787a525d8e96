package threat

import (
	"github.com/chancery/chancery/chain/state"
	"github.com/chancery/chancery/modules/threat/features"
	"github.com/chancery/chancery/modules/threat/stream/profile"
	threatv1 "github.com/chancery/chancery/proto/chancery/threat/v1"
)

// trace is a threatv1.Trace as it is worked with. One that is in state is
// shared and must not be changed.
type trace struct {
	history features.History
	// known tells whether there are profiles; before, there is a tally.
	known    bool
	anchor   profile.Anchor
	adaptive profile.Adaptive
	tally    *threatv1.Trace // its field tally alone is read
}

// traceValue is the codec of a trace, a threatv1.Trace.
type traceValue struct{}

func (traceValue) String() string { return state.Proto[threatv1.Trace]().String() }
func (traceValue) Encode(dst []byte, t *trace) ([]byte, error) {
	return state.Proto[threatv1.Trace]().Encode(dst, t.message())
}

func (traceValue) Decode(raw []byte) (*trace, error) {
	stored, err := state.Proto[threatv1.Trace]().Decode(raw)
	if err != nil {
		return nil, err
	}
	return readTrace(stored)
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
