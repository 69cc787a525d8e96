package access

import (
	"encoding/hex"
	"time"

	"github.com/cedar-policy/cedar-go/types"
	"github.com/cedar-policy/cedar-go/x/exp/schema/resolved"
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
	all := types.RecordMap{
		keyPurpose: types.String(in.request.Purpose),
		keyConsent: types.NewRecord(types.RecordMap{
			"status":  types.String(in.consent.Status),
			"id":      types.String(hex.EncodeToString(in.consent.Id)),
			"version": types.Long(in.consent.Version), // counts changes of one consent
		}),
		keyRisk:          types.Long(in.risk),
		keyNow:           types.NewDatetime(time.UnixMilli(in.time).UTC()),
		keyTime:          types.Long(in.time),
		keyHeight:        types.Long(in.height),
		keyBreakGlass:    types.Boolean(len(in.glass) > 0),
		keyPrincipalKind: types.String(in.principal.Kind),
		keyOrganisation:  types.String(in.principal.Organisation),
	}
	out := given.Map()
	if out == nil {
		out = types.RecordMap{}
	}
	for _, key := range systemKeys {
		name := types.String(key.name)
		if s != nil {
			a := s.resolved.Actions[action]
			if a.AppliesTo == nil {
				continue
			}
			if _, declared := a.AppliesTo.Context[name]; !declared {
				continue
			}
		}
		out[name] = all[name]
	}
	return types.NewRecord(out)
}
