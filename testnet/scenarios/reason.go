package scenarios

import (
	"github.com/chancery/chancery/modules/threat/detector"
	"github.com/chancery/chancery/modules/threat/features"
	chainv1 "github.com/chancery/chancery/proto/chancery/chain/v1"
)

// Reason is a driver's part and what of it drove, such as "boosted: fresh". Rules are
// named where a detector has the default ones, in their order.
func Reason(d *chainv1.Driver) string {
	part, at := detector.PartName(int(min(d.GetPart(), detector.Parts))), int(min(d.GetFeature(), 1<<16))-1
	subjects := [...]string{"edge", "actor", "resource"}
	switch {
	case part == "":
		return "unknown"
	case at < 0:
	case d.Part == detector.Boosted || d.Part == detector.Forest:
		if at < features.Count {
			return part + ": " + features.Table[at].Name
		}
	case d.Part == detector.MIDAS:
		if at < len(subjects) {
			return part + ": " + subjects[at]
		}
	case d.Part == detector.Rules:
		if rules := detector.DefaultRules().Rules; at < len(rules) {
			return part + ": " + rules[at].Name
		}
	case at < features.Schema.Features():
		return part + ": " + features.Schema.Feature(at).Name
	}
	return part
}
