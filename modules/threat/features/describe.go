package features

import (
	"encoding/hex"
	"strconv"

	"google.golang.org/protobuf/proto"

	accessv1 "github.com/chancery/chancery/proto/chancery/access/v1"
	chainv1 "github.com/chancery/chancery/proto/chancery/chain/v1"
	consentv1 "github.com/chancery/chancery/proto/chancery/consent/v1"
	governancev1 "github.com/chancery/chancery/proto/chancery/governance/v1"
	identityv1 "github.com/chancery/chancery/proto/chancery/identity/v1"
	provenancev1 "github.com/chancery/chancery/proto/chancery/provenance/v1"
	threatv1 "github.com/chancery/chancery/proto/chancery/threat/v1"

	"github.com/chancery/chancery/modules/threat/stream/fixed"
)

// MaxSensitivity is the largest Facts.Sensitivity.
const MaxSensitivity = 4

// Facts is what a message says of itself.
type Facts struct {
	Kind        uint16 // the field number of its arm in chancery.tx.v1.Message
	Class       Class
	Sensitivity uint8  // 0: of no consequence to others, to 4: special categories on behalf, emergencies, power over others
	Resource    string // what it touches; empty: nothing that has a name, or the author itself
	Owner       string // DID of the organisation that the resource belongs to; empty: the author's own, or not said
	Subject     string // DID that it is about; empty: the author, or not said
	Items       int    // relations, entities, nodes, keys, categories in it; at least 1
	Privilege   bool   // changes who may do what
	Emergency   bool   // claims an emergency
	Destructive bool   // ends something that cannot be brought back, or takes a right away
	OnBehalf    bool   // states somebody else's will
	Evidence    uint64 // number of the evidence of a consent that is recorded on behalf; 0: none
	Breadth     uint8  // of emergency access: 0 none, 1 a resource, 2 a type of resources, 3 everything
	Span        int64  // milliseconds for which emergency access is opened
	Special     bool   // names special categories of data (GDPR Art. 9), or what reads like it
}

// Number is a number for the resource, 0 where there is none; see fixed.Name.
func (f *Facts) Number() uint64 {
	if f.Resource == "" {
		return 0
	}
	return fixed.Name([]byte(f.Resource))
}

// Lead is the index of the message that stands for a transaction as a whole: the most sensitive one that has a
// resource, else the most sensitive one, the first of equals. It is -1 where there are none.
func Lead(facts []Facts) int {
	lead := -1
	for i := range facts {
		if lead < 0 {
			lead = i
			continue
		}
		a, b := &facts[lead], &facts[i]
		if (b.Resource != "") != (a.Resource != "") {
			if b.Resource != "" {
				lead = i
			}
		} else if b.Sensitivity > a.Sensitivity {
			lead = i
		}
	}
	return lead
}

// Describe says what a message is. The second result is false for what is no arm of chancery.tx.v1.Message. It takes
// any content, valid or not.
func Describe(m proto.Message) (Facts, bool) {
	f, ok := Facts{}, false
	switch m := m.(type) {
	case *chainv1.SetParams:
		f, ok = Facts{Kind: 10, Class: ClassParameters, Sensitivity: 4, Resource: "params:chain", Privilege: true}, true
	case *chainv1.ScheduleUpgrade:
		f, ok = Facts{Kind: 11, Class: ClassParameters, Sensitivity: 4, Resource: "upgrade", Privilege: true}, true
	case *chainv1.CancelUpgrade:
		f, ok = Facts{Kind: 12, Class: ClassParameters, Sensitivity: 4, Resource: "upgrade", Privilege: true}, true
	case *chainv1.ReportReadiness:
		f, ok = Facts{Kind: 13, Class: ClassParameters, Sensitivity: 1, Resource: "upgrade"}, true
	default:
		for _, describe := range modules {
			if f, ok = describe(m); ok {
				break
			}
		}
	}
	f.Items = max(f.Items, 1)
	if f.Special {
		f.Sensitivity = max(f.Sensitivity, 3)
	}
	if f.Special && f.OnBehalf || f.Emergency {
		f.Sensitivity = MaxSensitivity
	}
	return f, ok
}

var modules = [...]func(proto.Message) (Facts, bool){identity, access, consent, provenance, threat, governance}

