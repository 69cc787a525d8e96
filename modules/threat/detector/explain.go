package detector

import (
	"strconv"
	"strings"

	"github.com/chancery/chancery/modules/threat/artifact"
	"github.com/chancery/chancery/modules/threat/features"
	"github.com/chancery/chancery/modules/threat/stream/fixed"
	"github.com/chancery/chancery/modules/threat/stream/midas"
	"github.com/chancery/chancery/modules/threat/trees"
	chainv1 "github.com/chancery/chancery/proto/chancery/chain/v1"
)

// Sentence says in plain words what a driver of this detector means. It takes any driver: of one that cannot be this
// detector's it says so.
func (d *Detector) Sentence(driver *chainv1.Driver) string {
	part, at := driver.GetPart(), int(min(driver.GetFeature(), 1<<16))-1
	var s string
	switch part {
	case Boosted:
		s = "it is like what was labelled as misuse when the trees were trained"
		if at >= 0 && at < features.Count {
			s += ", above all by: " + features.Table[at].Meaning
		}
	case Forest:
		s = "it is unlike what the forest was grown from"
		if at >= 0 && at < features.Count {
			s += ", above all by: " + features.Table[at].Meaning
		}
	case MIDAS:
		whose := "the author's use of this resource"
		switch midas.Subject(max(at, 0)) {
		case midas.SubjectActor:
			whose = "what the author does"
		case midas.SubjectResource:
			whose = "the use of this resource by all"
		}
		s = whose + " is far from its usual pace: chi-squared " + strconv.FormatUint(uint64(max(driver.GetValue(), 0))>>16, 10)
	case HalfSpace:
		s = "transactions like it are rare" + especially(at) + ": " + bits(driver.GetValue())
	case Own:
		s = "it is unlike what the author does or was approved to do" + especially(at) + ": " + bits(driver.GetValue())
	case Peers:
		s = "it is more like the author's peers than like the author" + especially(at) + ": " + bits(driver.GetValue())
	case Drift:
		s = "what the author does has moved from what it was approved to do" + especially(at) + ": " + bits(driver.GetValue())
	case Rules:
		if d.rules == nil || at < 0 || at >= d.rules.Len() {
			return "a rule that this detector does not have"
		}
		s = "rule " + d.rules.Name(at) + ": " + d.rules.Reason(at)
	default:
		return "a part that this detector does not have"
	}
	return s + " (" + strconv.FormatUint(uint64(driver.GetPoints()), 10) + " of 10000)"
}

// especially names the feature of profiles that stands out.
func especially(at int) string {
	if name := features.Schema.Feature(at).Name; name != "" {
		return ", especially its " + name
	}
	return ""
}

// bits is a Q12 number of bits, to a tenth, rounded towards zero.
func bits(v int64) string {
	tenths := v / fixed.LogScale * 10
	tenths += v % fixed.LogScale * 10 / fixed.LogScale
	sign := ""
	if tenths < 0 {
		sign, tenths = "-", -tenths
	}
	return sign + strconv.FormatInt(tenths/10, 10) + "." + strconv.FormatInt(tenths%10, 10) + " bits"
}

// Value says a feature's value in its unit: "7", "about 31", "about 12 min", "yes", "not known".
func Value(feature int, v int64) string {
	if feature < 0 || feature >= features.Count {
		return ""
	}
	if v == trees.Missing {
		return "not known"
	}
	switch features.Table[feature].Unit {
	case features.UnitFlag:
		if v == 0 {
			return "no"
		}
		return "yes"
	case features.UnitLogCount:
		return "about " + strconv.FormatUint(unlog(v), 10)
	case features.UnitLogMs:
		return "about " + duration(unlog(v))
	case features.UnitBits:
		return bits(v)
	case features.UnitIndex:
		if feature == features.ClassFeature {
			return features.Class(min(max(v, 0), int64(features.Classes))).String()
		}
	}
	return strconv.FormatInt(v, 10)
}

// unlog is the least x for which log2(1+x) is at least v, Q12, which may be a little less than what the logarithm was of.
func unlog(v int64) uint64 {
	low, high := uint64(0), uint64(1)<<63
	for low < high {
		if middle := low + (high-low)/2; fixed.Log2(middle+1) >= v {
			high = middle
		} else {
			low = middle + 1
		}
	}
	return low
}

// duration is milliseconds in the largest unit of which there are two or more, within the thousandth that a logarithm
// may hide.
func duration(ms uint64) string {
	for _, u := range [...]struct {
		ms   uint64
		name string
	}{{features.Day, "days"}, {features.Hour, "h"}, {features.Minute, "min"}, {1000, "s"}} {
		if ms+ms/1000 >= 2*u.ms {
			return strconv.FormatUint((ms+u.ms/2)/u.ms, 10) + " " + u.name
		}
	}
	return strconv.FormatUint(ms, 10) + " ms"
}

// Explain says in sentences why a row got its verdict: what drove the score, the rules that hold, and at most most
// features for each of the trees, the strongest first, with their values. The row is that of the Scratch.
func (d *Detector) Explain(row []int64, v *chainv1.Verdict, most int) ([]string, error) {
	if len(row) != features.Count {
		return nil, trees.ErrRow
	}
	var out []string
	drivers := v.GetDrivers()
	for _, driver := range drivers[:min(len(drivers), MaxDrivers)] {
		out = append(out, d.Sentence(driver))
	}
	if d.rules != nil {
		for i, held := 0, d.rules.Judge(row).Held; i < d.rules.Len(); i++ {
			if held&(1<<i) != 0 {
				out = append(out, "rule "+d.rules.Name(i)+" holds: "+d.rules.Reason(i)+d.cited(row, d.rules.Features(i)))
			}
		}
	}
	if d.model == nil {
		return out, nil
	}
	gathered := make([]int64, len(d.bound))
	for i, at := range d.bound {
		gathered[i] = row[at]
	}
	e, err := d.model.Explain(gathered)
	if err != nil {
		return nil, err
	}
	for part, contributions := range [...][]int64{Boosted: e.BoostedContributions, Forest: e.ForestContributions} {
		for _, r := range artifact.Reasons(contributions, most) {
			at := d.bound[r.Feature]
			out = append(out, partNames[part]+": "+features.Table[at].Meaning+": "+Value(at, row[at])+", which raised the margin by "+hundredths(r.Contribution))
		}
	}
	return out, nil
}

// cited are the values of the features that a rule tests.
func (d *Detector) cited(row []int64, of []int) string {
	var b strings.Builder
	for i, at := range of {
		b.WriteString([]string{" [", "; "}[min(i, 1)])
		b.WriteString(features.Table[at].Name + ": " + Value(at, row[at]))
	}
	if len(of) > 0 {
		b.WriteString("]")
	}
	return b.String()
}

// hundredths is a positive Q16 number to two decimals, rounded down.
func hundredths(v int64) string {
	n := uint64(v) >> 16 * 100
	n += (uint64(v) & 0xffff * 100) >> 16
	s := strconv.FormatUint(n%100, 10)
	return strconv.FormatUint(n/100, 10) + "." + strings.Repeat("0", 2-len(s)) + s
}
