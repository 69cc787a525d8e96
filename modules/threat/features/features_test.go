package features

import (
	"bytes"
	"flag"
	"fmt"
	"math"
	"os"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"pgregory.net/rapid"

	"github.com/chancery/chancery/chain/tx"
	accessv1 "github.com/chancery/chancery/proto/chancery/access/v1"
	consentv1 "github.com/chancery/chancery/proto/chancery/consent/v1"
	identityv1 "github.com/chancery/chancery/proto/chancery/identity/v1"
	provenancev1 "github.com/chancery/chancery/proto/chancery/provenance/v1"
	txv1 "github.com/chancery/chancery/proto/chancery/tx/v1"

	"github.com/chancery/chancery/modules/threat/stream/fixed"
	"github.com/chancery/chancery/modules/threat/stream/profile"
	"github.com/chancery/chancery/modules/threat/stream/wire"
	"github.com/chancery/chancery/modules/threat/trees"
)

var rewrite = flag.Bool("rewrite", false, "rewrite docs/threat-features.md")

func message(t testing.TB, arm protoreflect.FieldDescriptor) proto.Message {
	mt, err := protoregistry.GlobalTypes.FindMessageByName(arm.Message().FullName())
	if err != nil {
		t.Fatal(err)
	}
	return mt.New().Interface()
}

func TestEveryArmIsDescribed(t *testing.T) {
	for _, arm := range tx.Arms() {
		f, ok := Describe(message(t, arm))
		if !ok {
			t.Errorf("%s (%d) is not described", arm.Message().FullName(), arm.Number())
			continue
		}
		if f.Kind != uint16(arm.Number()) {
			t.Errorf("%s has kind %d, not %d", arm.Message().FullName(), f.Kind, arm.Number())
		}
		if f.Class == ClassUnknown || int(f.Class) >= Classes || f.Sensitivity > MaxSensitivity || f.Items < 1 {
			t.Errorf("%s: %+v", arm.Message().FullName(), f)
		}
	}
	if _, ok := Describe(&txv1.Body{}); ok {
		t.Error("a body is described as a message")
	}
	if _, ok := Describe(nil); ok {
		t.Error("nothing is described as a message")
	}
}

// TestEveryArmNamesWhatItTouches: a message whose every field is set has a resource, but for those that are about the
// author itself and have no field.
func TestEveryArmNamesWhatItTouches(t *testing.T) {
	for _, arm := range tx.Arms() {
		m := message(t, arm)
		populate(m.ProtoReflect(), 6)
		if f, _ := Describe(m); f.Resource == "" || f.Number() == 0 {
			t.Errorf("%s names no resource", arm.Message().FullName())
		}
	}
}

// populate sets every field below m, of a oneof the first.
func populate(m protoreflect.Message, depth int) {
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		fd := fields.Get(i)
		if o := fd.ContainingOneof(); depth == 0 && fd.Message() != nil || o != nil && m.WhichOneof(o) != nil {
			continue
		}
		if fd.IsList() {
			list := m.Mutable(fd).List()
			if fd.Message() != nil {
				populate(list.AppendMutable().Message(), depth-1)
			} else {
				list.Append(example(fd))
			}
			continue
		}
		if fd.Message() != nil {
			populate(m.Mutable(fd).Message(), depth-1)
			continue
		}
		m.Set(fd, example(fd))
	}
}

func example(fd protoreflect.FieldDescriptor) protoreflect.Value {
	switch fd.Kind() {
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(true)
	case protoreflect.EnumKind:
		return protoreflect.ValueOfEnum(1)
	case protoreflect.Int32Kind, protoreflect.Sint32Kind:
		return protoreflect.ValueOfInt32(7)
	case protoreflect.Int64Kind, protoreflect.Sint64Kind:
		return protoreflect.ValueOfInt64(7)
	case protoreflect.Uint32Kind:
		return protoreflect.ValueOfUint32(7)
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		return protoreflect.ValueOfUint64(7)
	case protoreflect.StringKind:
		return protoreflect.ValueOfString("did:chancery:mercy")
	case protoreflect.BytesKind:
		return protoreflect.ValueOfBytes(bytes.Repeat([]byte{7}, 32))
	}
	panic(fd.Kind().String())
}

