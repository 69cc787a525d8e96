package main

import (
	"github.com/chancery/chancery/modules/threat/detector"
	"github.com/chancery/chancery/modules/threat/features"
	chainv1 "github.com/chancery/chancery/proto/chancery/chain/v1"
)

// driverName is a driver's part and feature.
func driverName(d *chainv1.Driver) string {
	part, at := detector.PartName(int(d.Part)), int(d.Feature)-1
	switch {
	case at < 0:
	case (d.Part == detector.Boosted || d.Part == detector.Forest) && at < features.Count:
		return part + ": " + features.Table[at].Name
	case d.Part == detector.MIDAS && at < 3:
		return part + ": " + []string{"edge", "actor", "resource"}[at]
	case d.Part == detector.Rules:
		if rules := detector.DefaultRules().Rules; at < len(rules) {
			return part + ": " + rules[at].Name
		}
	case at < features.Schema.Features():
		return part + ": " + features.Schema.Feature(at).Name
	}
	return part
}
