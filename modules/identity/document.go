package identity

import (
	"bytes"
	"encoding/json"
	"strconv"
	"time"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/state"
	"github.com/chancery/chancery/modules/identity/did"
	identityv1 "github.com/chancery/chancery/proto/chancery/identity/v1"
)

// documentType is the media type of documents (DID Core 1.0, section 6.3).
const documentType = "application/did+ld+json"

// document is a DID document (DID Core 1.0, section 5, with the verification method
// type Multikey of Controlled Identifiers 1.0, section 2.2.2).
type document struct {
	Context              []string             `json:"@context"`
	ID                   string               `json:"id"`
	Controller           []string             `json:"controller,omitempty"`
	VerificationMethod   []verificationMethod `json:"verificationMethod,omitempty"`
	Authentication       []string             `json:"authentication,omitempty"`
	AssertionMethod      []string             `json:"assertionMethod,omitempty"`
	KeyAgreement         []string             `json:"keyAgreement,omitempty"`
	CapabilityInvocation []string             `json:"capabilityInvocation,omitempty"`
	Service              []service            `json:"service,omitempty"`
}

type verificationMethod struct {
	ID                 string `json:"id"`
	Type               string `json:"type"`
	Controller         string `json:"controller"`
	Expires            string `json:"expires,omitempty"`
	PublicKeyMultibase string `json:"publicKeyMultibase"`
}

type service struct {
	ID              string `json:"id"`
	Type            string `json:"type"`
	ServiceEndpoint string `json:"serviceEndpoint"`
}

// buildDocument is the document of a version of a record with the keys that it
// lists, at a time. A deactivated DID has nothing but its id; a suspended one lists
// its keys for no use, because nothing that they sign may be relied on.
func buildDocument(id *identityv1.Identity, list []*identityv1.Key, at int64) ([]byte, error) {
	d := document{
		Context: []string{"https://www.w3.org/ns/did/v1", "https://w3id.org/security/multikey/v1"},
		ID:      id.Did,
	}
	if id.Status != identityv1.Status_STATUS_DEACTIVATED {
		d.Controller = id.Controllers
		for _, k := range list {
			d.add(keyAsOf(k, id.Version), id.Status == identityv1.Status_STATUS_ACTIVE, at)
		}
		for _, s := range id.Services {
			d.Service = append(d.Service, service{ID: did.URL(id.Did, s.Id), Type: s.Type, ServiceEndpoint: s.Endpoint})
		}
	}
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	if err := e.Encode(d); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(out.Bytes(), []byte("\n")), nil
}

// keyAsOf is a key as it was in a version of its DID, which may not know yet that it
// was rotated out or revoked.
func keyAsOf(k *identityv1.Key, version uint64) *identityv1.Key {
	k = k.CloneVT()
	if k.Rotated != nil && k.Rotated.Version > version {
		k.Rotated, k.RetiresAt, k.ReplacedBy = nil, 0, ""
	}
	if k.Revoked != nil && k.Revoked.Version > version {
		k.Revoked, k.Reason = nil, identityv1.Reason_REASON_UNSPECIFIED
	}
	return k
}

func (d *document) add(k *identityv1.Key, active bool, at int64) {
	if usable(k, at) != nil {
		return
	}
	url := did.URL(k.Did, k.Id)
	method := verificationMethod{ID: url, Type: "Multikey", Controller: k.Did, PublicKeyMultibase: Multikey(k.Type, k.Public)}
	if end := ends(k); end != 0 {
		method.Expires = xmlTime(end)
	}
	d.VerificationMethod = append(d.VerificationMethod, method)
	if !active {
		return
	}
	for _, p := range k.Purposes {
		switch p {
		case identityv1.Purpose_PURPOSE_AUTHENTICATION:
			d.Authentication = append(d.Authentication, url)
		case identityv1.Purpose_PURPOSE_ASSERTION:
			d.AssertionMethod = append(d.AssertionMethod, url)
		case identityv1.Purpose_PURPOSE_KEY_AGREEMENT:
			d.KeyAgreement = append(d.KeyAgreement, url)
		case identityv1.Purpose_PURPOSE_CAPABILITY_INVOCATION:
			d.CapabilityInvocation = append(d.CapabilityInvocation, url)
		case identityv1.Purpose_PURPOSE_RECOVERY:
			// DID Core has no such relationship; the key is listed as a method alone.
		}
	}
}

// xmlTime is an XML datetime in UTC without fractions of a second.
func xmlTime(ms int64) string { return time.UnixMilli(ms).UTC().Format("2006-01-02T15:04:05Z") }

// resolve is the document of a DID: at a version, at a time, or now.
func (m *Module) resolve(r chain.ReadCtx, name string, version uint64, at int64) (*identityv1.DocumentResponse, error) {
	latest, ok := m.s.identities.Lookup(r, name)
	if !ok {
		return nil, ErrUnknownDID.With("%s", name)
	}
	id, next, err := m.versionOf(r, latest, version, at)
	if err != nil {
		return nil, err
	}
	switch {
	case version != 0:
		at = id.Updated.At
	case at == 0:
		at = r.Time()
	}
	var list []*identityv1.Key
	for _, k := range id.Keys {
		list = append(list, m.key(r, id.Did, k))
	}
	raw, err := buildDocument(id, list, at)
	if err != nil {
		return nil, err
	}
	meta := &identityv1.DocumentMetadata{
		Created: xmlTime(id.Created.At), VersionId: strconv.FormatUint(id.Version, 10),
		Deactivated: id.Status == identityv1.Status_STATUS_DEACTIVATED,
		Suspended:   id.Status == identityv1.Status_STATUS_SUSPENDED,
	}
	if id.Version > 1 {
		meta.Updated = xmlTime(id.Updated.At)
	}
	if next != nil {
		meta.NextUpdate, meta.NextVersionId = xmlTime(next.Updated.At), strconv.FormatUint(next.Version, 10)
	}
	return &identityv1.DocumentResponse{Document: string(raw), ContentType: documentType, Metadata: meta}, nil
}

// versionOf is the version asked for, by number or by time, and the one after it,
// nil after the latest.
func (m *Module) versionOf(r chain.ReadCtx, latest *identityv1.Identity, version uint64, at int64) (id, next *identityv1.Identity, err error) {
	read := func(v uint64) *identityv1.Identity {
		if v == latest.Version {
			return latest
		}
		id, ok := m.s.history.Lookup(r, state.Join(latest.Did, v))
		if !ok {
			panic("identity: a version is missing of " + latest.Did)
		}
		return id
	}
	switch {
	case version == 0 && at == 0:
		return latest, nil, nil
	case version > latest.Version:
		return nil, nil, ErrNoVersion.With("%s has versions up to %d", latest.Did, latest.Version)
	case version == 0:
		if at < latest.Created.At || at > r.Time() {
			return nil, nil, ErrNoVersion.With("%s has versions from %d on, and now is %d", latest.Did, latest.Created.At, r.Time())
		}
		// The versions 1 to first are not after the time, those from beyond on are.
		first, beyond := uint64(1), latest.Version+1
		for beyond-first > 1 {
			if middle := first + (beyond-first)/2; read(middle).Updated.At <= at {
				first = middle
			} else {
				beyond = middle
			}
		}
		version = first
	}
	if version < latest.Version {
		next = read(version + 1)
	}
	return read(version), next, nil
}