// scatter sets some fields below m to anything.
func scatter(t *rapid.T, m protoreflect.Message, depth int) {
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		fd := fields.Get(i)
		if depth == 0 && fd.Message() != nil || !rapid.Bool().Draw(t, "set") {
			continue
		}
		switch {
		case fd.IsList():
			list := m.Mutable(fd).List()
			for range rapid.IntRange(0, 3).Draw(t, "length") {
				if fd.Message() != nil {
					scatter(t, list.AppendMutable().Message(), depth-1)
				} else {
					list.Append(any1(t, fd))
				}
			}
		case fd.Message() != nil:
			scatter(t, m.Mutable(fd).Message(), depth-1)
		default:
			m.Set(fd, any1(t, fd))
		}
	}
}

func any1(t *rapid.T, fd protoreflect.FieldDescriptor) protoreflect.Value {
	switch fd.Kind() {
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(rapid.Bool().Draw(t, "bool"))
	case protoreflect.EnumKind:
		return protoreflect.ValueOfEnum(protoreflect.EnumNumber(rapid.Int32Range(-1, 20).Draw(t, "enum")))
	case protoreflect.Int32Kind, protoreflect.Sint32Kind:
		return protoreflect.ValueOfInt32(rapid.Int32().Draw(t, "int32"))
	case protoreflect.Int64Kind, protoreflect.Sint64Kind:
		return protoreflect.ValueOfInt64(rapid.Int64().Draw(t, "int64"))
	case protoreflect.Uint32Kind:
		return protoreflect.ValueOfUint32(rapid.Uint32().Draw(t, "uint32"))
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		return protoreflect.ValueOfUint64(rapid.Uint64().Draw(t, "uint64"))
	case protoreflect.StringKind:
		return protoreflect.ValueOfString(rapid.StringN(0, 20, -1).Draw(t, "string"))
	case protoreflect.BytesKind:
		return protoreflect.ValueOfBytes(rapid.SliceOfN(rapid.Byte(), 0, 40).Draw(t, "bytes"))
	}
	panic(fd.Kind().String())
}

func anyContext(t *rapid.T) Context {
	edge := []int64{math.MinInt64, math.MinInt64 + 1, -1, 0, 1, math.MaxInt64}
	i64 := func(name string) int64 {
		return rapid.OneOf(rapid.Int64(), rapid.SampledFrom(edge)).Draw(t, name)
	}
	u64 := func(name string) uint64 {
		return rapid.OneOf(rapid.Uint64(), rapid.SampledFrom([]uint64{0, 1, math.MaxUint64})).Draw(t, name)
	}
	history := func() History {
		return History{
			First: i64("first"), Last: i64("last"), Count: u64("count"), Minute: u64("minute"), Hour: u64("hour"), Day: u64("day"),
			Failed: u64("failed"), Held: u64("held"), Fresh: u64("fresh"), Sensitive: u64("sensitive"),
			Moment: u64("moment"), FreshDay: u64("fresh day"), StrayHour: u64("stray hour"), StrayDay: u64("stray day"), StrayWeek: u64("stray week"), Wander: u64("wander"), InBlock: rapid.Uint32().Draw(t, "in block"),
		}
	}
	use := func() Use { return Use{true, u64("past"), u64("now"), i64("idle")} }
	return Context{
		Now: i64("now"), ValidUntil: i64("valid until"), Size: rapid.Int().Draw(t, "size"), Signers: rapid.Int().Draw(t, "signers"),
		Author: "did:chancery:mercy:a", AuthorOrganisation: "did:chancery:mercy", Consortium: "did:chancery:consortium",
		Kind: AuthorKind(rapid.Uint8().Draw(t, "kind")), Roles: rapid.Int().Draw(t, "roles"), Depth: rapid.Int().Draw(t, "depth"),
		IdentityAge: i64("identity age"), KeyAge: i64("key age"), Actor: history(), Organisation: history(),
		Risk: rapid.Uint8().Draw(t, "risk"),
		Senses: Senses{
			Edge: use(), Resource: use(), Kin: use(), Kins: use(),
			OwnSurprise: i64("own"), AnchorSurprise: trees.Missing, PeerSurprise: trees.Missing, Estrangement: trees.Missing, Distance: trees.Missing,
		},
	}
}

