package features

import (
	"math"

	"github.com/chancery/chancery/modules/threat/stream/fixed"
	"github.com/chancery/chancery/modules/threat/stream/profile"
	"github.com/chancery/chancery/modules/threat/trees"
)

// Fill writes the row of a transaction whose messages the facts are of, in order. row has Count values; Fill panics
// where it has fewer. It allocates nothing.
func Fill(row []int64, facts []Facts, c *Context) {
	row = row[:Count]
	clear(row)
	who(row, c)
	what(row, facts, c)
	when(row, c)
	often(row, c)
	known(row, c)
}

func who(row []int64, c *Context) {
	row[AuthorKindFeature] = int64(c.Kind)
	row[RolesFeature] = int64(max(c.Roles, 0))
	row[AdministratorFeature] = bit(c.Administrator)
	row[DepthFeature] = int64(c.Depth)
	row[SignersFeature] = int64(max(c.Signers, 0))
	row[IdentityAgeFeature] = logMs(c.IdentityAge)
	row[KeyAgeFeature] = logMs(c.KeyAge)
	row[RiskFeature] = int64(c.Risk)
	row[OrganisationRiskFeature] = int64(c.OrganisationRisk)
}

// counted are the classes that have a feature of their own: how many messages are of them.
var counted = [Classes]int{
	ClassKeys: KeysFeature, ClassIdentity: IdentitiesFeature, ClassRoles: RoleChangesFeature, ClassValidator: ValidatorsFeature,
	ClassPolicy: PoliciesFeature, ClassGuardRail: GuardRailsFeature, ClassDecision: DecisionsFeature,
	ClassBreakGlass: BreakGlassFeature, ClassOnBehalf: RecordedConsentsFeature, ClassInvalidate: InvalidationsFeature,
	ClassParameters: ParametersFeature, ClassModel: ParametersFeature,
}

func what(row []int64, facts []Facts, c *Context) {
	if lead := Lead(facts); lead >= 0 {
		row[ClassFeature] = int64(facts[lead].Class)
	}
	row[MessagesFeature] = int64(len(facts))
	row[SizeFeature] = logCount(c.Size)
	items := int64(0)
	for i := range facts {
		f := &facts[i]
		items = fixed.AddSigned(items, int64(max(f.Items, 1)))
		s := int64(c.Sensitivity(f))
		row[SensitivityMaxFeature] = max(row[SensitivityMaxFeature], s)
		row[SensitivitySumFeature] += s
		row[SpecialFeature] += bit(f.Special)
		row[PrivilegeFeature] += bit(f.Privilege)
		row[EmergencyFeature] += bit(f.Emergency)
		row[DestructiveFeature] += bit(f.Destructive)
		row[OnBehalfFeature] += bit(f.OnBehalf)
		row[KeysOfOthersFeature] += bit(c.keyOfOther(f))
		row[ForeignFeature] += bit(c.foreign(f))
		row[OthersFeature] += bit(c.other(f))
		row[BreadthFeature] = max(row[BreadthFeature], int64(f.Breadth))
		row[EmergencyMsFeature] = max(row[EmergencyMsFeature], logMs(max(f.Span, 0)))
		row[ResourcesFeature] += bit(i == 0 || f.Resource != facts[i-1].Resource)
		if int(f.Class) < Classes {
			// The feature at 0 is the kind of the author, which no class counts.
			if at := counted[f.Class]; at != 0 {
				row[at]++
			}
		}
	}
	row[ItemsFeature] = fixed.Log2(uint64(items) + 1)
	row[EvidencePastFeature] = evidencePast(facts, c)
	row[ValidityFeature] = trees.Missing
	if c.ValidUntil != 0 {
		row[ValidityFeature] = logMs(since(c.ValidUntil, c.Now))
	}
}

// evidencePast is the most that evidence of one of the messages was used before, by the author or in the transaction.
func evidencePast(facts []Facts, c *Context) int64 {
	most, any := uint64(0), false
	var own Evidence
	for i := range facts {
		if number := facts[i].Evidence; number != 0 {
			any = true
			most = max(most, uint64(c.Actor.Evidence.Uses(number))+uint64(own.Uses(number)))
			own.use(number)
		}
	}
	if !any {
		return trees.Missing
	}
	return fixed.Log2(most + 1)
}

func when(row []int64, c *Context) {
	hour, day := clock(c.Now)
	row[HourOfDayFeature] = int64(hour)
	row[WeekdayFeature] = int64(day)
	row[OffHoursFeature] = bit(day >= 5 || hour < 6 || hour >= 20)
	row[ActorGapFeature] = trees.Missing
	if c.Actor.Count > 0 {
		row[ActorGapFeature] = logMs(since(c.Now, c.Actor.Last))
	}
}

