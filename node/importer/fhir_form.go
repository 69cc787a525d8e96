package importer

import (
	"maps"
	"strings"
)

// form is the form of an element in FHIR's JSON.
type form int

const (
	one     form = iota + 1 // an object
	several                 // an array of objects
	literal                 // a string
)

// consentForm and ruleForm are the elements of a Consent and of its rules in FHIR R4
// (section 6.2.1), without those that refuseModifiers refuses. Another release of
// FHIR has others, which may limit what is permitted.
var (
	elementForm = map[string]form{"id": literal, "extension": several}
	consentForm = joined(elementForm, map[string]form{
		"resourceType": literal, "meta": one, "language": literal, "text": one, "contained": several,
		"identifier": several, "status": literal, "scope": one, "category": several, "patient": one,
		"dateTime": literal, "performer": several, "organization": several, "sourceAttachment": one,
		"sourceReference": one, "policy": several, "policyRule": one, "verification": several, "provision": one,
	})
	ruleForm = joined(elementForm, map[string]form{
		"type": literal, "period": one, "actor": several, "action": several, "securityLabel": several,
		"purpose": several, "class": several, "code": several, "dataPeriod": one, "data": several, "provision": several,
	})
)

func joined(a, b map[string]form) map[string]form {
	out := maps.Clone(a)
	maps.Copy(out, b)
	return out
}

// refuseForms refuses a Consent with an element that FHIR R4 does not have, or has in
// another form: read as absent, a limit would be lost.
func refuseForms(r *value) error {
	if err := refuseOthers(r, consentForm); err != nil {
		return err
	}
	return refuseRules(r.at("provision"))
}

func refuseRules(p *value) error {
	if p == nil {
		return nil
	}
	if err := refuseOthers(p, ruleForm); err != nil {
		return err
	}
	if t := p.at("type"); t != nil && t.str() != Permit && t.str() != Deny {
		return refuse(t, "type must be permit or deny")
	}
	for _, q := range p.at("provision").list() {
		if err := refuseRules(q); err != nil {
			return err
		}
	}
	return nil
}

func refuseOthers(v *value, forms map[string]form) error {
	for _, name := range v.keys {
		e := v.fields[name]
		is, known := forms[name]
		if base, extensions := strings.CutPrefix(name, "_"); extensions {
			is, known = one, forms[base] == literal
		}
		switch {
		case !known:
			return refuse(e, "a Consent of FHIR R4 has no such element; another release of FHIR must be converted first")
		case is == one && !e.is(object):
			return refuse(e, "it must be an object")
		case is == literal && !e.is(text):
			return refuse(e, "it must be a string")
		case is == several && len(e.list()) == 0:
			return refuse(e, "it must be an array that is not empty")
		}
		for _, item := range e.list() {
			if !item.is(object) {
				return refuse(item, "it must be an object")
			}
		}
	}
	return nil
}