// checkRow holds what a unit promises against every value.
func checkRow(t interface {
	Errorf(string, ...any)
}, row []int64) {
	for i, v := range row {
		if v == trees.Missing {
			continue
		}
		bad := false
		switch Table[i].Unit {
		case UnitFlag:
			bad = v != 0 && v != 1
		case UnitLogCount, UnitLogMs:
			bad = v < 0 || v > fixed.LogMax
		case UnitCount, UnitLevel:
			bad = v < 0
		}
		if bad {
			t.Errorf("%s is %d", Table[i].Name, v)
		}
	}
}

func checkEvent(t interface {
	Errorf(string, ...any)
}, e profile.Event) {
	for i, v := range e {
		if n := Schema.Feature(i).Values; int(v) >= max(n, 1) {
			t.Errorf("feature %d of the event is %d of %d", i, v, n)
		}
	}
}

func TestAnyMessageInAnyContext(t *testing.T) {
	arms := tx.Arms()
	rapid.Check(t, func(t *rapid.T) {
		var facts []Facts
		for range rapid.IntRange(0, 4).Draw(t, "messages") {
			arm := rapid.SampledFrom(arms).Draw(t, "arm")
			mt, err := protoregistry.GlobalTypes.FindMessageByName(arm.Message().FullName())
			if err != nil {
				t.Fatal(err)
			}
			m := mt.New()
			scatter(t, m, 4)
			f, ok := Describe(m.Interface())
			if !ok || f.Items < 1 || f.Sensitivity > MaxSensitivity {
				t.Fatalf("%+v %v", f, ok)
			}
			facts = append(facts, f)
		}
		c := anyContext(t)
		row, again := make([]int64, Count), make([]int64, Count+3)
		for i := range again {
			again[i] = -7
		}
		Fill(row, facts, &c)
		Fill(again, facts, &c)
		checkRow(t, row)
		checkEvent(t, Event(facts, &c))
		for i := range row {
			if row[i] != again[i] {
				t.Fatalf("%s depends on what the row held: %d, %d", Table[i].Name, row[i], again[i])
			}
		}
	})
}

func FuzzDescribe(f *testing.F) {
	for _, arm := range tx.Arms() {
		m := message(f, arm)
		populate(m.ProtoReflect(), 4)
		e, err := tx.Envelope(m)
		if err != nil {
			f.Fatal(err)
		}
		raw, err := (&txv1.Body{Messages: []*txv1.Message{e, e}}).MarshalVT()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		body := &txv1.Body{}
		if err := proto.Unmarshal(raw, body); err != nil {
			return
		}
		var facts []Facts
		for _, e := range body.Messages {
			m, err := tx.Arm(e)
			if err != nil {
				continue
			}
			fact, ok := Describe(m)
			if !ok {
				t.Fatalf("%s is not described", m.ProtoReflect().Descriptor().FullName())
			}
			facts = append(facts, fact)
		}
		c := NewContext()
		c.Now, c.Size = body.ValidUntil, len(raw)
		row := make([]int64, Count)
		Fill(row, facts, &c)
		checkRow(t, row)
		checkEvent(t, Event(facts, &c))
	})
}