func identity(m proto.Message) (Facts, bool) {
	did := func(f Facts, did string) Facts {
		f.Resource, f.Subject = name("did:", did), did
		return f
	}
	switch m := m.(type) {
	case *identityv1.RegisterOrganisation:
		f := did(Facts{Kind: 100, Class: ClassIdentity, Sensitivity: 4, Privilege: true}, m.GetDid())
		f.Items = len(m.GetKeys()) + len(m.GetAdministrators())
		return f, true
	case *identityv1.RegisterIdentity:
		f := did(Facts{Kind: 101, Class: ClassIdentity, Sensitivity: 2}, m.GetIdentity().GetDid())
		f.Items = len(m.GetIdentity().GetKeys())
		return f, true
	case *identityv1.AddKey:
		return did(Facts{Kind: 102, Class: ClassKeys, Sensitivity: 2}, m.GetDid()), true
	case *identityv1.RotateKey:
		return did(Facts{Kind: 103, Class: ClassKeys, Sensitivity: 1}, m.GetDid()), true
	case *identityv1.RevokeKey:
		return did(Facts{Kind: 104, Class: ClassKeys, Sensitivity: 1, Destructive: true}, m.GetDid()), true
	case *identityv1.SetRecovery:
		return Facts{Kind: 105, Class: ClassKeys, Sensitivity: 2, Resource: "recovery", Privilege: true, Items: len(m.GetRule().GetGuardians())}, true
	case *identityv1.RequestRecovery:
		return Facts{Kind: 106, Class: ClassKeys, Sensitivity: 4, Resource: "recovery", Privilege: true, Items: len(m.GetKeys())}, true
	case *identityv1.CancelRecovery:
		return Facts{Kind: 107, Class: ClassKeys, Sensitivity: 1, Resource: "recovery"}, true
	case *identityv1.SetAdministrators:
		f := did(Facts{Kind: 108, Class: ClassIdentity, Sensitivity: 4, Privilege: true}, m.GetDid())
		f.Owner, f.Items = m.GetDid(), len(m.GetAdministrators())
		return f, true
	case *identityv1.SetServices:
		return Facts{Kind: 109, Class: ClassIdentity, Sensitivity: 1, Resource: "services", Items: len(m.GetServices())}, true
	case *identityv1.Suspend:
		return did(Facts{Kind: 110, Class: ClassIdentity, Sensitivity: 3, Destructive: true}, m.GetDid()), true
	case *identityv1.Reinstate:
		return did(Facts{Kind: 111, Class: ClassIdentity, Sensitivity: 3}, m.GetDid()), true
	case *identityv1.Deactivate:
		return did(Facts{Kind: 112, Class: ClassIdentity, Sensitivity: 4, Destructive: true}, m.GetDid()), true
	case *identityv1.AssignRole:
		return did(Facts{Kind: 113, Class: ClassRoles, Sensitivity: 3, Privilege: true}, m.GetDid()), true
	case *identityv1.RevokeRole:
		return did(Facts{Kind: 114, Class: ClassRoles, Sensitivity: 2, Destructive: true}, m.GetDid()), true
	case *identityv1.CreateGroup:
		return Facts{Kind: 115, Class: ClassRoles, Sensitivity: 1, Resource: name("group:", m.GetName())}, true
	case *identityv1.ChangeGroupMembers:
		return Facts{
			Kind: 116, Class: ClassRoles, Sensitivity: 2, Resource: name("group:", m.GetName()),
			Privilege: len(m.GetAdd()) > 0, Items: len(m.GetAdd()) + len(m.GetRemove()),
		}, true
	case *identityv1.DeleteGroup:
		return Facts{Kind: 117, Class: ClassRoles, Sensitivity: 2, Resource: name("group:", m.GetName()), Destructive: true}, true
	case *identityv1.BindValidator:
		return Facts{
			Kind: 118, Class: ClassValidator, Sensitivity: 4, Resource: name("validator:", hex.EncodeToString(m.GetPublicKey())),
			Owner: m.GetOrganisation(), Subject: m.GetOrganisation(), Privilege: true, Destructive: m.GetPower() == 0,
		}, true
	case *identityv1.BindNode:
		return Facts{Kind: 119, Class: ClassValidator, Sensitivity: 2, Resource: name("node:", m.GetNodeId())}, true
	case *identityv1.UnbindNode:
		return Facts{Kind: 120, Class: ClassValidator, Sensitivity: 2, Resource: name("node:", m.GetNodeId()), Destructive: true}, true
	case *identityv1.SetAuthorities:
		return Facts{Kind: 121, Class: ClassKeys, Sensitivity: 3, Resource: "authorities", Privilege: len(m.GetCertificates()) > 0, Items: len(m.GetCertificates())}, true
	case *identityv1.RevokeCertificate:
		return Facts{Kind: 122, Class: ClassKeys, Sensitivity: 1, Resource: "authorities", Destructive: true}, true
	}
	return Facts{}, false
}

