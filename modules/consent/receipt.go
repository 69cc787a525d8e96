package consent

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/state"
	consentv1 "github.com/chancery/chancery/proto/chancery/consent/v1"
)

// receiptSchema names the shape of receipts. The part after the slash changes
// whenever a field does.
const receiptSchema = "ISO/IEC TS 27560:2023 chancery/1"

// The JSON of a receipt. Field names are those of ISO/IEC TS 27560:2023 as public
// descriptions give them (header, PII processing, party identification, events);
// what the standard has no name for is in the member "chancery". Order is the
// order of the fields here.
type (
	receipt struct {
		SchemaVersion       string         `json:"schema_version"`
		ReceiptID           string         `json:"receipt_id"`
		RecordID            string         `json:"record_id"`
		PIIPrincipalID      string         `json:"pii_principal_id"`
		PIIProcessing       processing     `json:"pii_processing"`
		PartyIdentification []party        `json:"party_identification"`
		Events              []event        `json:"events"`
		Chancery            receiptDetails `json:"chancery"`
	}
	processing struct {
		PrivacyNotice notice    `json:"privacy_notice"`
		Language      string    `json:"language"`
		Purposes      []purpose `json:"purposes"`
	}
	notice struct {
		Version string `json:"version"`
		SHA256  string `json:"sha256"`
		URL     string `json:"url,omitempty"`
	}
	purpose struct {
		Purpose               string    `json:"purpose"`
		LawfulBasis           string    `json:"lawful_basis"`
		PIIInformation        []pii     `json:"pii_information"`
		PIIControllers        []string  `json:"pii_controllers"`
		ProcessingMethod      []string  `json:"processing_method"`
		RetentionPeriod       retention `json:"retention_period"`
		RecipientThirdParties []string  `json:"recipient_third_parties"`
		WithdrawalMethod      string    `json:"withdrawal_method"`
		Jurisdiction          string    `json:"jurisdiction"`
	}
	pii struct {
		PIIType            string `json:"pii_type"`
		SpecialPIICategory bool   `json:"special_pii_category"`
	}
	retention struct {
		From  string `json:"from"`
		Until string `json:"until"`
	}
	party struct {
		PartyID   string `json:"party_id"`
		PartyRole string `json:"party_role"`
	}
	event struct {
		EventTime        string `json:"event_time"`
		ValidityDuration string `json:"validity_duration"`
		EntityID         string `json:"entity_id"`
		EventType        string `json:"event_type"`
		EventState       string `json:"event_state"`
		Version          uint64 `json:"version"`
	}
	receiptDetails struct {
		Version          uint64      `json:"version"`
		Status           string      `json:"status"`
		Subject          string      `json:"subject_commitment"`
		SpecialCondition string      `json:"special_condition,omitempty"`
		Method           string      `json:"method,omitempty"`
		EvidenceSHA256   string      `json:"evidence_sha256,omitempty"`
		GivenAt          string      `json:"given_at,omitempty"`
		RecordedAt       string      `json:"recorded_at,omitempty"`
		Exclusions       []exclusion `json:"exclusions"`
		SourceFormat     string      `json:"source_format,omitempty"`
		SourceSHA256     string      `json:"source_sha256,omitempty"`
		Supersedes       string      `json:"supersedes,omitempty"`
		SupersededBy     string      `json:"superseded_by,omitempty"`
	}
	exclusion struct {
		Categories []string `json:"categories"`
		Recipients []string `json:"recipients"`
		Purposes   []string `json:"purposes"`
		Processing []string `json:"processing"`
		From       string   `json:"from,omitempty"`
		Until      string   `json:"until,omitempty"`
	}
)

// untilWithdrawn is the end of a consent that has no other.
const untilWithdrawn = "until withdrawn"

// Receipt is a version of a record, 0 for the latest, as a receipt: JSON, indented
// by two spaces, ended by a line feed. It does point lookups only. The status of
// the latest version is that at the time of r.
func (m *Module) Receipt(r chain.ReadCtx, id []byte, version uint64) ([]byte, error) {
	rec, err := m.version(r, id, version)
	if err != nil {
		return nil, err
	}
	status := rec.Status
	if latest := m.mustRecord(r, id); latest.Version == rec.Version {
		status = effective(rec, r.Time())
	}
	var events []event
	for v := uint64(1); v < rec.Version; v++ {
		old, ok := m.history.Lookup(r, state.Join(id, v))
		if !ok {
			return nil, ErrNotFound.With("%x version %d", id, v)
		}
		events = append(events, eventOf(old))
	}
	return encodeJSON(receiptOf(rec, status, append(events, eventOf(rec))))
}