func TestWhatMessagesSay(t *testing.T) {
	subject := bytes.Repeat([]byte{0xab}, 32)
	terms := &consentv1.Terms{Subject: subject, Controller: "did:chancery:mercy", Categories: []*consentv1.Category{{Iri: "https://w3id.org/dpv/pd#Allergy", Special: true}, {Iri: "x"}}}
	plain := &consentv1.Terms{Subject: subject, Controller: "did:chancery:mercy", Categories: []*consentv1.Category{{Iri: "https://w3id.org/dpv/pd#Email"}}}
	commitment := "subject:" + strings.Repeat("ab", 32)
	for name, c := range map[string]struct {
		m    proto.Message
		want Facts
	}{
		"own consent": {&consentv1.Give{Terms: plain}, Facts{Kind: 301, Class: ClassGive, Sensitivity: 1, Resource: commitment, Owner: "did:chancery:mercy", Items: 1}},
		"special consent on behalf": {
			&consentv1.Give{Terms: terms, Method: consentv1.Method_METHOD_WRITTEN, SubjectDid: "did:chancery:mercy:s"},
			Facts{Kind: 301, Class: ClassOnBehalf, Sensitivity: 4, Resource: commitment, Owner: "did:chancery:mercy", Subject: "did:chancery:mercy:s", Items: 2, OnBehalf: true, Special: true},
		},
		"answer": {&consentv1.Give{RequestId: []byte{1, 2}}, Facts{Kind: 301, Class: ClassGive, Sensitivity: 1, Resource: "consent:0102", Items: 1}},
		"read of health data": {
			&accessv1.Decide{Request: &accessv1.Request{
				Principal: "did:chancery:mercy:p", Organisation: "did:chancery:city", Resource: &accessv1.EntityUid{Type: "Hospital::PatientRecord", Id: "7"}, Purpose: "https://w3id.org/dpv#Care",
			}},
			Facts{Kind: 206, Class: ClassDecision, Sensitivity: 3, Resource: "entity:did:chancery:city Hospital::PatientRecord::7", Owner: "did:chancery:city", Subject: "did:chancery:mercy:p", Items: 1, Special: true},
		},
		"break-glass": {
			&accessv1.BreakGlass{Scope: &accessv1.Scope{Organisation: "did:chancery:city", Actions: []*accessv1.EntityUid{{}, {}}}},
			Facts{Kind: 208, Class: ClassBreakGlass, Sensitivity: 4, Resource: "glass:did:chancery:city ::", Owner: "did:chancery:city", Items: 2, Privilege: true, Emergency: true, Breadth: 3},
		},
		"break-glass of a type": {
			&accessv1.BreakGlass{Scope: &accessv1.Scope{Organisation: "did:chancery:city", ResourceType: "Doc"}, DurationMs: 9},
			Facts{Kind: 208, Class: ClassBreakGlass, Sensitivity: 4, Resource: "glass:did:chancery:city Doc::", Owner: "did:chancery:city", Items: 1, Privilege: true, Emergency: true, Breadth: 2, Span: 9},
		},
		"break-glass of a resource": {
			&accessv1.BreakGlass{Scope: &accessv1.Scope{Organisation: "did:chancery:city", ResourceType: "Doc", ResourceId: "7"}, DurationMs: -9},
			Facts{Kind: 208, Class: ClassBreakGlass, Sensitivity: 4, Resource: "glass:did:chancery:city Doc::7", Owner: "did:chancery:city", Items: 1, Privilege: true, Emergency: true, Breadth: 1, Span: -9},
		},
		"consent from a document": {
			&consentv1.Give{Terms: plain, Method: consentv1.Method_METHOD_WRITTEN, EvidenceHash: subject},
			Facts{Kind: 301, Class: ClassOnBehalf, Sensitivity: 2, Resource: commitment, Owner: "did:chancery:mercy", Items: 1, OnBehalf: true, Evidence: fixed.Name(append([]byte("evidence:"), subject...))},
		},
		"consent from an import": {
			&consentv1.Give{Terms: plain, Method: consentv1.Method_METHOD_IMPORTED, Source: &consentv1.Source{Hash: subject}},
			Facts{Kind: 301, Class: ClassOnBehalf, Sensitivity: 2, Resource: commitment, Owner: "did:chancery:mercy", Items: 1, OnBehalf: true, Evidence: fixed.Name(append([]byte("evidence:"), subject...))},
		},
		"consent that its subject signed": {
			&consentv1.Give{Terms: plain, Method: consentv1.Method_METHOD_SIGNED, EvidenceHash: subject},
			Facts{Kind: 301, Class: ClassGive, Sensitivity: 1, Resource: commitment, Owner: "did:chancery:mercy", Items: 1},
		},
		"guard rails removed": {&accessv1.SetGuardRails{}, Facts{Kind: 205, Class: ClassGuardRail, Sensitivity: 4, Resource: "guard-rails", Items: 1, Privilege: true, Destructive: true}},
		"entities":            {&accessv1.PutEntities{Organisation: "did:chancery:city", Entities: `[{"a":"}{","b":{"c":[{}]}},{}, {"x":"\"{"}]`}, Facts{Kind: 202, Class: ClassEntities, Sensitivity: 2, Resource: "entities:did:chancery:city", Owner: "did:chancery:city", Items: 3, Privilege: true}},
		"relations that invalidate": {
			&provenancev1.Relate{Relations: []*provenancev1.Relation{
				{Subject: &provenancev1.Ref{Id: "a"}, Object: &provenancev1.Ref{Organisation: "did:chancery:city", Id: "b"}},
				{Kind: provenancev1.RelationKind_RELATION_KIND_INVALIDATION},
			}},
			Facts{Kind: 406, Class: ClassInvalidate, Sensitivity: 2, Resource: "node:a", Owner: "did:chancery:city", Items: 2, Destructive: true},
		},
		"validator": {&identityv1.BindValidator{PublicKey: []byte{1}, Power: 5, Organisation: "did:chancery:city"}, Facts{Kind: 118, Class: ClassValidator, Sensitivity: 4, Resource: "validator:01", Owner: "did:chancery:city", Subject: "did:chancery:city", Items: 1, Privilege: true}},
	} {
		got, ok := Describe(c.m)
		if !ok || got != c.want {
			t.Errorf("%s: %+v\nwant %+v", name, got, c.want)
		}
	}
}