func often(row []int64, c *Context) {
	a := c.Actor.At(c.Now)
	row[ActorCountFeature] = fixed.Log2(fixed.Add(a.Count, 1))
	row[ActorMomentFeature] = logDecayed(a.Moment)
	row[ActorMinuteFeature] = logDecayed(a.Minute)
	row[ActorHourFeature] = logDecayed(a.Hour)
	row[ActorDayFeature] = logDecayed(a.Day)
	row[ActorMinuteHourFeature] = pace(a.Minute, 60, a.Hour)
	row[ActorHourDayFeature] = pace(a.Hour, 24, a.Day)
	row[FreshFeature] = logDecayed(a.Fresh)
	row[FreshShareFeature] = pace(a.Fresh, 1, a.Hour)
	row[FreshDayFeature] = logDecayed(a.FreshDay)
	row[StraysHourFeature] = logDecayed(a.StrayHour)
	row[StraysDayFeature] = logDecayed(a.StrayDay)
	row[StraysWeekFeature] = logDecayed(a.StrayWeek)
	row[StrayShareFeature] = pace(a.StrayDay, 1, a.Day)
	row[WanderFeature] = logDecayed(a.Wander)
	row[WanderShareFeature] = pace(a.Wander, 1, a.Day)
	row[SensitiveFeature] = logDecayed(a.Sensitive)
	row[FailedFeature] = logDecayed(a.Failed)
	row[HeldFeature] = logDecayed(a.Held)
	row[ActorInBlockFeature] = int64(a.InBlock)

	o := c.Organisation.At(c.Now)
	row[OrganisationMinuteFeature] = logDecayed(o.Minute)
	row[OrganisationHourFeature] = logDecayed(o.Hour)
	row[OrganisationMinuteHourFeature] = pace(o.Minute, 60, o.Hour)
	row[OrganisationHourDayFeature] = pace(o.Hour, 24, o.Day)
	row[OrganisationFailedFeature] = logDecayed(o.Failed)
	row[OrganisationInBlockFeature] = int64(o.InBlock)
	row[EdgeInBlockFeature] = int64(c.EdgeInBlock)
}

func known(row []int64, c *Context) {
	row[EdgePastFeature], row[EdgeNowFeature] = trees.Missing, trees.Missing
	row[ResourcePastFeature], row[ResourceNowFeature], row[ResourceIdleFeature] = trees.Missing, trees.Missing, trees.Missing
	if c.Edge.Known {
		row[EdgePastFeature] = fixed.Log2(fixed.Add(c.Edge.Past, 1))
		row[EdgeNowFeature] = logDecayed(c.Edge.Now)
	}
	if c.Resource.Known {
		row[ResourcePastFeature] = fixed.Log2(fixed.Add(c.Resource.Past, 1))
		row[ResourceNowFeature] = logDecayed(c.Resource.Now)
		if c.Resource.Past > 0 {
			row[ResourceIdleFeature] = logMs(c.Resource.Idle)
		}
	}
	row[KinLatelyFeature], row[KinSurpriseFeature] = trees.Missing, trees.Missing
	if c.Kin.Known {
		row[KinLatelyFeature] = logDecayed(c.Kin.Now)
		row[KinSurpriseFeature] = pace(c.Kins.Now, 1, c.Kin.Now)
	}
	row[StrayFeature] = bit(c.Stray())
	row[OwnSurpriseFeature] = c.OwnSurprise
	row[AnchorSurpriseFeature] = c.AnchorSurprise
	row[PeerSurpriseFeature] = c.PeerSurprise
	row[EstrangementFeature] = c.Estrangement
	row[DriftFeature] = c.Distance
}

// The features of profiles, by their place in an Event.
const (
	eventClass = iota
	eventHour
	eventWeekday
	eventSensitivity
	eventReach
	eventSize
	eventGap
	eventItems
	eventMessages
	eventDepth
	eventEdge
	eventNature
	eventFeatures
)

