package features

import "github.com/chancery/chancery/modules/threat/trees"

// Unit is the unit of a feature's value.
type Unit uint8

// The units.
const (
	UnitCount    Unit = iota // a number of things
	UnitFlag                 // 1 or 0
	UnitIndex                // which of several; order says nothing
	UnitLevel                // which of several; larger is more
	UnitLogCount             // log2(1 + count), Q12
	UnitLogMs                // log2(1 + milliseconds), Q12
	UnitBits                 // bits, Q12: a surprise, or the logarithm of a ratio
)

var unitNames = [...]string{"count", "flag", "index", "level", "log2(1+count), Q12", "log2(1+ms), Q12", "bits, Q12"}

// String is the unit's name, at most 32 bytes.
func (u Unit) String() string {
	if int(u) < len(unitNames) {
		return unitNames[u]
	}
	return ""
}

// Feature is one value of the row.
type Feature struct {
	Name     string // permanent, as wire.Named has it
	Unit     Unit
	Meaning  string          // what it is, for a person
	Monotone trees.Direction // what a larger value may do to the margin of boosted trees
}

// The features, by their place in the row.
const (
	AuthorKindFeature = iota
	RolesFeature
	AdministratorFeature
	DepthFeature
	SignersFeature
	IdentityAgeFeature
	KeyAgeFeature
	ClassFeature
	MessagesFeature
	SizeFeature
	ItemsFeature
	ValidityFeature
	SensitivityMaxFeature
	SensitivitySumFeature
	SpecialFeature
	PrivilegeFeature
	EmergencyFeature
	DestructiveFeature
	OnBehalfFeature
	KeysFeature
	KeysOfOthersFeature
	IdentitiesFeature
	RoleChangesFeature
	ValidatorsFeature
	PoliciesFeature
	GuardRailsFeature
	DecisionsFeature
	BreakGlassFeature
	RecordedConsentsFeature
	InvalidationsFeature
	ParametersFeature
	ForeignFeature
	OthersFeature
	ResourcesFeature
	EdgePastFeature
	EdgeNowFeature
	ResourceNowFeature
	ActorCountFeature
	ActorMinuteFeature
	ActorHourFeature
	ActorDayFeature
	ActorMinuteHourFeature
	ActorHourDayFeature
	ActorGapFeature
	OrganisationMinuteFeature
	OrganisationHourFeature
	OrganisationMinuteHourFeature
	OrganisationHourDayFeature
	HourOfDayFeature
	WeekdayFeature
	OffHoursFeature
	FreshFeature
	SensitiveFeature
	OwnSurpriseFeature
	AnchorSurpriseFeature
	PeerSurpriseFeature
	EstrangementFeature
	DriftFeature
	FailedFeature
	HeldFeature
	OrganisationFailedFeature
	ActorInBlockFeature
	OrganisationInBlockFeature
	EdgeInBlockFeature
	RiskFeature
	OrganisationRiskFeature
	ResourcePastFeature
	FreshShareFeature
	KinLatelyFeature
	KinSurpriseFeature
	StrayFeature
	StraysHourFeature
	StraysDayFeature
	StraysWeekFeature
	StrayShareFeature
	FreshDayFeature
	ActorMomentFeature
	EvidencePastFeature
	BreadthFeature
	EmergencyMsFeature
	ResourceIdleFeature
	WanderFeature
	WanderShareFeature
	Count = int(iota)
)