func TestRowByHand(t *testing.T) {
	const monday3 = 1_767_578_400_000 + 0 // 2026-01-05 02:00:00 UTC, a Monday
	c := NewContext()
	c.Now, c.ValidUntil, c.Size, c.Signers = monday3, monday3+1023, 1023, 2
	c.Author, c.AuthorOrganisation, c.Consortium = "did:chancery:mercy:a", "did:chancery:mercy", "did:chancery:consortium"
	c.Kind, c.Roles, c.Administrator, c.Depth = AuthorPerson, 3, true, 1
	c.IdentityAge, c.Risk, c.EdgeInBlock = 1<<20-1, 3, 4
	c.Actor = History{Last: monday3 - 4095, Count: 7, Minute: 3 << 16, Hour: 7 << 16, Day: 15 << 16, InBlock: 9}
	c.Edge, c.AnchorSurprise = Use{true, 31, 3 << 16, 0}, 777
	c.Resource = Use{true, 7, 0, 1<<16 - 1}
	c.Kin, c.Kins = Use{Known: true, Past: 9, Now: 7 << 16}, Use{Known: true, Past: 99, Now: 63 << 16}
	c.Actor.Evidence[2].Number, c.Actor.Evidence[2].Uses = 77, 2
	c.Actor.FreshDay, c.Actor.StrayHour, c.Actor.StrayDay, c.Actor.StrayWeek = 1<<16, 2<<16, 3<<16, 7<<16
	c.Actor.Wander = 31 << 16
	own, _ := Describe(&identityv1.AddKey{Did: "did:chancery:mercy:a"})
	other, _ := Describe(&identityv1.AddKey{Did: "did:chancery:mercy:b"})
	policy, _ := Describe(&accessv1.SetPolicies{Organisation: "did:chancery:city"})
	policy.Breadth, policy.Span = 2, 1<<20-1
	own.Evidence, other.Evidence, policy.Evidence = 77, 78, 77
	row := make([]int64, Count)
	Fill(row, []Facts{own, other, policy}, &c)
	const q = fixed.LogScale
	for at, want := range map[int]int64{
		AuthorKindFeature: 3, RolesFeature: 3, AdministratorFeature: 1, DepthFeature: 1, SignersFeature: 2,
		IdentityAgeFeature: 20 * q, KeyAgeFeature: trees.Missing, ClassFeature: int64(ClassPolicy), MessagesFeature: 3, SizeFeature: 10 * q,
		ItemsFeature: 2 * q, ValidityFeature: 10 * q, SensitivityMaxFeature: 4, SensitivitySumFeature: 2 + 4 + 3, PrivilegeFeature: 1,
		DestructiveFeature: 1, KeysFeature: 2, KeysOfOthersFeature: 1, PoliciesFeature: 1, ForeignFeature: 1, OthersFeature: 1, ResourcesFeature: 3,
		EdgePastFeature: 5 * q, EdgeNowFeature: 2 * q, ResourcePastFeature: 3 * q, ResourceNowFeature: 0, ResourceIdleFeature: 16 * q,
		KinLatelyFeature: 3 * q, KinSurpriseFeature: 3 * q, StrayFeature: 0, EvidencePastFeature: 2 * q, BreadthFeature: 2, EmergencyMsFeature: 20 * q, ActorCountFeature: 3 * q, ActorGapFeature: 12 * q,
		HourOfDayFeature: 2, WeekdayFeature: 0, OffHoursFeature: 1, OwnSurpriseFeature: trees.Missing, AnchorSurpriseFeature: 777,
		ActorInBlockFeature: 9, EdgeInBlockFeature: 4, RiskFeature: 3, OrganisationRiskFeature: 0, OrganisationHourFeature: 0,
	} {
		if row[at] != want {
			t.Errorf("%s is %d, want %d", Table[at].Name, row[at], want)
		}
	}
	// 4095 ms leave 2^-0.06825 of three in a minute and nearly all of seven in an hour.
	if v := row[ActorMinuteFeature]; v < 7983 || v > 7985 {
		t.Errorf("actor-minute is %d", v)
	}
	if v := row[ActorHourFeature]; v < 3*q-5 || v > 3*q {
		t.Errorf("actor-hour is %d", v)
	}
	// 4095 ms leave 2^-0.0000474 of the counts of a day, and less than that is gone of those of a week.
	for at, whole := range map[int]int64{FreshDayFeature: q, StraysDayFeature: 2 * q, StraysWeekFeature: 3 * q, WanderFeature: 5 * q} {
		if v := row[at]; v < whole-2 || v > whole {
			t.Errorf("%s is %d", Table[at].Name, v)
		}
	}
	if v := row[StraysHourFeature]; v < 6490-5 || v > 6492 { // log2(3)
		t.Errorf("strays-hour is %d", v)
	}
	if v := row[StrayShareFeature]; v < -2*q-2 || v > -2*q+2 { // four of sixteen
		t.Errorf("stray-share is %d", v)
	}
	if v := row[WanderShareFeature]; v < q-2 || v > q { // 32 of 16
		t.Errorf("wander-share is %d", v)
	}
	want := profile.Event{uint8(ClassPolicy), 2, 0, 4, 1, 3, 4, 2, 2, 1, 1, 2}
	if got := Event([]Facts{own, other, policy}, &c); got != want {
		t.Errorf("event %v, want %v", got, want)
	}
}