func access(m proto.Message) (Facts, bool) {
	set := func(kind uint16, class Class, prefix, organisation string, items int) Facts {
		return Facts{Kind: kind, Class: class, Sensitivity: 3, Resource: name(prefix, organisation), Owner: organisation, Privilege: true, Items: items}
	}
	switch m := m.(type) {
	case *accessv1.SetPolicies:
		f := set(200, ClassPolicy, "policies:", m.GetOrganisation(), len(m.GetDocuments()))
		f.Destructive = len(m.GetDocuments()) == 0
		return f, true
	case *accessv1.SetSchema:
		f := set(201, ClassPolicy, "schema:", m.GetOrganisation(), 1)
		f.Destructive = m.GetSchema().GetText() == ""
		return f, true
	case *accessv1.PutEntities:
		f := set(202, ClassEntities, "entities:", m.GetOrganisation(), objects(m.GetEntities()))
		f.Sensitivity = 2
		return f, true
	case *accessv1.RemoveEntities:
		f := set(203, ClassEntities, "entities:", m.GetOrganisation(), len(m.GetEntities()))
		f.Sensitivity, f.Destructive = 2, true
		return f, true
	case *accessv1.SetSettings:
		return set(204, ClassPolicy, "settings:", m.GetOrganisation(), len(m.GetSettings().GetPurposes())), true
	case *accessv1.SetGuardRails:
		return Facts{
			Kind: 205, Class: ClassGuardRail, Sensitivity: 4, Resource: "guard-rails", Privilege: true,
			Items: len(m.GetDocuments()), Destructive: len(m.GetDocuments()) == 0,
		}, true
	case *accessv1.Decide:
		r := m.GetRequest()
		f := Facts{
			Kind: 206, Class: ClassDecision, Sensitivity: 1, Owner: r.GetOrganisation(), Subject: r.GetPrincipal(),
			Resource: entity(r.GetOrganisation(), r.GetResource()),
			Special:  special(r.GetPurpose()) || special(r.GetResource().GetType()),
		}
		if r.GetPurpose() != "" {
			f.Sensitivity = 2 // personal data has a purpose
		}
		return f, true
	case *accessv1.Revoke:
		return Facts{Kind: 207, Class: ClassReview, Sensitivity: 1, Resource: record("decision:", m.GetDecisionId()), Destructive: true}, true
	case *accessv1.BreakGlass:
		s := m.GetScope()
		f := Facts{
			Kind: 208, Class: ClassBreakGlass, Owner: s.GetOrganisation(), Emergency: true, Privilege: true, Items: len(s.GetActions()),
			Resource: "glass:" + s.GetOrganisation() + " " + s.GetResourceType() + "::" + s.GetResourceId(),
			Special:  special(s.GetResourceType()),
			Breadth:  3, Span: m.GetDurationMs(),
		}
		switch {
		case s.GetResourceId() != "":
			f.Breadth = 1
		case s.GetResourceType() != "":
			f.Breadth = 2
		}
		for _, purpose := range s.GetPurposes() {
			f.Special = f.Special || special(purpose)
		}
		return f, true
	case *accessv1.EndBreakGlass:
		return Facts{Kind: 209, Class: ClassReview, Resource: record("glass:", m.GetId())}, true
	case *accessv1.Review:
		return Facts{Kind: 210, Class: ClassReview, Sensitivity: 1, Resource: record("glass:", m.GetId())}, true
	}
	return Facts{}, false
}