func receiptOf(rec *consentv1.Record, status consentv1.Status, events []event) receipt {
	t := rec.Terms
	x := receipt{
		SchemaVersion:  receiptSchema,
		ReceiptID:      hex.EncodeToString(rec.Id) + "-" + strconv.FormatUint(rec.Version, 10),
		RecordID:       hex.EncodeToString(rec.Id),
		PIIPrincipalID: principal(rec),
		PIIProcessing: processing{
			PrivacyNotice: notice{Version: t.Notice.Version, SHA256: hex.EncodeToString(t.Notice.Hash), URL: t.Notice.Url},
			Language:      t.Notice.Language,
		},
		PartyIdentification: []party{{t.Controller, "PII controller"}},
		Events:              events,
		Chancery:            detailsOf(rec, status),
	}
	var categories []pii
	for _, c := range t.Categories {
		categories = append(categories, pii{c.Iri, c.Special})
	}
	for _, p := range t.Purposes {
		x.PIIProcessing.Purposes = append(x.PIIProcessing.Purposes, purpose{
			Purpose: p, LawfulBasis: article6(t.LegalBasis), PIIInformation: categories, PIIControllers: []string{t.Controller},
			ProcessingMethod: list(t.Processing),
			RetentionPeriod:  retention{validFrom(rec), validUntil(t)}, RecipientThirdParties: list(t.Recipients),
			WithdrawalMethod: "chancery tx consent withdraw", Jurisdiction: t.Jurisdiction,
		})
	}
	for _, did := range t.Recipients {
		x.PartyIdentification = append(x.PartyIdentification, party{did, "third party"})
	}
	return x
}

func detailsOf(rec *consentv1.Record, status consentv1.Status) receiptDetails {
	d := receiptDetails{
		Version: rec.Version, Status: short(status.String(), "STATUS_"), Subject: hex.EncodeToString(rec.Terms.Subject),
		SpecialCondition: article9(rec.Terms.SpecialCondition), EvidenceSHA256: hex.EncodeToString(rec.EvidenceHash),
		GivenAt: stamp(rec.GivenAt), RecordedAt: stamp(rec.RecordedAt), Exclusions: []exclusion{},
		SourceFormat: rec.Source.GetFormat(), SourceSHA256: hex.EncodeToString(rec.Source.GetHash()),
		Supersedes: hex.EncodeToString(rec.Supersedes), SupersededBy: hex.EncodeToString(rec.SupersededBy),
	}
	if rec.Method != consentv1.Method_METHOD_UNSPECIFIED {
		d.Method = short(rec.Method.String(), "METHOD_")
	}
	for _, e := range rec.Terms.Exclusions {
		d.Exclusions = append(d.Exclusions, exclusion{
			list(e.Categories), list(e.Recipients), list(e.Purposes), list(e.Processing), stamp(e.From), stamp(e.Until),
		})
	}
	return d
}

// eventOf is what made a version.
func eventOf(rec *consentv1.Record) event {
	e := event{
		EventTime: stamp(rec.ChangedAt), EntityID: rec.ChangedBy, Version: rec.Version,
		ValidityDuration: validFrom(rec) + "/" + validUntil(rec.Terms),
		EventState:       short(rec.Status.String(), "STATUS_"),
		EventType:        "other legal basis",
	}
	switch {
	case rec.Terms.SpecialCondition == consentv1.SpecialCondition_SPECIAL_CONDITION_EXPLICIT_CONSENT:
		e.EventType = "explicit consent"
	case rec.Terms.LegalBasis == consentv1.LegalBasis_LEGAL_BASIS_CONSENT:
		e.EventType = "consent"
	}
	return e
}

func principal(rec *consentv1.Record) string {
	if rec.SubjectDid != "" {
		return rec.SubjectDid
	}
	return "urn:chancery:commitment:" + hex.EncodeToString(rec.Terms.Subject)
}

func validFrom(rec *consentv1.Record) string {
	switch {
	case rec.Terms.ValidFrom != 0:
		return stamp(rec.Terms.ValidFrom)
	case rec.GivenAt != 0:
		return stamp(rec.GivenAt)
	}
	return "when given"
}

func validUntil(t *consentv1.Terms) string {
	if t.ValidUntil == 0 {
		return untilWithdrawn
	}
	return stamp(t.ValidUntil)
}

// stamp is a time as RFC 3339 in UTC with milliseconds; empty for 0.
func stamp(ms int64) string {
	if ms == 0 {
		return ""
	}
	return time.UnixMilli(ms).UTC().Format("2006-01-02T15:04:05.000Z07:00")
}

// article6 is the point of GDPR Art. 6(1).
func article6(b consentv1.LegalBasis) string {
	return "GDPR Art. 6(1)(" + string(rune('a'+int(b)-1)) + ")"
}

// article9 is the point of GDPR Art. 9(2), empty when none is claimed.
func article9(c consentv1.SpecialCondition) string {
	if c == consentv1.SpecialCondition_SPECIAL_CONDITION_UNSPECIFIED {
		return ""
	}
	return "GDPR Art. 9(2)(" + string(rune('a'+int(c)-1)) + ")"
}

func short(enum, head string) string { return strings.ToLower(strings.TrimPrefix(enum, head)) }

// list is s, written as [] when it is empty.
func list(s []string) []string {
	if s == nil {
		return []string{}
	}
	return s
}

func encodeJSON(v any) ([]byte, error) {
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	err := e.Encode(v)
	return out.Bytes(), err
}
