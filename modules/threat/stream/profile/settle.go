package profile

import "math/bits"

// Fate is what became of an event.
type Fate uint8

// The fates. Whatever is not FateAdmitted never trains.
const (
	FateUnknown  Fate = iota
	FateAdmitted      // executed, never held, no appeal against it
	FateHeld          // held at any time, even if released later
	FateDenied        // refused
	FateAppealed      // executed, and an appeal was upheld or is not decided
)

// Settled is an event that may train profiles. Only Settle makes one; the zero Settled trains nothing.
type Settled struct {
	event Event
	valid bool
}

// Settle returns the event if it may train: it was admitted at height (or time) at, and now is at least window later.
// Until then, and for any other fate, the second result is false and the first trains nothing.
func Settle(e Event, fate Fate, at, window, now uint64) (Settled, bool) {
	due, carry := bits.Add64(at, window, 0)
	if fate != FateAdmitted || carry != 0 || now < due {
		return Settled{}, false
	}
	return Settled{event: e, valid: true}, true
}
