package features

import (
	"math"

	"github.com/chancery/chancery/modules/threat/stream/fixed"
	threatv1 "github.com/chancery/chancery/proto/chancery/threat/v1"
)

// One is a count of one, Q16.
const One = 1 << 16

// Half-lives of counts, in milliseconds.
const (
	Moment = 10_000
	Minute = 60_000
	Hour   = 60 * Minute
	Day    = 24 * Hour
	Week   = 7 * Day
)

// perMs is floor(2^63 * 2^(-1/h)) for the half-lives h: what a millisecond leaves, Q63.
const (
	momentPerMs = 9222732743578988217
	minutePerMs = 9223265484898201873
	hourPerMs   = 9223370260978746049
	dayPerMs    = 9223371962859934408
	weekPerMs   = 9223372026284084143
)

// wanderShift makes Q12 bits Q16.
const wanderShift = 4

// History is what a subject did: counts that decay.
//
// The decayed counts are Q16 as of Last, and are moved only by Add, that is when a transaction is counted. So the same
// transactions in the same order give the same History to the bit, on every machine, whoever reads it in between and
// however often. At is a pure reading. Decay rounds down, so that going to a time in two steps need not give what
// going there in one gives: never take a reading of At for the History itself.
type History struct {
	First, Last int64  // Unix ms of the first and latest transaction; 0: none
	Count       uint64 // of transactions
	Minute      uint64 // transactions, half-life of a minute
	Hour        uint64 // transactions, half-life of an hour
	Day         uint64 // transactions, half-life of a day
	Failed      uint64 // failures and denials, half-life of an hour
	Held        uint64 // holds, half-life of an hour
	Fresh       uint64 // uses of a resource never used before, half-life of an hour
	Sensitive   uint64 // transactions of sensitivity 3 and more, half-life of an hour
	Moment      uint64 // transactions, half-life of ten seconds
	FreshDay    uint64 // uses of a resource never used before, half-life of a day
	StrayHour   uint64 // strays, half-life of an hour
	StrayDay    uint64 // strays, half-life of a day
	StrayWeek   uint64 // strays, half-life of a week
	Wander      uint64 // bits by which kin surprised, half-life of a day
	Evidence    Evidence
	InBlock     uint32 // transactions of the block at hand that came before; no part of a Trace
}

// Deed is one transaction as a History counts it.
type Deed struct {
	Failed    bool // executed and failed, or denied
	Held      bool
	Fresh     bool // its actor never used its resource before
	Sensitive bool
	Wander    uint32 // see Senses.Wander
	Evidence  uint64 // see Facts.Evidence
}

// Evidence is the latest evidence with which consents were recorded, each once and the latest first, with how often it
// was used since it was first among them. It is exact and short, so that no number of consents makes what is new look
// used.
type Evidence [4]struct {
	Number uint64 // 0: none
	Uses   uint32
}

// Uses is how often evidence was used; 0 for none.
func (e *Evidence) Uses(number uint64) uint32 {
	for i := range e {
		if e[i].Number == number && number != 0 {
			return e[i].Uses
		}
	}
	return 0
}

func (e *Evidence) use(number uint64) {
	if number == 0 {
		return
	}
	at, uses := len(e)-1, e.Uses(number)
	for i := range e {
		if e[i].Number == number {
			at = i
			break
		}
	}
	copy(e[1:at+1], e[:at])
	e[0].Number, e[0].Uses = number, uses
	if uses < math.MaxUint32 {
		e[0].Uses++
	}
}

// At is h with its decayed counts as of a time in Unix ms, not before Last. Last stays.
func (h History) At(now int64) History {
	if now <= h.Last || h.Count == 0 {
		return h
	}
	dt := uint64(now) - uint64(h.Last)
	minute, hour, day := left(dt, Minute, minutePerMs), left(dt, Hour, hourPerMs), left(dt, Day, dayPerMs)
	h.Minute, h.Moment = minute.of(h.Minute), left(dt, Moment, momentPerMs).of(h.Moment)
	h.Hour, h.Day = hour.of(h.Hour), day.of(h.Day)
	h.Failed, h.Held = hour.of(h.Failed), hour.of(h.Held)
	h.Fresh, h.Sensitive = hour.of(h.Fresh), hour.of(h.Sensitive)
	h.FreshDay, h.Wander = day.of(h.FreshDay), day.of(h.Wander)
	h.StrayHour, h.StrayDay, h.StrayWeek = hour.of(h.StrayHour), day.of(h.StrayDay), left(dt, Week, weekPerMs).of(h.StrayWeek)
	return h
}