func consent(m proto.Message) (Facts, bool) {
	// terms is a message about terms, or about a record where it has none.
	terms := func(kind uint16, t *consentv1.Terms, id []byte, method consentv1.Method) Facts {
		f := Facts{
			Kind: kind, Class: ClassGive, Sensitivity: 1, Owner: t.GetController(),
			Items: len(t.GetCategories()) + len(t.GetRecipients()),
		}
		if f.Resource = record("subject:", t.GetSubject()); f.Resource == "" {
			f.Resource = record("consent:", id)
		}
		for _, c := range t.GetCategories() {
			f.Special = f.Special || c.GetSpecial() || special(c.GetIri())
		}
		for _, p := range t.GetPurposes() {
			f.Special = f.Special || special(p)
		}
		if behalf(method) {
			f.Class, f.OnBehalf, f.Sensitivity = ClassOnBehalf, true, 2
		}
		return f
	}
	switch m := m.(type) {
	case *consentv1.Request:
		f := terms(300, m.GetTerms(), nil, 0)
		f.Subject = m.GetSubjectDid()
		return f, true
	case *consentv1.Give:
		f := terms(301, m.GetTerms(), m.GetRequestId(), m.GetMethod())
		f.Subject = m.GetSubjectDid()
		if f.OnBehalf {
			f.Evidence = evidence(m.GetEvidenceHash(), m.GetSource().GetHash())
		}
		return f, true
	case *consentv1.Refuse:
		f := terms(302, m.GetTerms(), m.GetRequestId(), m.GetMethod())
		f.Subject = m.GetSubjectDid()
		return f, true
	case *consentv1.Narrow:
		return Facts{
			Kind: 303, Class: ClassWithdraw, Resource: record("consent:", m.GetId()), Destructive: true,
			Items: len(m.GetRemovePurposes()) + len(m.GetRemoveCategories()) + len(m.GetRemoveRecipients()) + len(m.GetRemoveProcessing()) + len(m.GetAddExclusions()),
		}, true
	case *consentv1.Withdraw:
		return Facts{Kind: 304, Class: ClassWithdraw, Resource: record("consent:", m.GetId()), Destructive: true}, true
	case *consentv1.Expire:
		return Facts{Kind: 305, Class: ClassWithdraw, Resource: record("consent:", m.GetId())}, true
	case *consentv1.Supersede:
		f := terms(306, m.GetTerms(), m.GetId(), m.GetMethod())
		if f.OnBehalf {
			f.Evidence = evidence(m.GetEvidenceHash(), nil)
		}
		return f, true
	case *consentv1.Rectify:
		return terms(307, m.GetTerms(), m.GetId(), m.GetMethod()), true
	case *consentv1.Delegate:
		guardian := m.GetKind() == consentv1.DelegationKind_DELEGATION_KIND_GUARDIAN
		return Facts{
			Kind: 308, Class: ClassDelegation, Sensitivity: 3, Resource: record("subject:", m.GetSubject()), Owner: m.GetController(),
			Subject: m.GetDelegate(), Items: len(m.GetScopes()), Privilege: true, OnBehalf: guardian,
		}, true
	case *consentv1.RevokeDelegation:
		return Facts{
			Kind: 309, Class: ClassDelegation, Sensitivity: 1, Resource: record("subject:", m.GetSubject()), Owner: m.GetController(),
			Subject: m.GetDelegate(), Destructive: true,
		}, true
	case *consentv1.Restrict:
		return Facts{
			Kind: 310, Class: ClassRestriction, Resource: record("subject:", m.GetSubject()), Owner: m.GetController(),
			Items: len(m.GetPurposes()), OnBehalf: behalf(m.GetMethod()),
		}, true
	case *consentv1.LiftRestriction:
		return Facts{
			Kind: 311, Class: ClassRestriction, Sensitivity: 2, Resource: record("subject:", m.GetSubject()), Owner: m.GetController(),
			OnBehalf: len(m.GetEvidenceHash()) > 0,
		}, true
	}
	return Facts{}, false
}

// behalf tells whether a method is one by which a controller states a subject's will.
func behalf(m consentv1.Method) bool {
	return m != consentv1.Method_METHOD_UNSPECIFIED && m != consentv1.Method_METHOD_SIGNED
}

