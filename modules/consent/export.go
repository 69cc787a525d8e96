package consent

import (
	"bytes"
	"encoding/hex"
	"encoding/json"

	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/state"
	consentv1 "github.com/chancery/chancery/proto/chancery/consent/v1"
)

// exportFormat names the shape of exports. It changes whenever a field does.
const exportFormat = "chancery.consent.export/1"

// export is one page of all that the module holds of a subject.
type export struct {
	Format      string            `json:"format"`
	Subject     string            `json:"subject_commitment"`
	Height      int64             `json:"height"`
	Time        string            `json:"time"`
	Records     []json.RawMessage `json:"records"`     // every version, the latest of each record first
	Dossiers    []json.RawMessage `json:"dossiers"`    // as in the genesis state
	Delegations []json.RawMessage `json:"delegations"` // as recorded
	Complete    bool              `json:"complete"`    // whether this is the last page
}

// The parts of an export, in order. A page token is the part and the key within it
// that the next page starts after.
const (
	partRecords byte = 1 + iota
	partDossiers
	partDelegations
)

// export returns a page of about limit entries, each version of a record being
// one: a record is never split, and has at most maxVersions and one.
func (m *Module) export(r chain.ReadCtx, subject, token []byte, limit int) (raw, next []byte, err error) {
	x := export{
		Format: exportFormat, Subject: hex.EncodeToString(subject), Height: r.Height(), Time: stamp(r.Time()),
		Records: []json.RawMessage{}, Dossiers: []json.RawMessage{}, Delegations: []json.RawMessage{},
	}
	part, key := partRecords, []byte(nil)
	if len(token) > 0 {
		part, key = token[0], token[1:]
	}
	left := limit
	add := func(to *[]json.RawMessage, v proto.Message) error {
		j, err := chain.WriteGenesis(v)
		*to = append(*to, j)
		left--
		return err
	}
	switch part {
	case partRecords:
		if next, err = m.exportRecords(r, subject, key, &left, func(v proto.Message) error { return add(&x.Records, v) }); err != nil || next != nil {
			break
		}
		key = nil
		fallthrough
	case partDossiers:
		if len(key) > 0 {
			if k, rest, err := dossierCodec.Decode(key); err != nil || len(rest) > 0 || !bytes.Equal(k.A, subject) {
				return nil, nil, ErrPage
			}
		}
		for k, d := range m.dossiers.Walk(r, state.Under(state.Bytes, subject).After(key)) {
			if left <= 0 {
				next = append([]byte{partDossiers}, key...)
				break
			}
			key = dossierCodec.Encode(nil, k)
			if err = add(&x.Dossiers, &consentv1.DossierEntry{Subject: k.A, Controller: k.B, Dossier: d}); err != nil {
				break
			}
		}
		if err != nil || next != nil {
			break
		}
		key = nil
		fallthrough
	case partDelegations:
		if len(key) > 0 {
			if k, rest, err := delegationCodec.Decode(key); err != nil || len(rest) > 0 || !bytes.Equal(k.A, subject) {
				return nil, nil, ErrPage
			}
		}
		for k, d := range m.delegations.Walk(r, state.Under(state.Bytes, subject).After(key)) {
			if left <= 0 {
				next = append([]byte{partDelegations}, key...)
				break
			}
			key = delegationCodec.Encode(nil, k)
			if err = add(&x.Delegations, d); err != nil {
				break
			}
		}
	default:
		return nil, nil, ErrPage
	}
	if err != nil {
		return nil, nil, err
	}
	x.Complete = next == nil
	raw, err = encodeJSON(x)
	return raw, next, err
}

func (m *Module) exportRecords(r chain.ReadCtx, subject, key []byte, left *int, add func(proto.Message) error) (next []byte, err error) {
	for *left > 0 {
		ids, more, err := m.pageBySubject(r, subject, key, 1)
		if err != nil || len(ids) == 0 {
			return nil, err
		}
		if err := add(m.mustRecord(r, ids[0])); err != nil {
			return nil, err
		}
		for _, old := range m.history.Walk(r, state.Under(state.Bytes, ids[0]).Down()) {
			if err := add(old); err != nil {
				return nil, err
			}
		}
		if more == nil {
			return nil, nil
		}
		key = more
	}
	return append([]byte{partRecords}, key...), nil
}
