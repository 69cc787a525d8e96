package rpc

import (
	"bytes"
	"context"
	"errors"
	"iter"
	"slices"
	"strconv"

	"google.golang.org/grpc/metadata"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/state"
	"github.com/chancery/chancery/node/receipt"
)

// The metadata of calls.
const (
	HeightKey  = "chancery-height"
	ProveKey   = "chancery-prove"
	ReceiptKey = "chancery-receipt-bin"
)

// reading is what one call reads: one state, however often the handler asks.
type reading struct {
	height   int64 // asked for; 0: the latest
	prove    bool
	ctx      chain.ReadCtx // nil until the handler asked
	snapshot state.Snapshot
	recorder *recorder // nil unless prove
}

type readingKey struct{}

func withReading(ctx context.Context, r *reading) context.Context {
	return context.WithValue(ctx, readingKey{}, r)
}

func readingOf(md metadata.MD) (*reading, error) {
	r := &reading{}
	if v := md.Get(HeightKey); len(v) > 0 {
		h, err := strconv.ParseInt(v[0], 10, 64)
		if err != nil || h < 0 || len(v) > 1 {
			return nil, ErrBadRequest.With("metadata %s is %q, want one height", HeightKey, v)
		}
		r.height = h
	}
	if v := md.Get(ProveKey); len(v) > 0 {
		switch {
		case len(v) == 1 && v[0] == "1":
			r.prove = true
		case len(v) == 1 && v[0] == "0":
		default:
			return nil, ErrBadRequest.With("metadata %s is %q, want 1 or 0", ProveKey, v)
		}
	}
	return r, nil
}

// snapshots implements chain.Snapshots for the modules' queries.
type snapshots struct{ s *Server }

// At implements chain.Snapshots: the state that the call's metadata names, the
// same on each call.
func (q snapshots) At(ctx context.Context) (chain.ReadCtx, error) {
	r, ok := ctx.Value(readingKey{}).(*reading)
	if !ok {
		return nil, errors.New("rpc: a query ran outside a call")
	}
	if r.ctx != nil {
		return r.ctx, nil
	}
	height := r.height
	if r.prove {
		var err error
		if height, err = q.s.provable(ctx, height); err != nil {
			return nil, err
		}
	}
	c, snapshot, err := q.s.app.View(height)
	if err != nil {
		return nil, err
	}
	r.snapshot = snapshot
	if r.prove {
		r.recorder = &recorder{Reader: snapshot}
		c = q.s.app.ViewOf(r.recorder, snapshot.Version())
	}
	r.ctx = c
	return c, nil
}

// provable is the height to prove: the one asked for, once its successor is
// signed, or the latest whose successor is.
func (s *Server) provable(ctx context.Context, height int64) (int64, error) {
	head := s.records.Head()
	switch {
	case height == 0 && head < 2:
		// The very first state is provable with the second block.
		if err := s.wait(ctx, 2); err != nil {
			return 0, err
		}
		return 1, nil
	case height == 0:
		return head - 1, nil
	case height == head:
		if err := s.wait(ctx, head+1); err != nil {
			return 0, err
		}
	}
	return height, nil
}

// receipt proves all that the call looked up, presence and absence.
func (s *Server) receipt(r *reading) ([]byte, error) {
	if r.recorder == nil || len(r.recorder.keys) == 0 {
		return nil, chain.ErrNotProvable.With("the query read no record")
	}
	if len(r.recorder.keys) > receipt.MaxEntries {
		return nil, receipt.ErrNoEntries.With("the query looked up %d records", len(r.recorder.keys))
	}
	return s.builder.Build(r.snapshot, r.recorder.keys)
}

// recorder notes every key that is looked up.
type recorder struct {
	state.Reader
	keys [][]byte
}

// walked is the panic by which a recorder stops a query that walks a range; the
// door turns it into chain.ErrNotProvable.
type walked struct{}

func (r *recorder) Lookup(key []byte) []byte {
	known := slices.ContainsFunc(r.keys, func(k []byte) bool { return bytes.Equal(k, key) })
	if !known && len(r.keys) <= receipt.MaxEntries {
		r.keys = append(r.keys, bytes.Clone(key))
	}
	return r.Reader.Lookup(key)
}

func (r *recorder) Walk([]byte, []byte, bool) iter.Seq2[[]byte, []byte] { panic(walked{}) }