func provenance(m proto.Message) (Facts, bool) {
	node := func(kind uint16, prefix, id string, special bool) Facts {
		return Facts{Kind: kind, Class: ClassRegister, Resource: name(prefix, id), Special: special}
	}
	switch m := m.(type) {
	case *provenancev1.RegisterEntity:
		return node(400, "node:", m.GetId(), specials(m.GetEntity().GetTypes())), true
	case *provenancev1.RegisterActivity:
		return node(401, "node:", m.GetId(), specials(m.GetActivity().GetTypes())), true
	case *provenancev1.RegisterAgent:
		return node(402, "node:", m.GetId(), false), true
	case *provenancev1.ReviseEntity:
		return node(403, "node:", m.GetId(), specials(m.GetEntity().GetTypes())), true
	case *provenancev1.EndActivity:
		return node(404, "node:", m.GetId(), false), true
	case *provenancev1.InvalidateEntity:
		f := node(405, "node:", m.GetId(), false)
		f.Class, f.Sensitivity, f.Destructive = ClassInvalidate, 2, true
		return f, true
	case *provenancev1.Relate:
		f := Facts{Kind: 406, Class: ClassRelate}
		relations(&f, m.GetRelations())
		return f, true
	case *provenancev1.Record:
		f := Facts{Kind: 407, Class: ClassRegister}
		if nodes := m.GetNodes(); len(nodes) > 0 {
			f.Resource = name("node:", nodes[0].GetId())
		}
		for _, n := range m.GetNodes() {
			f.Special = f.Special || specials(n.GetEntity().GetTypes()) || specials(n.GetActivity().GetTypes())
		}
		relations(&f, m.GetRelations())
		f.Items += len(m.GetNodes())
		return f, true
	case *provenancev1.AnchorBatch:
		f := node(408, "node:", m.GetId(), specials(m.GetBatch().GetTypes()))
		f.Class = ClassAnchor
		return f, true
	}
	return Facts{}, false
}

// relations adds what relations touch: how many they are, the first object in another namespace, what they end.
func relations(f *Facts, all []*provenancev1.Relation) {
	f.Items += len(all)
	for i, r := range all {
		if i == 0 && f.Resource == "" {
			f.Resource = name("node:", r.GetSubject().GetId())
		}
		if o := r.GetObject().GetOrganisation(); f.Owner == "" && o != "" {
			f.Owner = o
		}
		if r.GetKind() == provenancev1.RelationKind_RELATION_KIND_INVALIDATION {
			f.Class, f.Destructive, f.Sensitivity = ClassInvalidate, true, max(f.Sensitivity, 2)
		}
	}
}

func threat(m proto.Message) (Facts, bool) {
	governed := func(kind uint16, class Class, resource string) Facts {
		return Facts{Kind: kind, Class: class, Sensitivity: 4, Resource: resource, Privilege: true}
	}
	switch m := m.(type) {
	case *threatv1.SetParams:
		f := governed(500, ClassParameters, "params:threat")
		f.Items = len(m.GetParams().GetFailClosed())
		return f, true
	case *threatv1.Release:
		return Facts{Kind: 501, Class: ClassHoldReview, Sensitivity: 2, Resource: record("hold:", m.GetTxId())}, true
	case *threatv1.Reject:
		return Facts{Kind: 502, Class: ClassHoldReview, Sensitivity: 1, Resource: record("hold:", m.GetTxId())}, true
	case *threatv1.Appeal:
		f := Facts{Kind: 503, Class: ClassAppeal, Resource: record("hold:", m.GetTxId())}
		if f.Resource == "" {
			f.Resource = record("response:", m.GetResponseId())
		}
		return f, true
	case *threatv1.Lift:
		return Facts{Kind: 504, Class: ClassHoldReview, Sensitivity: 2, Resource: record("response:", m.GetResponseId())}, true
	case *threatv1.RegisterModel:
		return governed(510, ClassModel, record("model:", m.GetHash())), true
	case *threatv1.AddModelChunk:
		return Facts{Kind: 511, Class: ClassModel, Resource: record("model:", m.GetHash())}, true
	case *threatv1.SetModelStage:
		f := governed(512, ClassModel, record("model:", m.GetHash()))
		f.Destructive = m.GetStage() == threatv1.Stage_STAGE_RETIRED
		return f, true
	case *threatv1.RollBack:
		return governed(513, ClassModel, "model"), true
	case *threatv1.SetPlaybook:
		f := governed(520, ClassParameters, name("playbook:", m.GetPlaybook().GetName()))
		f.Items = len(m.GetPlaybook().GetActions())
		return f, true
	case *threatv1.RemovePlaybook:
		f := governed(521, ClassParameters, name("playbook:", m.GetName()))
		f.Destructive = true
		return f, true
	case *threatv1.RebaseAnchors:
		f := governed(530, ClassParameters, "profiles")
		f.Items = len(m.GetActors())
		if f.Items > 0 {
			f.Resource, f.Subject = name("profile:", m.GetActors()[0]), m.GetActors()[0]
		}
		return f, true
	case *threatv1.ResetBreaker:
		return governed(531, ClassParameters, "breaker"), true
	}
	return Facts{}, false
}

