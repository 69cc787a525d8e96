package midas

import (
	"fmt"

	"github.com/chancery/chancery/modules/threat/stream/wire"
	threatv1 "github.com/chancery/chancery/proto/chancery/threat/v1"
)

// MaxSettings is the most bytes that settings have.
const MaxSettings = 64

// Marshal is the canonical bytes of a threatv1.MidasSettings.
func (s Settings) Marshal() ([]byte, error) {
	if err := s.Check(); err != nil {
		return nil, err
	}
	return (&threatv1.MidasSettings{
		Rows: uint32(s.Rows), Columns: uint32(s.Columns), Relational: s.Relational,
		DecayNumerator: s.DecayNumerator, DecayDenominator: s.DecayDenominator, Seed: s.Seed,
	}).MarshalVT()
}

// Unmarshal is the inverse of Marshal.
func Unmarshal(raw []byte) (Settings, error) {
	var m threatv1.MidasSettings
	if err := wire.Unmarshal(raw, &m, MaxSettings); err != nil {
		return Settings{}, fmt.Errorf("%w: %w", ErrSettings, err)
	}
	if m.Rows > MaxRows || m.Columns > MaxColumns { // before they become int
		return Settings{}, fmt.Errorf("%w: at most %d rows and %d columns", ErrSettings, MaxRows, MaxColumns)
	}
	s := Settings{
		Rows: int(m.Rows), Columns: int(m.Columns), Relational: m.Relational,
		DecayNumerator: m.DecayNumerator, DecayDenominator: m.DecayDenominator, Seed: m.Seed,
	}
	return s, s.Check()
}
