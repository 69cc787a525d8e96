package provenance

import (
	"bytes"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/multiformats/go-multihash"

	pb "github.com/chancery/chancery/proto/chancery/provenance/v1"
)

const (
	maxHashes     = 4
	maxTypes      = 8
	maxAttributes = 16
	maxText       = 128
	commitment    = 32
	personID      = 26
	// maxMoment is the end of the year 9999 in Unix milliseconds.
	maxMoment = 253402300799999
)

// isMoment accepts Unix milliseconds from 1970 to 9999, 0 for an unknown time.
func isMoment(ms int64) bool { return ms >= 0 && ms <= maxMoment }

// provKeys are the attributes of PROV-DM section 5.7.2 that have no field of their
// own.
var provKeys = []string{provNamespace + "label", provNamespace + "location", provNamespace + "value"}

// hashSizes are the hash functions that content may be registered with, and the
// length of their digests in bytes.
var hashSizes = map[uint64]int{
	multihash.SHA2_256:         32,
	multihash.SHA2_512:         64,
	multihash.SHA3_256:         32,
	multihash.SHA3_384:         48,
	multihash.SHA3_512:         64,
	multihash.BLAKE3:           32,
	multihash.BLAKE2B_MIN + 31: 32,
	multihash.BLAKE2B_MIN + 63: 64,
}

// checkHash refuses what is not a multihash of a function in hashSizes, in the
// shortest encoding, and returns the function's code.
func checkHash(raw []byte) (uint64, error) {
	if len(raw) > 80 {
		return 0, ErrBadHash.With("%d bytes", len(raw))
	}
	d, err := multihash.Decode(raw)
	if err != nil {
		return 0, ErrBadHash.With("%x is not a multihash", raw)
	}
	if size, ok := hashSizes[d.Code]; !ok || size != d.Length {
		return 0, ErrBadHash.With("hash function %#x with %d bytes is not accepted", d.Code, d.Length)
	}
	again, err := multihash.Encode(d.Digest, d.Code)
	if err != nil || !bytes.Equal(raw, again) {
		return 0, ErrBadHash.With("%x is not in the shortest form", raw)
	}
	return d.Code, nil
}

func checkHashes(hashes [][]byte) error {
	if len(hashes) > maxHashes {
		return ErrBadHash.With("%d hashes", len(hashes))
	}
	var codes []uint64
	for _, h := range hashes {
		code, err := checkHash(h)
		if err != nil {
			return err
		}
		if slices.Contains(codes, code) {
			return ErrBadHash.With("function %#x is there twice", code)
		}
		codes = append(codes, code)
	}
	if len(hashes) > 0 && !slices.Contains(codes, multihash.SHA2_256) {
		return ErrBadHash.With("no SHA-256")
	}
	return nil
}

func checkTypes(types []string, most int) error {
	if len(types) > most {
		return ErrBadNode.With("%d types, at most %d", len(types), most)
	}
	for i, t := range types {
		if !isIRI(t) {
			return ErrBadIRI.With("type %d", i)
		}
		if slices.Contains(types[:i], t) {
			return ErrBadNode.With("type %s is there twice", t)
		}
	}
	return nil
}

func checkAttributes(attributes []*pb.Attribute, most int) error {
	if len(attributes) > most {
		return ErrBadAttribute.With("%d attributes, at most %d", len(attributes), most)
	}
	for i, a := range attributes {
		if !isIRI(a.GetKey()) {
			return ErrBadAttribute.With("the key of attribute %d is not an absolute IRI", i)
		}
		if strings.HasPrefix(a.Key, provNamespace) && !slices.Contains(provKeys, a.Key) {
			return ErrBadAttribute.With("%s; of PROV's own, only label, location and value are attributes", a.Key)
		}
		if !isValue(a.Type, a.Value) {
			return ErrBadAttribute.With("the value of %s is not of the form of %s", a.Key, a.Type)
		}
		for _, o := range attributes[:i] {
			if o.EqualVT(a) {
				return ErrBadAttribute.With("%s is there twice with the same value", a.Key)
			}
		}
	}
	return nil
}