func governance(m proto.Message) (Facts, bool) {
	proposal := func(id uint64) string {
		if id == 0 {
			return ""
		}
		return "proposal:" + strconv.FormatUint(id, 10)
	}
	switch m := m.(type) {
	case *governancev1.SetParams:
		return Facts{Kind: 600, Class: ClassParameters, Sensitivity: 4, Resource: "params:governance", Privilege: true, Items: len(m.GetParams().GetWeights())}, true
	case *governancev1.Propose:
		return Facts{
			Kind: 601, Class: ClassParameters, Sensitivity: 3, Resource: "proposals", Privilege: true, Items: len(m.GetMessages()),
			Emergency: m.GetEmergency(),
		}, true
	case *governancev1.Vote:
		return Facts{Kind: 602, Class: ClassParameters, Sensitivity: 2, Resource: proposal(m.GetProposalId())}, true
	case *governancev1.Cancel:
		return Facts{Kind: 603, Class: ClassParameters, Sensitivity: 2, Resource: proposal(m.GetProposalId()), Destructive: true}, true
	}
	return Facts{}, false
}

// name is a prefixed name, and empty for none.
func name(prefix, s string) string {
	if s == "" {
		return ""
	}
	return prefix + s
}

// record is the name of a record with an id.
func record(prefix string, id []byte) string {
	if len(id) == 0 {
		return ""
	}
	return prefix + hex.EncodeToString(id)
}

// entity is the name of a Cedar entity of an organisation.
func entity(organisation string, uid *accessv1.EntityUid) string {
	if uid.GetType() == "" && uid.GetId() == "" {
		return name("entities:", organisation)
	}
	return "entity:" + organisation + " " + uid.GetType() + "::" + uid.GetId()
}

// Kin is a number for the kin of a resource, an entity of an organisation; see fixed.Name.
func Kin(organisation string, uid *accessv1.EntityUid) uint64 {
	return fixed.Name([]byte("kin:" + organisation + " " + uid.GetType() + "::" + uid.GetId()))
}

// evidence is a number for what a recorded consent rests on: the hash of a document, or of the record that it was
// imported from; 0 for none.
func evidence(document, source []byte) uint64 {
	switch {
	case len(document) > 0:
		return fixed.Name(append([]byte("evidence:"), document...))
	case len(source) > 0:
		return fixed.Name(append([]byte("evidence:"), source...))
	}
	return 0
}

// objects counts the objects of a JSON array at its first level, without checking it.
func objects(json string) int {
	depth, n, text, escaped := 0, 0, false, false
	for _, c := range []byte(json) {
		switch {
		case escaped:
			escaped = false
		case text:
			escaped, text = c == '\\', c != '"'
		case c == '"':
			text = true
		case c == '[' || c == '{':
			if c == '{' && depth == 1 {
				n++
			}
			depth++
		case c == ']' || c == '}':
			depth--
		}
	}
	return n
}

// specialWords are parts of the IRIs and type names of special categories of data (GDPR Art. 9(1), 10), as DPV, FHIR
// and common schemas spell them.
var specialWords = [...]string{
	"biometric", "criminal", "disease", "ethnic", "genetic", "genom", "health", "medical", "mental", "patient",
	"philosophical", "political", "psychiatr", "racial", "religio", "sexual", "specialcategory", "tradeunion",
}

func specials(all []string) bool {
	for _, s := range all {
		if special(s) {
			return true
		}
	}
	return false
}

// specialName is how many bytes of a name are looked at; an IRI that is valid has fewer.
const specialName = 256

// special tells whether a name has one of specialWords in it, in whatever case of ASCII.
func special(s string) bool {
	if s == "https://w3id.org/dpv#PersonalData" {
		return true // stands for every category
	}
	s = s[:min(len(s), specialName)]
	for i := range len(s) {
		for _, w := range specialStarts[s[i]] {
			if len(s)-i >= len(w) && fold(s[i:i+len(w)], w) {
				return true
			}
		}
	}
	return false
}

// specialStarts are specialWords by their first letter, in both cases.
var specialStarts = func() (starts [256][]string) {
	for _, w := range specialWords {
		for _, c := range [...]byte{w[0], w[0] - ('a' - 'A')} {
			starts[c] = append(starts[c], w)
		}
	}
	return starts
}()

// fold tells whether s is the lower-case word w in another case.
func fold(s, w string) bool {
	for i := range len(w) {
		c := s[i]
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != w[i] {
			return false
		}
	}
	return true
}