var eventTable = [eventFeatures]profile.Feature{
	eventClass:       {Name: "class", Values: Classes + 8}, // room for classes to come
	eventHour:        {Name: "hour", Values: 24},
	eventWeekday:     {Name: "weekday", Values: 7},
	eventSensitivity: {Name: "sensitivity", Values: MaxSensitivity + 1},
	eventReach:       {Name: "reach", Values: 3},    // own, another organisation's, the consortium's
	eventSize:        {Name: "size", Values: 12},    // doublings from 128 bytes
	eventGap:         {Name: "gap", Values: 18},     // none before, then doublings of a second, in twos from 64 s on
	eventItems:       {Name: "items", Values: 10},   // doublings
	eventMessages:    {Name: "messages", Values: 8}, // doublings
	eventDepth:       {Name: "depth", Values: 3},
	eventEdge:        {Name: "edge", Values: 3},   // not known, used before, never
	eventNature:      {Name: "nature", Values: 8}, // emergency 1, destructive 2, on behalf 4
}

// Schema is the features of profiles that Event gives.
var Schema = schema()

func schema() profile.Schema {
	s, err := profile.NewSchema(eventTable[:]...)
	if err != nil {
		panic(err) // the table is a constant
	}
	return s
}

// Event is what profiles and half-space trees see of a transaction. It needs of Senses the uses alone.
func Event(facts []Facts, c *Context) (e profile.Event) {
	var sensitivity uint8
	var emergency, destructive, behalf bool
	reach, items := uint8(0), uint64(0)
	for i := range facts {
		f := &facts[i]
		sensitivity = max(sensitivity, c.Sensitivity(f))
		emergency, destructive, behalf = emergency || f.Emergency, destructive || f.Destructive, behalf || f.OnBehalf
		items = fixed.Add(items, uint64(max(f.Items, 1)))
		if c.foreign(f) {
			if f.Owner == c.Consortium {
				reach = 2
			} else {
				reach = max(reach, 1)
			}
		}
	}
	if lead := Lead(facts); lead >= 0 {
		e[eventClass] = uint8(facts[lead].Class)
	}
	hour, day := clock(c.Now)
	e[eventHour], e[eventWeekday] = hour, day
	e[eventSensitivity], e[eventReach] = sensitivity, reach
	e[eventSize] = doublings(uint64(max(c.Size, 0))>>7, 11)
	e[eventGap] = gap(c)
	e[eventItems] = doublings(items, 9)
	e[eventMessages] = doublings(uint64(len(facts)), 7)
	e[eventDepth] = uint8(min(max(c.Depth, 0), 2))
	if c.Edge.Known {
		e[eventEdge] = 1
		if c.Edge.Past == 0 {
			e[eventEdge] = 2
		}
	}
	e[eventNature] = uint8(bit(emergency) | bit(destructive)<<1 | bit(behalf)<<2)
	return e
}

// gap is the bucket of the time since the author's last transaction: 0 for none, then below a second, below 2 s, … 64
// s, and from there in steps of four times as long.
func gap(c *Context) uint8 {
	if c.Actor.Count == 0 {
		return 0
	}
	n := doublings(uint64(max(since(c.Now, c.Actor.Last), 0))/1000, 63) // 0: below 1 s, n: from 2^(n-1) s
	if n > 6 {
		n = 6 + (n-6+1)/2
	}
	return min(1+n, 17)
}

// doublings is the number of bits of x, at most most.
func doublings(x uint64, most uint8) uint8 {
	n := uint8(0)
	for x > 0 && n < most {
		x >>= 1
		n++
	}
	return n
}

// clock is the hour and the day of the week, 0 for Monday, of a time in Unix ms, UTC.
func clock(ms int64) (hour, weekday uint8) {
	days := ms / Day
	if ms%Day < 0 {
		days--
	}
	hour = uint8((ms - days*Day) / Hour)
	weekday = uint8(((days+3)%7 + 7) % 7) // day 0 is a Thursday
	return hour, weekday
}

// since is a - b, or the nearest int64.
func since(a, b int64) int64 {
	if b == math.MinInt64 {
		return math.MaxInt64
	}
	return fixed.AddSigned(a, -b)
}

func bit(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

// logMs is log2(1 + ms), Q12, Missing for Missing and 0 for what is negative otherwise.
func logMs(ms int64) int64 {
	if ms == trees.Missing {
		return trees.Missing
	}
	return fixed.Log2(uint64(max(ms, 0)) + 1)
}

func logCount(n int) int64 { return fixed.Log2(uint64(max(n, 0)) + 1) }

// logDecayed is log2(1 + count), Q12, of a count in Q16.
func logDecayed(count uint64) int64 { return fixed.Log2(fixed.Add(count, One)) - 16*fixed.LogScale }

// pace is the logarithm, Q12, of a count of late over one of a time that is times as long: 0 where the rate is the
// same, both smoothed by one.
func pace(late, times, long uint64) int64 {
	return fixed.Log2(fixed.Add(fixed.Mul(late, times), One)) - fixed.Log2(fixed.Add(long, One))
}