// isValue tells whether a value has the lexical form of its type.
func isValue(t pb.ValueType, v string) bool {
	switch t {
	case pb.ValueType_VALUE_TYPE_TEXT:
		return isText(v)
	case pb.ValueType_VALUE_TYPE_BOOLEAN:
		return v == "true" || v == "false"
	case pb.ValueType_VALUE_TYPE_INTEGER:
		return isInteger(v)
	case pb.ValueType_VALUE_TYPE_DECIMAL:
		return isDecimal(v)
	case pb.ValueType_VALUE_TYPE_TIME:
		return isTime(v)
	case pb.ValueType_VALUE_TYPE_IRI:
		return isIRI(v)
	case pb.ValueType_VALUE_TYPE_HEX:
		return len(v) <= 128 && len(v)%2 == 0 && v != "" && only(v, &lowerHex)
	default:
		return false
	}
}

var (
	lowerHex  = tableOf(digits + "abcdef")
	digitOnly = tableOf(digits)
)

func isText(v string) bool {
	if v == "" || len(v) > maxText || !utf8.ValidString(v) {
		return false
	}
	for _, c := range v {
		switch {
		case c < 0x20, c >= 0x7F && c < 0xA0: // control characters
			return false
		case c >= 0x200B && c <= 0x200F, c >= 0x2028 && c <= 0x202E, c >= 0x2060 && c <= 0x206F, c == 0xFEFF: // invisible
			return false
		case c >= 0xE000 && c <= 0xF8FF, c >= 0xFFF0 && c <= 0xFFFF, c >= 0xE0000: // private, special
			return false
		}
	}
	return true
}

// isTime accepts RFC 3339 date-times with upper-case T and Z, without leap seconds.
func isTime(v string) bool {
	const form = "dddd-dd-ddTdd:dd:dd"
	if len(v) < len(form)+1 || len(v) > 40 || !fits(v[:len(form)], form) {
		return false
	}
	year, month, day := number(v[0:4]), number(v[5:7]), number(v[8:10])
	if month < 1 || month > 12 || day < 1 || day > daysIn(year, month) ||
		number(v[11:13]) > 23 || number(v[14:16]) > 59 || number(v[17:19]) > 59 {
		return false
	}
	zone := v[len(form):]
	if zone[0] == '.' {
		i := 1
		for i < len(zone) && zone[i] >= '0' && zone[i] <= '9' {
			i++
		}
		if i == 1 {
			return false
		}
		zone = zone[i:]
	}
	if zone == "Z" {
		return true
	}
	return (fits(zone, "+dd:dd") || fits(zone, "-dd:dd")) && number(zone[1:3]) <= 23 && number(zone[4:6]) <= 59
}

// fits tells whether v has the length of form, a digit where form has a d, and
// otherwise form's characters.
func fits(v, form string) bool {
	if len(v) != len(form) {
		return false
	}
	for i := 0; i < len(v); i++ {
		if form[i] == 'd' && (v[i] < '0' || v[i] > '9') || form[i] != 'd' && v[i] != form[i] {
			return false
		}
	}
	return true
}

func number(digits string) (n int) {
	for i := 0; i < len(digits); i++ {
		n = 10*n + int(digits[i]-'0')
	}
	return n
}

func daysIn(year, month int) int {
	switch {
	case month == 2 && year%4 == 0 && (year%100 != 0 || year%400 == 0):
		return 29
	case month == 2:
		return 28
	case month == 4 || month == 6 || month == 9 || month == 11:
		return 30
	default:
		return 31
	}
}

func isInteger(v string) bool {
	unsigned, negative := strings.CutPrefix(v, "-")
	if unsigned == "" || !only(unsigned, &digitOnly) || len(unsigned) > 19 {
		return false
	}
	if unsigned[0] == '0' {
		return v == "0"
	}
	bound := "9223372036854775807"
	if negative {
		bound = "9223372036854775808"
	}
	return len(unsigned) < len(bound) || unsigned <= bound
}

func isDecimal(v string) bool {
	if len(v) > 64 {
		return false
	}
	unsigned := strings.TrimPrefix(v, "-")
	whole, part, point := strings.Cut(unsigned, ".")
	return whole != "" && only(whole, &digitOnly) && (!point || part != "" && only(part, &digitOnly))
}