// Add counts a transaction at a time in Unix ms; one before Last counts as at Last.
func (h *History) Add(now int64, d Deed) {
	if h.Count == 0 {
		h.First, h.Last = now, now
	}
	*h = h.At(now)
	h.Last = max(h.Last, now)
	h.Count = fixed.Add(h.Count, 1)
	h.Moment, h.Minute = fixed.Add(h.Moment, One), fixed.Add(h.Minute, One)
	h.Hour, h.Day = fixed.Add(h.Hour, One), fixed.Add(h.Day, One)
	if d.Failed {
		h.Failed = fixed.Add(h.Failed, One)
	}
	if d.Held {
		h.Held = fixed.Add(h.Held, One)
	}
	if d.Fresh {
		h.Fresh, h.FreshDay = fixed.Add(h.Fresh, One), fixed.Add(h.FreshDay, One)
	}
	h.Evidence.use(d.Evidence)
	h.Wander = fixed.Add(h.Wander, uint64(d.Wander)<<wanderShift)
	if stray(d.Wander) {
		h.StrayHour, h.StrayDay, h.StrayWeek = fixed.Add(h.StrayHour, One), fixed.Add(h.StrayDay, One), fixed.Add(h.StrayWeek, One)
	}
	if d.Sensitive {
		h.Sensitive = fixed.Add(h.Sensitive, One)
	}
}

// HistoryOf is the history in a trace, of which nil is the empty one.
func HistoryOf(t *threatv1.Trace) History {
	h := History{
		First: t.GetFirst(), Last: t.GetLast(), Count: t.GetCount(),
		Minute: t.GetMinute(), Hour: t.GetHour(), Day: t.GetDay(),
		Failed: t.GetFailed(), Held: t.GetHeld(), Fresh: t.GetFresh(), Sensitive: t.GetSensitive(),
		Moment: t.GetMoment(), FreshDay: t.GetFreshDay(),
		StrayHour: t.GetStrayHour(), StrayDay: t.GetStrayDay(), StrayWeek: t.GetStrayWeek(), Wander: t.GetWander(),
	}
	for i, number := range t.GetEvidence() {
		if i < len(h.Evidence) && i < len(t.EvidenceUses) {
			h.Evidence[i].Number, h.Evidence[i].Uses = number, t.EvidenceUses[i]
		}
	}
	return h
}

// Write writes h into a trace and leaves what the trace says of profiles.
func (h *History) Write(t *threatv1.Trace) {
	t.First, t.Last, t.Count = h.First, h.Last, h.Count
	t.Minute, t.Hour, t.Day = h.Minute, h.Hour, h.Day
	t.Failed, t.Held, t.Fresh, t.Sensitive = h.Failed, h.Held, h.Fresh, h.Sensitive
	t.Moment, t.FreshDay = h.Moment, h.FreshDay
	t.StrayHour, t.StrayDay, t.StrayWeek, t.Wander = h.StrayHour, h.StrayDay, h.StrayWeek, h.Wander
	t.Evidence, t.EvidenceUses = nil, nil
	for _, e := range h.Evidence {
		if e.Number != 0 {
			t.Evidence, t.EvidenceUses = append(t.Evidence, e.Number), append(t.EvidenceUses, e.Uses)
		}
	}
}

// share is what a time leaves of a count: 2^-shift and a factor in Q63.
type share struct {
	shift  uint64
	factor uint64
}

func left(dt, half, perMs uint64) share {
	return share{dt / half, fixed.Power(perMs, dt%half)}
}

func (s share) of(count uint64) uint64 {
	if s.shift > 63 {
		return 0
	}
	return fixed.Scale(count, s.factor) >> s.shift
}
