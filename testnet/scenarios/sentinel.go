package scenarios

import (
	"encoding/json"
	"slices"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/modules/threat"
	"github.com/chancery/chancery/modules/threat/detector"
	threatv1 "github.com/chancery/chancery/proto/chancery/threat/v1"
)

// Probe is a detector without trees that holds nothing: by it the chain finds the
// features of every transaction. The drivers of its verdicts have what MIDAS, half-space
// trees and rules say; what profiles say is among the features.
func Probe() ([]byte, error) {
	d := detector.Build("probe", nil)
	d.Thresholds = nil
	// Each part that speaks is among a verdict's drivers, which have what it says.
	d.Blend.Peak = 0
	d.Blend.Parts = slices.DeleteFunc(d.Blend.Parts, func(p *threatv1.BlendPart) bool {
		return p.Name != detector.PartName(detector.MIDAS) && p.Name != detector.PartName(detector.HalfSpace) && p.Name != detector.PartName(detector.Rules)
	})
	for _, p := range d.Blend.Parts {
		p.Weight, p.Lifts = 1000, false
		p.Knots = []*threatv1.Knot{{Value: 0, Points: 5000}, {Value: 1 << 40, Points: 10000}}
	}
	return detector.Encode(d)
}

// Sentinel is the genesis state of the sentinel, for RunOptions.Genesis, with a detector
// that decides from the first block on: with enforce it holds and denies, without it
// scores alone.
func Sentinel(raw []byte, enforce bool) (json.RawMessage, error) {
	hash := detector.Hash(raw)
	params := threat.DefaultParams()
	if params.Mode = threatv1.Mode_MODE_LOG; enforce {
		params.Mode = threatv1.Mode_MODE_ENFORCE
	}
	return chain.WriteGenesis(&threatv1.Genesis{
		Params:   params,
		Models:   []*threatv1.GenesisModel{{Bytes: raw}},
		Schedule: &threatv1.Schedule{Active: hash[:]},
	})
}