func checkEntity(e *pb.Entity) error {
	switch {
	case e == nil:
		return ErrBadNode.With("entity is missing")
	case !isMediaType(e.MediaType):
		return ErrBadNode.With("media_type is not a media type of at most 128 bytes")
	case !isMoment(e.GeneratedAt):
		return ErrBadNode.With("generated_at is no time")
	}
	if e.AttributedTo != nil {
		if err := checkRef("attributed_to", e.AttributedTo); err != nil {
			return err
		}
	}
	if err := checkHashes(e.Hashes); err != nil {
		return err
	}
	if err := checkTypes(e.Types, maxTypes); err != nil {
		return err
	}
	return checkAttributes(e.Attributes, maxAttributes)
}

func checkActivity(a *pb.Activity) error {
	switch {
	case a == nil:
		return ErrBadNode.With("activity is missing")
	case !isMoment(a.StartedAt) || !isMoment(a.EndedAt):
		return ErrBadNode.With("started_at or ended_at is no time")
	case a.EndedAt != 0 && a.EndedAt < a.StartedAt:
		return ErrEnded.With("ended_at is before started_at")
	case a.Outcome != pb.Outcome_OUTCOME_UNSPECIFIED && (a.EndedAt == 0 || !isOutcome(a.Outcome)):
		return ErrBadNode.With("outcome needs ended_at and a known value")
	}
	if err := checkTypes(a.Types, maxTypes); err != nil {
		return err
	}
	return checkAttributes(a.Attributes, maxAttributes)
}

func isOutcome(o pb.Outcome) bool {
	return o >= pb.Outcome_OUTCOME_COMPLETED && o <= pb.Outcome_OUTCOME_ABORTED
}

// checkAgent looks at an agent with the local id that it is to have.
func checkAgent(id string, a *pb.Agent) error {
	if a == nil {
		return ErrBadNode.With("agent is missing")
	}
	named := 0
	for _, given := range []bool{a.Did != "", a.Iri != "", len(a.Commitment) > 0} {
		if given {
			named++
		}
	}
	switch {
	case a.Kind < pb.AgentKind_AGENT_KIND_PERSON || a.Kind > pb.AgentKind_AGENT_KIND_OTHER:
		return ErrBadNode.With("agent.kind is missing or unknown")
	case named > 1:
		return ErrBadNode.With("an agent has at most one of did, iri and commitment")
	case a.Did != "" && (!strings.HasPrefix(a.Did, didRoot) || len(a.Did) > maxID):
		return ErrNoIdentity.With("did is no DID of this method")
	case a.Iri != "" && !isIRI(a.Iri):
		return ErrBadIRI.With("agent.iri")
	case len(a.Commitment) != 0 && len(a.Commitment) != commitment:
		return ErrBadNode.With("commitment has %d bytes, want %d", len(a.Commitment), commitment)
	case a.Kind == pb.AgentKind_AGENT_KIND_PERSON && (a.Did == "" && len(a.Commitment) == 0 || len(id) != personID || !only(id, &personChars)):
		return ErrPersonNamed
	}
	if err := checkTypes(a.Types, maxTypes); err != nil {
		return err
	}
	return checkAttributes(a.Attributes, maxAttributes)
}

// sortedTypes and sortedAttributes are copies in the order in which they are
// stored, so that the order in which they were given makes no difference.
func sortedTypes(types []string) []string {
	out := slices.Clone(types)
	slices.Sort(out)
	return out
}

func sortedAttributes(attributes []*pb.Attribute) []*pb.Attribute {
	out := make([]*pb.Attribute, len(attributes))
	for i, a := range attributes {
		out[i] = a.CloneVT()
	}
	slices.SortFunc(out, func(a, b *pb.Attribute) int {
		if c := strings.Compare(a.Key, b.Key); c != 0 {
			return c
		}
		if a.Type != b.Type {
			return int(a.Type) - int(b.Type)
		}
		return strings.Compare(a.Value, b.Value)
	})
	return out
}

func sortedHashes(hashes [][]byte) [][]byte {
	out := slices.Clone(hashes)
	slices.SortFunc(out, bytes.Compare)
	return out
}