// Somebody strays who uses a resource for the first time, and its kin for less than an eighth of what it uses.
func TestStray(t *testing.T) {
	use := func(past, now uint64) Use { return Use{Known: true, Past: past, Now: now} }
	for name, c := range map[string]struct {
		edge, kin, kins Use
		want            bool
	}{
		"another ward than the usual":       {use(0, 0), use(1, One), use(40, 40*One), true},
		"the usual ward":                    {use(0, 0), use(30, 30*One), use(40, 40*One), false},
		"an eighth, with one more in each":  {use(0, 0), use(4, 4*One), use(39, 39*One), false},
		"a little less":                     {use(0, 0), use(4, 4*One), use(40, 40*One), true},
		"a ward of long ago":                {use(0, 0), use(500, One), use(900, 40*One), true},
		"a record that was used before":     {use(1, 0), use(1, One), use(40, 40*One), false},
		"no kin":                            {use(0, 0), Use{}, Use{}, false},
		"nobody knows whether it is fresh":  {Use{}, use(1, One), use(40, 40*One), false},
		"the first uses of a newcomer":      {use(0, 0), use(0, 0), use(7, 7*One), false},
		"what a newcomer does after eight":  {use(0, 0), use(0, 0), use(8, 8*One), true},
		"as many as there can be of either": {use(0, 0), use(0, math.MaxUint64), use(0, math.MaxUint64), false},
	} {
		s := NoSenses()
		s.Edge, s.Kin, s.Kins = c.edge, c.kin, c.kins
		if got := s.Stray(); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
	s := NoSenses()
	s.Edge, s.Kin, s.Kins = use(0, 0), use(0, One), use(0, 15*One)
	if got := s.Wander(); got != 3*fixed.LogScale {
		t.Errorf("one of fifteen, with one more in each, wanders by %d", got)
	}
	s.Kin, s.Kins = use(0, 15*One), use(0, One) // as cells that are shared may say
	if got := s.Wander(); got != 0 {
		t.Errorf("more of a kin than of all wanders by %d", got)
	}
}

func TestKinIsOfItsOrganisation(t *testing.T) {
	ward := &accessv1.EntityUid{Type: "Ward", Id: "3"}
	seen := map[uint64]bool{0: true}
	for _, n := range []uint64{Kin("a", ward), Kin("b", ward), Kin("a", &accessv1.EntityUid{Type: "Ward", Id: "4"}), Kin("a", &accessv1.EntityUid{Type: "War", Id: "d3"})} {
		if seen[n] {
			t.Errorf("two kins are %d", n)
		}
		seen[n] = true
	}
}

func TestSpecialNames(t *testing.T) {
	for name, want := range map[string]bool{
		"https://w3id.org/dpv#PersonalData": true, "https://w3id.org/dpv/pd#MentalHealth": true, "GENOMICS": true, "Hospital::Patient": true, "x" + strings.Repeat("y", 240) + "genetic": true,
		"": false, "https://w3id.org/dpv/pd#Email": false, "genet": false, "heal th": false, "https://w3id.org/dpv#ServiceProvision": false, strings.Repeat("y", 300) + "genetic": false,
	} {
		if special(name) != want {
			t.Errorf("%q is special: %v", name, !want)
		}
	}
}

func TestNothingIsAllocated(t *testing.T) {
	var facts []Facts
	for _, arm := range tx.Arms() {
		f, _ := Describe(message(t, arm))
		facts = append(facts, f)
	}
	c := NewContext()
	c.Now, c.Actor, c.Organisation = 1<<40, History{Count: 1, Last: 1, Hour: 5}, History{Count: 1, Last: 1, Hour: 5}
	row := make([]int64, Count)
	var e profile.Event
	if n := testing.AllocsPerRun(100, func() { Fill(row, facts, &c); e = Event(facts, &c) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	checkEvent(t, e)
}

func TestGapBuckets(t *testing.T) {
	c := NewContext()
	c.Now = 1 << 50
	last := uint8(0)
	for ms := int64(1); ms < 1<<50; ms *= 2 {
		c.Actor = History{Count: 1, Last: c.Now - ms}
		g := gap(&c)
		if g < last || int(g) >= eventTable[eventGap].Values {
			t.Fatalf("%d ms: %d after %d", ms, g, last)
		}
		last = g
	}
	if last != 17 {
		t.Errorf("the longest gap is %d", last)
	}
}

func TestTable(t *testing.T) {
	seen := map[string]bool{}
	for i, f := range Table {
		if !wire.Named(f.Name) || seen[f.Name] || f.Meaning == "" || len(f.Unit.String()) == 0 || len(f.Unit.String()) > 32 {
			t.Errorf("feature %d: %+v", i, f)
		}
		seen[f.Name] = true
		if at, ok := Index(f.Name); !ok || at != i {
			t.Errorf("%s is at %d", f.Name, at)
		}
	}
	if len(Names()) != Count {
		t.Error("names are missing")
	}
	if _, ok := Index("nothing"); ok {
		t.Error("what is not there has an index")
	}
	for c := range Classes {
		if Class(c).String() == "" || c > 0 && Class(c).String() == "unknown" {
			t.Errorf("class %d has no name", c)
		}
	}
}

const page = "../../../docs/threat-features.md"

// TestDocsAreInSync compares the page of features with the tables; -rewrite writes it.
func TestDocsAreInSync(t *testing.T) {
	var b bytes.Buffer
	b.WriteString(`# The sentinel: features

What the consensus scorer reads of a transaction, as package
[modules/threat/features](../modules/threat/features/doc.go) fills it in. Written by
` + "`go test ./modules/threat/features -run DocsAreInSync -rewrite`" + `; a test holds it in sync.

All values are whole numbers. Q12 is a number times 4096. A value that is not known is *missing*. The direction is what a
larger value may do to the margin of boosted trees; a detector whose trees do otherwise is refused.

## The row

Trees and rules read it, by name.

| | Feature | Unit | Direction | Meaning |
|---|---|---|---|---|
`)
	direction := map[trees.Direction]string{trees.Free: "", trees.Increasing: "only up", trees.Decreasing: "only down"}
	for i, f := range Table {
		fmt.Fprintf(&b, "| %d | %s | %s | %s | %s |\n", i, f.Name, f.Unit, direction[f.Monotone], f.Meaning)
	}
	b.WriteString(`
## The features of profiles

Profiles and half-space trees read them, as categories.

| Feature | Values |
|---|---|
`)
	for i := range Schema.Features() {
		fmt.Fprintf(&b, "| %s | %d |\n", Schema.Feature(i).Name, Schema.Feature(i).Values)
	}
	b.WriteString(`
## Classes of messages

| Number | Class | Messages |
|---|---|---|
`)
	kinds := map[Class][]string{}
	for _, arm := range tx.Arms() {
		f, _ := Describe(message(t, arm))
		kinds[f.Class] = append(kinds[f.Class], string(arm.Name()))
	}
	kinds[ClassOnBehalf] = []string{"consent_give, consent_refuse, consent_supersede and consent_rectify with a method other than signed"}
	for c := range Classes {
		if c > 0 {
			fmt.Fprintf(&b, "| %d | %s | %s |\n", c, Class(c), strings.Join(kinds[Class(c)], ", "))
		}
	}
	if *rewrite {
		if err := os.WriteFile(page, b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(page)
	if err != nil || !bytes.Equal(got, b.Bytes()) {
		t.Errorf("%s is not what the tables say (%v); run go test ./modules/threat/features -run DocsAreInSync -rewrite", page, err)
	}
}