// Table is the row.
var Table = [Count]Feature{
	AuthorKindFeature:             {Name: "author-kind", Unit: UnitIndex, Meaning: "kind of the author: 0 unknown, 1 consortium, 2 organisation, 3 person, 4 device, 5 service"},
	RolesFeature:                  {Name: "roles", Unit: UnitCount, Meaning: "roles that the author has"},
	AdministratorFeature:          {Name: "administrator", Unit: UnitFlag, Meaning: "the author administers its organisation"},
	DepthFeature:                  {Name: "depth", Unit: UnitIndex, Meaning: "by whose power it acts: 0 its own key, 1 administrators for an organisation, 2 members for the consortium"},
	SignersFeature:                {Name: "signers", Unit: UnitCount, Meaning: "signatures"},
	IdentityAgeFeature:            {Name: "identity-age", Unit: UnitLogMs, Meaning: "age of the author's identity", Monotone: trees.Decreasing},
	KeyAgeFeature:                 {Name: "key-age", Unit: UnitLogMs, Meaning: "age of the newest of the author's keys that may sign", Monotone: trees.Decreasing},
	ClassFeature:                  {Name: "class", Unit: UnitIndex, Meaning: "class of the message that stands for the transaction"},
	MessagesFeature:               {Name: "messages", Unit: UnitCount, Meaning: "messages"},
	SizeFeature:                   {Name: "size", Unit: UnitLogCount, Meaning: "bytes of the transaction"},
	ItemsFeature:                  {Name: "items", Unit: UnitLogCount, Meaning: "relations, nodes, entities, keys and categories in it"},
	ValidityFeature:               {Name: "validity", Unit: UnitLogMs, Meaning: "time until it would have been void"},
	SensitivityMaxFeature:         {Name: "sensitivity-max", Unit: UnitLevel, Meaning: "sensitivity of its most sensitive message, 0 to 4", Monotone: trees.Increasing},
	SensitivitySumFeature:         {Name: "sensitivity-sum", Unit: UnitCount, Meaning: "sum of its messages' sensitivities", Monotone: trees.Increasing},
	SpecialFeature:                {Name: "special", Unit: UnitCount, Meaning: "messages that name special categories of data", Monotone: trees.Increasing},
	PrivilegeFeature:              {Name: "privilege", Unit: UnitCount, Meaning: "messages that change who may do what", Monotone: trees.Increasing},
	EmergencyFeature:              {Name: "emergency", Unit: UnitCount, Meaning: "messages that claim an emergency"},
	DestructiveFeature:            {Name: "destructive", Unit: UnitCount, Meaning: "messages that end something or take a right away"},
	OnBehalfFeature:               {Name: "on-behalf", Unit: UnitCount, Meaning: "messages that state somebody else's will"},
	KeysFeature:                   {Name: "keys", Unit: UnitCount, Meaning: "messages about keys and recoveries"},
	KeysOfOthersFeature:           {Name: "keys-of-others", Unit: UnitCount, Meaning: "messages about keys of somebody other than the author", Monotone: trees.Increasing},
	IdentitiesFeature:             {Name: "identities", Unit: UnitCount, Meaning: "messages about organisations, members and administrators"},
	RoleChangesFeature:            {Name: "role-changes", Unit: UnitCount, Meaning: "messages about roles and groups"},
	ValidatorsFeature:             {Name: "validators", Unit: UnitCount, Meaning: "messages about validators and nodes"},
	PoliciesFeature:               {Name: "policies", Unit: UnitCount, Meaning: "messages about policies, schemas and settings"},
	GuardRailsFeature:             {Name: "guard-rails", Unit: UnitCount, Meaning: "messages that replace guard rails"},
	DecisionsFeature:              {Name: "decisions", Unit: UnitCount, Meaning: "decisions asked for"},
	BreakGlassFeature:             {Name: "break-glass", Unit: UnitCount, Meaning: "messages that open emergency access"},
	RecordedConsentsFeature:       {Name: "recorded-consents", Unit: UnitCount, Meaning: "consents that an organisation records for subjects"},
	InvalidationsFeature:          {Name: "invalidations", Unit: UnitCount, Meaning: "messages that invalidate provenance"},
	ParametersFeature:             {Name: "parameters", Unit: UnitCount, Meaning: "messages about parameters, playbooks and models"},
	ForeignFeature:                {Name: "foreign", Unit: UnitCount, Meaning: "messages about another organisation's resources"},
	OthersFeature:                 {Name: "others", Unit: UnitCount, Meaning: "messages about somebody other than the author"},
	ResourcesFeature:              {Name: "resources", Unit: UnitCount, Meaning: "changes of resource from one message to the next, and one"},
	EdgePastFeature:               {Name: "edge-past", Unit: UnitLogCount, Meaning: "times that the author used this resource before", Monotone: trees.Decreasing},
	EdgeNowFeature:                {Name: "edge-now", Unit: UnitLogCount, Meaning: "times that the author used this resource lately", Monotone: trees.Increasing},
	ResourceNowFeature:            {Name: "resource-now", Unit: UnitLogCount, Meaning: "times that anybody used this resource lately", Monotone: trees.Increasing},
	ActorCountFeature:             {Name: "actor-count", Unit: UnitLogCount, Meaning: "transactions of the author ever"},
	ActorMinuteFeature:            {Name: "actor-minute", Unit: UnitLogCount, Meaning: "transactions of the author in about the last minute", Monotone: trees.Increasing},
	ActorHourFeature:              {Name: "actor-hour", Unit: UnitLogCount, Meaning: "transactions of the author in about the last hour"},
	ActorDayFeature:               {Name: "actor-day", Unit: UnitLogCount, Meaning: "transactions of the author in about the last day"},
	ActorMinuteHourFeature:        {Name: "actor-minute-hour", Unit: UnitBits, Meaning: "the author's pace of the last minute over that of the last hour", Monotone: trees.Increasing},
	ActorHourDayFeature:           {Name: "actor-hour-day", Unit: UnitBits, Meaning: "the author's pace of the last hour over that of the last day", Monotone: trees.Increasing},
	ActorGapFeature:               {Name: "actor-gap", Unit: UnitLogMs, Meaning: "time since the author's last transaction"},
	OrganisationMinuteFeature:     {Name: "organisation-minute", Unit: UnitLogCount, Meaning: "transactions of the author's organisation in about the last minute"},
	OrganisationHourFeature:       {Name: "organisation-hour", Unit: UnitLogCount, Meaning: "transactions of the author's organisation in about the last hour"},
	OrganisationMinuteHourFeature: {Name: "organisation-minute-hour", Unit: UnitBits, Meaning: "the organisation's pace of the last minute over that of the last hour", Monotone: trees.Increasing},
	OrganisationHourDayFeature:    {Name: "organisation-hour-day", Unit: UnitBits, Meaning: "the organisation's pace of the last hour over that of the last day", Monotone: trees.Increasing},
	HourOfDayFeature:              {Name: "hour-of-day", Unit: UnitIndex, Meaning: "hour of the day, UTC"},
	WeekdayFeature:                {Name: "weekday", Unit: UnitIndex, Meaning: "day of the week, UTC, 0 for Monday"},
	OffHoursFeature:               {Name: "off-hours", Unit: UnitFlag, Meaning: "it is Saturday, Sunday, before 6 or after 20 o'clock, UTC"},
	FreshFeature:                  {Name: "fresh", Unit: UnitLogCount, Meaning: "resources that the author used for the first time in about the last hour", Monotone: trees.Increasing},
	SensitiveFeature:              {Name: "sensitive", Unit: UnitLogCount, Meaning: "sensitive transactions of the author in about the last hour", Monotone: trees.Increasing},
	OwnSurpriseFeature:            {Name: "own-surprise", Unit: UnitBits, Meaning: "how unlike the author's own habits of late it is", Monotone: trees.Increasing},
	AnchorSurpriseFeature:         {Name: "anchor-surprise", Unit: UnitBits, Meaning: "how unlike the author's approved habits it is", Monotone: trees.Increasing},
	PeerSurpriseFeature:           {Name: "peer-surprise", Unit: UnitBits, Meaning: "how unlike the habits of the author's peers it is", Monotone: trees.Increasing},
	EstrangementFeature:           {Name: "estrangement", Unit: UnitBits, Meaning: "how much more it surprises for the author than for its peers", Monotone: trees.Increasing},
	DriftFeature:                  {Name: "drift", Unit: UnitBits, Meaning: "how far the author's habits have moved from the approved ones", Monotone: trees.Increasing},
	FailedFeature:                 {Name: "failed", Unit: UnitLogCount, Meaning: "transactions of the author that failed or were denied in about the last hour", Monotone: trees.Increasing},
	HeldFeature:                   {Name: "held", Unit: UnitLogCount, Meaning: "transactions of the author that were held in about the last hour", Monotone: trees.Increasing},
	OrganisationFailedFeature:     {Name: "organisation-failed", Unit: UnitLogCount, Meaning: "transactions of the organisation that failed or were denied in about the last hour", Monotone: trees.Increasing},
	ActorInBlockFeature:           {Name: "actor-in-block", Unit: UnitCount, Meaning: "transactions of the author before it in the block", Monotone: trees.Increasing},
	OrganisationInBlockFeature:    {Name: "organisation-in-block", Unit: UnitCount, Meaning: "transactions of the author's organisation before it in the block"},
	EdgeInBlockFeature:            {Name: "edge-in-block", Unit: UnitCount, Meaning: "uses of the resource by the author before it in the block", Monotone: trees.Increasing},
	RiskFeature:                   {Name: "risk", Unit: UnitLevel, Meaning: "common risk of the author, 0 unknown to 4 severe", Monotone: trees.Increasing},
	OrganisationRiskFeature:       {Name: "organisation-risk", Unit: UnitLevel, Meaning: "common risk of the author's organisation, 0 unknown to 4 severe", Monotone: trees.Increasing},
	ResourcePastFeature:           {Name: "resource-past", Unit: UnitLogCount, Meaning: "times that anybody used this resource before", Monotone: trees.Decreasing},
	FreshShareFeature:             {Name: "fresh-share", Unit: UnitBits, Meaning: "share of the author's transactions of about the last hour that used a resource for the first time, as a logarithm", Monotone: trees.Increasing},
	KinLatelyFeature:              {Name: "kin-lately", Unit: UnitLogCount, Meaning: "times that the author used resources of the same kin (the first parent of the resource) in about ten days", Monotone: trees.Decreasing},
	KinSurpriseFeature:            {Name: "kin-surprise", Unit: UnitBits, Meaning: "how rare the kin of the resource is among those that the author used in about ten days", Monotone: trees.Increasing},
	StrayFeature:                  {Name: "stray", Unit: UnitFlag, Meaning: "the author uses the resource for the first time, and its kin for less than an eighth of its uses", Monotone: trees.Increasing},
	StraysHourFeature:             {Name: "strays-hour", Unit: UnitLogCount, Meaning: "strays of the author in about the last hour", Monotone: trees.Increasing},
	StraysDayFeature:              {Name: "strays-day", Unit: UnitLogCount, Meaning: "strays of the author in about the last day", Monotone: trees.Increasing},
	StraysWeekFeature:             {Name: "strays-week", Unit: UnitLogCount, Meaning: "strays of the author in about the last week"},
	StrayShareFeature:             {Name: "stray-share", Unit: UnitBits, Meaning: "share of the author's transactions of about the last day that strayed, as a logarithm", Monotone: trees.Increasing},
	FreshDayFeature:               {Name: "fresh-day", Unit: UnitLogCount, Meaning: "resources that the author used for the first time in about the last day"},
	ActorMomentFeature:            {Name: "actor-moment", Unit: UnitLogCount, Meaning: "transactions of the author in about the last ten seconds", Monotone: trees.Increasing},
	EvidencePastFeature:           {Name: "evidence-past", Unit: UnitLogCount, Meaning: "consents that the author recorded with the same evidence before, among the latest four of its evidence or in the transaction", Monotone: trees.Increasing},
	BreadthFeature:                {Name: "breadth", Unit: UnitLevel, Meaning: "what emergency access is opened to: 0 none, 1 a resource, 2 a type of resources, 3 everything", Monotone: trees.Increasing},
	EmergencyMsFeature:            {Name: "emergency-ms", Unit: UnitLogMs, Meaning: "how long emergency access is opened for, 0 where it is not", Monotone: trees.Increasing},
	ResourceIdleFeature:           {Name: "resource-idle", Unit: UnitLogMs, Meaning: "time since anybody used this resource", Monotone: trees.Increasing},
	WanderFeature:                 {Name: "wander", Unit: UnitLogCount, Meaning: "bits by which the kin surprised of resources that the author used for the first time in about the last day", Monotone: trees.Increasing},
	WanderShareFeature:            {Name: "wander-share", Unit: UnitBits, Meaning: "those bits for each transaction of the author in about the last day, as a logarithm", Monotone: trees.Increasing},
}

// Index is the place of the feature of a name.
func Index(name string) (int, bool) {
	for i := range Table {
		if Table[i].Name == name {
			return i, true
		}
	}
	return 0, false
}

// Names are the names of the row, in order.
func Names() []string {
	names := make([]string, Count)
	for i := range Table {
		names[i] = Table[i].Name
	}
	return names
}
