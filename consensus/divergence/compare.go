package divergence

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"sync"

	ics23 "github.com/cosmos/ics23/go"

	"github.com/chancery/chancery/chain/state"
	nodev1 "github.com/chancery/chancery/proto/chancery/node/v1"
)

const (
	// fan is into how many ranges a range is cut that differs, and at how many keys it is
	// listed instead.
	fan = 64
	// rounds is how often a range may be cut: enough for fan^rounds keys.
	rounds = 10
)

// Source answers questions about the state of one node.
type Source func(ctx context.Context, q *nodev1.HashesRequest) (*nodev1.HashesResponse, error)

// Local is the source of a state that is at hand.
func Local(s state.Snapshot) Source {
	return func(ctx context.Context, q *nodev1.HashesRequest) (*nodev1.HashesResponse, error) {
		return Answer(ctx, s, q)
	}
}

// Comparison is what two states have in common.
type Comparison struct {
	LeftRoot  string   `json:"left_root"`
	RightRoot string   `json:"right_root"`
	Modules   []Module `json:"modules"` // in order of their keys
	// First is the first key that differs; nil: none does.
	First *Difference `json:"first_difference,omitempty"`
}

// Module is a module's part of two states. Its hash is SHA-256 over the hashes of its
// collections, in order of their prefixes.
type Module struct {
	Name      string `json:"module"`
	LeftKeys  uint64 `json:"left_keys"`
	RightKeys uint64 `json:"right_keys"`
	Left      string `json:"left"`
	Right     string `json:"right"`
}

// Differs tells whether the states differ in the module.
func (m Module) Differs() bool { return m.Left != m.Right }

// Difference is a key in which two states differ.
type Difference struct {
	Module     string `json:"module"`
	Collection string `json:"collection"`
	Key        string `json:"key"`     // decoded, where the program knows the collection
	RawKey     string `json:"raw_key"` // hexadecimal
	// SHA-256 of the values; "absent" where there is none.
	Left  string `json:"left"`
	Right string `json:"right"`
	// Proved tells that the right side's proof of its value holds against its root.
	Proved bool `json:"proved"`

	raw []byte
}

// Absent stands for the hash of a value where there is none.
const Absent = "absent"

// errContradiction says that a side's answers do not fit together.
var errContradiction = errors.New("the answers contradict one another")

// Hashes are the modules of one state, as both sides of a comparison.
func Hashes(ctx context.Context, r *state.Registry, height int64, of Source) (*Comparison, error) {
	q, names, err := whole(r, height)
	if err != nil {
		return nil, err
	}
	a, err := fitting(ctx, of, q)
	if err != nil {
		return nil, err
	}
	out, _ := modules(names, a, a)
	return out, nil
}

// Compare compares two states of a height: first their modules, and then, within what
// differs first, ever smaller ranges. Against a side that answers falsely the difference
// holds only where it is proved, and the right root is known from elsewhere. With an error
// the comparison is what was found until then; nil: nothing.
func Compare(ctx context.Context, r *state.Registry, height int64, left, right Source) (*Comparison, error) {
	c := comparing{height: height, left: left, right: right}
	q, names, err := whole(r, height)
	if err != nil {
		return nil, err
	}
	ls, rs, err := c.ask(ctx, q)
	if err != nil {
		return nil, err
	}
	out, first := modules(names, ls, rs)
	if first < 0 {
		return out, nil
	}
	d, err := c.narrow(ctx, ls.Ranges[first], after(ls.Ranges, first, nil))
	if err != nil {
		return out, err
	}
	d.describe(r)
	out.First = d
	d.Proved, err = c.proved(ctx, d, rs.AppHash)
	return out, err
}

// whole is the question for each collection's hash, and the modules' names of its answer's
// ranges. The first, before all collections, holds a key in a corrupt state alone.
func whole(r *state.Registry, height int64) (q *nodev1.HashesRequest, names []string, err error) {
	q, names = &nodev1.HashesRequest{Height: height}, []string{unknown}
	for _, c := range r.Collections() {
		q.Bounds = append(q.Bounds, c.Prefix)
		names = append(names, moduleOf(c))
	}
	if len(q.Bounds) > maxRanges {
		return nil, nil, fmt.Errorf("compare states: %d collections, at most %d", len(q.Bounds), maxRanges)
	}
	return q, names, nil
}

// unknown stands for the module of a key that is of none.
const unknown = "?"

