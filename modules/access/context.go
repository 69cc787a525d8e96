package access

import (
	"encoding/hex"
	"time"

	"github.com/cedar-policy/cedar-go/types"
	"github.com/cedar-policy/cedar-go/x/exp/schema/resolved"

	accessv1 "github.com/chancery/chancery/proto/chancery/access/v1"
)

// The attributes of the context that the module sets itself.
const (
	keyPurpose       = "purpose"
	keyConsent       = "consent"
	keyRisk          = "risk"
	keyNow           = "now"
	keyTime          = "time"
	keyHeight        = "height"
	keyBreakGlass    = "breakGlass"
	keyPrincipalKind = "principalKind"
	keyOrganisation  = "organisation"
)

type systemKey struct {
	name string
	typ  resolved.IsType
}

// systemKeys are those attributes with their Cedar types.
var systemKeys = []systemKey{
	{keyPurpose, resolved.StringType{}},
	{keyConsent, resolved.RecordType{
		"status":  {Type: resolved.StringType{}},
		"id":      {Type: resolved.StringType{}},
		"version": {Type: resolved.LongType{}},
	}},
	{keyRisk, resolved.LongType{}},
	{keyNow, resolved.ExtensionType("datetime")},
	{keyTime, resolved.LongType{}},
	{keyHeight, resolved.LongType{}},
	{keyBreakGlass, resolved.BoolType{}},
	{keyPrincipalKind, resolved.StringType{}},
	{keyOrganisation, resolved.StringType{}},
}

// parseContext reads the context attributes of a request.
func parseContext(text string) (types.Record, error) {
	if text == "" {
		return types.Record{}, nil
	}
	if len(text) > maxContextBytes {
		return types.Record{}, ErrTooLarge.With("the context has %d bytes, at most %d", len(text), maxContextBytes)
	}
	if err := scanJSON(text, 1); err != nil {
		return types.Record{}, in("context", err)
	}
	var r types.Record
	if err := r.UnmarshalJSON([]byte(text)); err != nil {
		return r, ErrEntities.With("context: %s", clip(err.Error()))
	}
	var refs []types.EntityUID
	if s := measure(r, &refs); s.str > maxStringBytes {
		return r, ErrTooLarge.With("the context holds a string of %d bytes, at most %d", s.str, maxStringBytes)
	}
	for _, uid := range refs {
		if err := checkUID(uid.Type, uid.ID); err != nil {
			return r, in("context", err)
		}
	}
	return r, nil
}

// refuseSystemKeys keeps a request from setting what the module sets.
func refuseSystemKeys(r types.Record) error {
	for _, key := range systemKeys {
		if _, ok := r.Get(types.String(key.name)); ok {
			return ErrReservedKey.With("context.%s", key.name)
		}
	}
	return nil
}

// fullContext is the context that policies see: what was given, and what the
// module knows. With a schema it has of the latter what the action declares.
func (in *inputs) fullContext(given types.Record, action types.EntityUID, s *cedarSchema) types.Record {
	out := given.Map()
	if out == nil {
		out = make(types.RecordMap, len(systemKeys))
	}
	declared := func(types.String) bool { return true }
	if s != nil {
		appliesTo := s.resolved.Actions[action].AppliesTo
		declared = func(name types.String) bool {
			if appliesTo == nil {
				return false
			}
			_, ok := appliesTo.Context[name]
			return ok
		}
	}
	set := func(name types.String, value types.Value) {
		if declared(name) {
			out[name] = value
		}
	}
	set(keyPurpose, types.String(in.request.Purpose))
	set(keyConsent, consentRecord(in.consent))
	set(keyRisk, types.Long(in.risk))
	set(keyNow, types.NewDatetime(time.UnixMilli(in.time).UTC()))
	set(keyTime, types.Long(in.time))
	set(keyHeight, types.Long(in.height))
	set(keyBreakGlass, types.Boolean(len(in.glass) > 0))
	set(keyPrincipalKind, types.String(in.principal.Kind))
	set(keyOrganisation, types.String(in.principal.Organisation))
	return types.NewRecord(out)
}

// framed is a context with what of it the work depends on. It is shared and never changed.
type framed struct {
	record types.Record
	size   size
	refs   []types.EntityUID
}

func newFramed(r types.Record) *framed {
	f := &framed{record: r}
	f.size = measure(r, &f.refs)
	return f
}

var withoutConsent = newConsentRecord(consentNotRequired, nil, 0)

func consentRecord(f *accessv1.ConsentFinding) types.Record {
	if f.Status == consentNotRequired {
		return withoutConsent
	}
	return newConsentRecord(f.Status, f.Id, f.Version)
}

// newConsentRecord is what policies see of a consent. version counts the changes of
// one consent.
func newConsentRecord(status string, id []byte, version uint64) types.Record {
	return types.NewRecord(types.RecordMap{
		"status":  types.String(status),
		"id":      types.String(hex.EncodeToString(id)),
		"version": types.Long(version),
	})
}
