package divergence

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"slices"
	"time"

	"github.com/chancery/chancery/chain/state"
	nodev1 "github.com/chancery/chancery/proto/chancery/node/v1"
)

const (
	maxRanges = 256  // of an answer; one more where the asker gives the bounds
	maxListed = 256  // keys of an answer
	maxKey    = 4096 // bytes of a key in a question

	// turn is how many pairs are read before an answer looks at the time. It then rests as
	// long as it has worked, so that it takes half of one processor at most.
	turn = 1024
)

// ErrQuestion says that a question is not answered in any state.
var ErrQuestion = errors.New("the question about hashes of the state is not usable")

// Answer answers a question about a state, but for what is not in it: the next header, the
// program's version and the tree's kind. The error is ErrQuestion for what may not be asked,
// a *state.Fault where the state cannot be read, and that of ctx where it ended. It never
// panics: who asks may be another's node.
func Answer(ctx context.Context, s state.Snapshot, q *nodev1.HashesRequest) (r *nodev1.HashesResponse, err error) {
	if err := check(q); err != nil {
		return nil, err
	}
	defer func() {
		switch f := recover().(type) {
		case nil:
		case *state.Fault:
			r, err = nil, f
		default:
			r, err = nil, fmt.Errorf("the state cannot be read: %v", f)
		}
	}()
	r = &nodev1.HashesResponse{Height: s.Version(), AppHash: s.Root()}
	start, end := bound(q.Start), bound(q.End)
	switch {
	case q.List > 0:
		for k, v := range s.Walk(start, end, false) {
			sum := sha256.Sum256(v)
			r.Pairs = append(r.Pairs, &nodev1.PairHash{Key: k, Hash: sum[:]})
			if uint32(len(r.Pairs)) == q.List {
				break
			}
		}
	case q.Every > 0 || len(q.Bounds) > 0:
		if r.Ranges, err = cut(ctx, s, q); err != nil {
			return nil, err
		}
	}
	if len(q.Prove) > 0 {
		p, err := s.Prove(q.Prove)
		if err != nil {
			return nil, err
		}
		if r.Proof, err = p.Marshal(); err != nil {
			return nil, err
		}
	}
	return r, nil
}

func bound(key []byte) []byte {
	if len(key) == 0 {
		return nil
	}
	return key
}

// check refuses what may not be asked. It looks at the bytes alone.
func check(q *nodev1.HashesRequest) error {
	ways := 0
	for _, asked := range []bool{len(q.Bounds) > 0, q.Every > 0, q.List > 0} {
		if asked {
			ways++
		}
	}
	switch {
	case ways > 1:
		return fmt.Errorf("%w: at most one of bounds, every and list may be given", ErrQuestion)
	case len(q.Bounds) > maxRanges:
		return fmt.Errorf("%w: %d bounds, at most %d may be given", ErrQuestion, len(q.Bounds), maxRanges)
	case q.List > maxListed:
		return fmt.Errorf("%w: list is %d, at most %d", ErrQuestion, q.List, maxListed)
	case q.Height < 0:
		return fmt.Errorf("%w: height is %d", ErrQuestion, q.Height)
	case len(q.End) > 0 && bytes.Compare(q.Start, q.End) >= 0:
		return fmt.Errorf("%w: the part ends before it begins", ErrQuestion)
	}
	before := q.Start
	for _, b := range append(slices.Clone(q.Bounds), q.Prove, q.Start, q.End) {
		if len(b) > maxKey {
			return fmt.Errorf("%w: a key has %d bytes, at most %d", ErrQuestion, len(b), maxKey)
		}
	}
	for _, b := range q.Bounds {
		if bytes.Compare(b, before) <= 0 || len(q.End) > 0 && bytes.Compare(b, q.End) >= 0 {
			return fmt.Errorf("%w: the bounds are not ascending within the part", ErrQuestion)
		}
		before = b
	}
	return nil
}

// piece is a range that is being hashed.
type piece struct {
	start []byte
	keys  uint64
	sum   hash.Hash
}

func begin(start []byte) piece { return piece{start: start, sum: sha256.New()} }

func (p *piece) add(key, value []byte) {
	var length [8]byte
	for _, part := range [][]byte{key, value} {
		binary.BigEndian.PutUint64(length[:], uint64(len(part)))
		p.sum.Write(length[:])
		p.sum.Write(part)
	}
	p.keys++
}

func (p *piece) end() *nodev1.RangeHash {
	return &nodev1.RangeHash{Start: p.start, Keys: p.keys, Hash: p.sum.Sum(nil)}
}

// cut hashes the ranges that a question asks for.
func cut(ctx context.Context, s state.Reader, q *nodev1.HashesRequest) ([]*nodev1.RangeHash, error) {
	var out []*nodev1.RangeHash
	current, bounds := begin(q.Start), q.Bounds
	n, begun := 0, time.Now()
	for k, v := range s.Walk(bound(q.Start), bound(q.End), false) {
		for len(bounds) > 0 && bytes.Compare(k, bounds[0]) >= 0 {
			out = append(out, current.end())
			current, bounds = begin(bounds[0]), bounds[1:]
		}
		if q.Every > 0 && current.keys == q.Every && len(out) < maxRanges-1 {
			out = append(out, current.end())
			current = begin(k)
		}
		current.add(k, v)
		if n++; n%turn == 0 {
			if err := rest(ctx, time.Since(begun)); err != nil {
				return nil, err
			}
			begun = time.Now()
		}
	}
	for _, b := range bounds {
		out = append(out, current.end())
		current = begin(b)
	}
	return append(out, current.end()), ctx.Err()
}

func rest(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