func moduleOf(c state.Collection) string {
	module, _, _ := strings.Cut(c.Name, "/")
	return module
}

// modules joins collections to modules, and tells the first range that differs, -1 for none.
func modules(names []string, ls, rs *nodev1.HashesResponse) (out *Comparison, first int) {
	out, first = &Comparison{LeftRoot: hex.EncodeToString(ls.AppHash), RightRoot: hex.EncodeToString(rs.AppHash)}, -1
	for i := 0; i < len(names); {
		m, x, y := Module{Name: names[i]}, sha256.New(), sha256.New()
		for ; i < len(names) && names[i] == m.Name; i++ {
			a, b := ls.Ranges[i], rs.Ranges[i]
			x.Write(a.Hash)
			y.Write(b.Hash)
			m.LeftKeys, m.RightKeys = m.LeftKeys+a.Keys, m.RightKeys+b.Keys
			if first < 0 && !bytes.Equal(a.Hash, b.Hash) {
				first = i
			}
		}
		m.Left, m.Right = hex.EncodeToString(x.Sum(nil)), hex.EncodeToString(y.Sum(nil))
		if m.Name != unknown || m.LeftKeys+m.RightKeys > 0 {
			out.Modules = append(out.Modules, m)
		}
	}
	return out, first
}

// after is where a range ends.
func after(ranges []*nodev1.RangeHash, i int, end []byte) []byte {
	if i+1 < len(ranges) {
		return ranges[i+1].Start
	}
	return end
}

type comparing struct {
	height      int64
	left, right Source
}

// ask puts a question to both sides, and holds the answers against it.
func (c comparing) ask(ctx context.Context, q *nodev1.HashesRequest) (ls, rs *nodev1.HashesResponse, err error) {
	q.Height = c.height
	var both sync.WaitGroup
	var failed error
	both.Go(func() { rs, failed = fitting(ctx, c.right, q) })
	ls, err = fitting(ctx, c.left, q)
	both.Wait()
	return ls, rs, errors.Join(err, failed)
}

// fitting puts a question to one side, and holds the answer against it.
func fitting(ctx context.Context, of Source, q *nodev1.HashesRequest) (*nodev1.HashesResponse, error) {
	r, err := of(ctx, q)
	if err != nil {
		return nil, err
	}
	return r, fits(q, r)
}

// fits refuses an answer that is not one to the question.
func fits(q *nodev1.HashesRequest, r *nodev1.HashesResponse) error {
	switch {
	case r.Height != q.Height:
		return fmt.Errorf("%w: it is of height %d, asked was %d", errContradiction, r.Height, q.Height)
	case len(q.Bounds) > 0 && len(r.Ranges) != len(q.Bounds)+1, len(r.Ranges) > maxRanges+1, len(r.Pairs) > int(q.List):
		return fmt.Errorf("%w: %d ranges and %d pairs", errContradiction, len(r.Ranges), len(r.Pairs))
	}
	before := q.Start
	for i, x := range r.Ranges {
		want := i == 0 && bytes.Equal(x.Start, q.Start) || i > 0 && bytes.Compare(before, x.Start) < 0 && (len(q.End) == 0 || bytes.Compare(x.Start, q.End) < 0)
		if len(q.Bounds) > 0 && i > 0 {
			want = bytes.Equal(x.Start, q.Bounds[i-1])
		}
		if !want {
			return fmt.Errorf("%w: its ranges are others", errContradiction)
		}
		before = x.Start
	}
	for i, x := range r.Pairs {
		if bytes.Compare(x.Key, q.Start) < 0 || len(q.End) > 0 && bytes.Compare(x.Key, q.End) >= 0 || i > 0 && bytes.Compare(r.Pairs[i-1].Key, x.Key) >= 0 {
			return fmt.Errorf("%w: its keys are not in order", errContradiction)
		}
	}
	return nil
}

// narrow finds the first difference in a range of the left side that differs.
func (c comparing) narrow(ctx context.Context, in *nodev1.RangeHash, end []byte) (*Difference, error) {
	for range rounds {
		if in.Keys < fan {
			return c.list(ctx, in, end)
		}
		cut, err := c.cut(ctx, in, end)
		if err != nil {
			return nil, err
		}
		same, err := fitting(ctx, c.right, cut.question)
		if err != nil {
			return nil, err
		}
		found := false
		for i, x := range cut.ranges {
			if found = !bytes.Equal(x.Hash, same.Ranges[i].Hash); found {
				in, end = x, after(cut.ranges, i, end)
				break
			}
		}
		if !found {
			return nil, fmt.Errorf("%w: a range differs as a whole, and in no part", errContradiction)
		}
	}
	return nil, fmt.Errorf("%w: a range does not become smaller", errContradiction)
}

