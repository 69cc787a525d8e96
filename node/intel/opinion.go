package intel

import (
	"errors"
	"fmt"

	"github.com/chancery/chancery/modules/identity/did"
)

// MaxSubject is the most bytes of an opinion's subject.
const MaxSubject = 128

// Level is how much of a threat a subject is held to be.
type Level uint8

// The levels. LevelNone takes back what was said before.
const (
	LevelNone Level = iota
	LevelLow
	LevelGuarded
	LevelHigh
	LevelSevere
)

var levels = [...]string{"none", "low", "guarded", "high", "severe"}

// String is the level's name.
func (l Level) String() string {
	if int(l) < len(levels) {
		return levels[l]
	}
	return fmt.Sprintf("level %d", uint8(l))
}

// ParseLevel reads the name of a level, or its number.
func ParseLevel(s string) (Level, error) {
	for i, name := range levels {
		if s == name || s == string(rune('0'+i)) {
			return Level(i), nil
		}
	}
	return 0, fmt.Errorf("%q is no level; write none, low, guarded, high, severe, or 0 to 4", s)
}

// Reason is why a subject is believed to be a threat. The numbers are permanent.
type Reason uint16

// The reasons.
const (
	ReasonBurst        Reason = 1 // far more often than before
	ReasonUnusual      Reason = 2 // unlike what the subject or anybody does
	ReasonIndicator    Reason = 3 // an indicator of compromise names it
	ReasonFeed         Reason = 4 // the organisation's feed says so
	ReasonOperator     Reason = 5 // a person says so
	ReasonProposerLied Reason = 6 // it proposed a block that no honest validator would
	ReasonNetwork      Reason = 7 // what the node saw on its connections
)

var reasons = [...]string{1: "burst", 2: "unusual", 3: "indicator", 4: "feed", 5: "operator", 6: "proposer-lied", 7: "network"}

// String is the reason's name.
func (r Reason) String() string {
	if r > 0 && int(r) < len(reasons) {
		return reasons[r]
	}
	return fmt.Sprintf("reason %d", uint16(r))
}

// Opinion is what a validator believes of a subject until a time.
type Opinion struct {
	Subject string   // DID of an organisation, person, device or service, at most MaxSubject bytes
	Level   Level    // LevelNone takes back what was said before
	Reason  Reason   // why
	Source  [32]byte // SHA-256 of the model, the feed or the indicator that says so
	Until   int64    // Unix milliseconds of block time from which on it is void
}

// errOpinion is wrapped by every error of Opinion.Check.
var errOpinion = errors.New("no usable opinion")

// Check says what is wrong with o.
func (o Opinion) Check() error {
	switch {
	case len(o.Subject) > MaxSubject:
		return fmt.Errorf("%w: the subject has %d bytes, at most %d", errOpinion, len(o.Subject), MaxSubject)
	case o.Level > LevelSevere:
		return fmt.Errorf("%w: there is no level %d", errOpinion, o.Level)
	case o.Reason == 0 || int(o.Reason) >= len(reasons):
		return fmt.Errorf("%w: there is no reason %d", errOpinion, o.Reason)
	case o.Source == [32]byte{}:
		return fmt.Errorf("%w: it has no source", errOpinion)
	case o.Until <= 0:
		return fmt.Errorf("%w: it has no end", errOpinion)
	}
	if err := CheckSubject(o.Subject); err != nil {
		return fmt.Errorf("%w: %w", errOpinion, err)
	}
	return nil
}

// CheckSubject says why nobody can have an opinion of s.
func CheckSubject(s string) error {
	if _, err := did.Parse(s); err != nil {
		return fmt.Errorf("%q is %w", s, err)
	}
	if s == did.Consortium {
		return fmt.Errorf("%s is all members together, of whom nobody has an opinion", s)
	}
	return nil
}
