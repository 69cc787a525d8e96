package halfspace

import (
	"fmt"

	"github.com/chancery/chancery/modules/threat/stream/wire"
	threatv1 "github.com/chancery/chancery/proto/chancery/threat/v1"
)

// MaxSettings is the most bytes that settings have.
const MaxSettings = 64 + 24*MaxFeatures

// Marshal is the canonical bytes of a threatv1.HalfSpaceSettings.
func (s Settings) Marshal() ([]byte, error) {
	if err := s.Check(); err != nil {
		return nil, err
	}
	m := &threatv1.HalfSpaceSettings{
		Trees: uint32(s.Trees), Depth: uint32(s.Depth), Window: uint32(s.Window), SizeLimit: uint32(s.SizeLimit), Seed: s.Seed,
	}
	for _, r := range s.Ranges {
		m.Ranges = append(m.Ranges, &threatv1.ValueRange{Low: r.Low, High: r.High})
	}
	return m.MarshalVT()
}

// Unmarshal is the inverse of Marshal.
func Unmarshal(raw []byte) (Settings, error) {
	var m threatv1.HalfSpaceSettings
	if err := wire.Unmarshal(raw, &m, MaxSettings); err != nil {
		return Settings{}, fmt.Errorf("%w: %w", ErrSettings, err)
	}
	if m.Trees > MaxTrees || m.Depth > MaxDepth || m.Window > MaxWindow || m.SizeLimit > MaxWindow { // before they become int
		return Settings{}, fmt.Errorf("%w: at most %d trees, depth %d and window %d", ErrSettings, MaxTrees, MaxDepth, MaxWindow)
	}
	s := Settings{Trees: int(m.Trees), Depth: int(m.Depth), Window: int(m.Window), SizeLimit: int(m.SizeLimit), Seed: m.Seed}
	for _, r := range m.Ranges {
		s.Ranges = append(s.Ranges, Range{r.Low, r.High})
	}
	return s, s.Check()
}