// cutting is a range of the left side in parts, and the question for the same parts.
type cutting struct {
	ranges   []*nodev1.RangeHash
	question *nodev1.HashesRequest
}

func (c comparing) cut(ctx context.Context, in *nodev1.RangeHash, end []byte) (*cutting, error) {
	q := &nodev1.HashesRequest{Height: c.height, Start: in.Start, End: end, Every: in.Keys/fan + 1}
	r, err := fitting(ctx, c.left, q)
	if err != nil {
		return nil, err
	}
	if len(r.Ranges) < 2 {
		return nil, fmt.Errorf("%w: %d keys are not cut", errContradiction, in.Keys)
	}
	out := &cutting{ranges: r.Ranges, question: &nodev1.HashesRequest{Height: c.height, Start: in.Start, End: end}}
	for _, x := range r.Ranges[1:] {
		out.question.Bounds = append(out.question.Bounds, x.Start)
	}
	return out, nil
}

// list finds the first difference among the keys of a range in which the left side has less
// than fan: with one key more of each side it is among them.
func (c comparing) list(ctx context.Context, in *nodev1.RangeHash, end []byte) (*Difference, error) {
	ls, rs, err := c.ask(ctx, &nodev1.HashesRequest{Start: in.Start, End: end, List: fan})
	if err != nil {
		return nil, err
	}
	l, r := ls.Pairs, rs.Pairs
	for len(l) > 0 || len(r) > 0 {
		order := 0
		switch {
		case len(l) == 0:
			order = 1
		case len(r) == 0:
			order = -1
		default:
			order = bytes.Compare(l[0].Key, r[0].Key)
		}
		switch {
		case order < 0:
			return &Difference{raw: l[0].Key, Left: hex.EncodeToString(l[0].Hash), Right: Absent}, nil
		case order > 0:
			return &Difference{raw: r[0].Key, Left: Absent, Right: hex.EncodeToString(r[0].Hash)}, nil
		case !bytes.Equal(l[0].Hash, r[0].Hash):
			return &Difference{raw: l[0].Key, Left: hex.EncodeToString(l[0].Hash), Right: hex.EncodeToString(r[0].Hash)}, nil
		}
		l, r = l[1:], r[1:]
	}
	return nil, fmt.Errorf("%w: a range differs as a whole, and in no key", errContradiction)
}

// describe says which record a key is of.
func (d *Difference) describe(r *state.Registry) {
	d.RawKey, d.Key, d.Module, d.Collection = hex.EncodeToString(d.raw), hex.EncodeToString(d.raw), unknown, unknown
	c, ok := r.Of(d.raw)
	if !ok {
		return
	}
	d.Module, d.Collection = moduleOf(c), c.Name
	if text, err := c.DescribeKey(d.raw); err == nil {
		d.Key = text
	}
}

// proved asks the right side for a proof of what it says of a key, and verifies it against
// its root.
func (c comparing) proved(ctx context.Context, d *Difference, root []byte) (bool, error) {
	r, err := c.right(ctx, &nodev1.HashesRequest{Height: c.height, Prove: d.raw})
	if err != nil {
		return false, err
	}
	return proves(r.Proof, root, d.raw, d.Right), nil
}

// proves tells whether a proof holds against a root: that a key has a value of that hash, or
// none. The library panics on some malformed proofs.
func proves(raw, root, key []byte, hash string) (ok bool) {
	defer func() {
		if recover() != nil {
			ok = false
		}
	}()
	p := new(ics23.CommitmentProof)
	if p.Unmarshal(raw) != nil {
		return false
	}
	if hash == Absent {
		// The library does not look at the key that the proof itself names.
		return bytes.Equal(p.GetNonexist().GetKey(), key) && ics23.VerifyNonMembership(state.ProofSpec, root, p, key)
	}
	value := p.GetExist().GetValue()
	sum := sha256.Sum256(value)
	return hex.EncodeToString(sum[:]) == hash && ics23.VerifyMembership(state.ProofSpec, root, p, key, value)
}
