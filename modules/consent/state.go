package consent

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/state"
	"github.com/chancery/chancery/chain/tx"
	consentv1 "github.com/chancery/chancery/proto/chancery/consent/v1"
)

const prefix = 0x12

type (
	versionKey    = state.Pair[[]byte, uint64]
	dossierKey    = state.Pair[[]byte, string]
	holdingKey    = state.Triple[string, []byte, []byte]
	namedKey      = state.Pair[string, []byte]
	delegationKey = state.Triple[[]byte, string, string]
)

var (
	dossierCodec    = state.PairOf(state.Bytes, state.String)
	holdingCodec    = state.TripleOf(state.String, state.Bytes, state.Bytes)
	namedCodec      = state.PairOf(state.String, state.Bytes)
	delegationCodec = state.TripleOf(state.Bytes, state.String, state.String)
)

// collections is the module's state; doc.go has the key table.
type collections struct {
	schema      *state.Schema
	records     state.Map[[]byte, *consentv1.Record]
	history     state.Map[versionKey, *consentv1.Record]
	dossiers    state.Map[dossierKey, *consentv1.Dossier]
	holdings    state.Index[holdingKey]
	requests    state.Index[namedKey]
	recipients  state.Index[namedKey]
	delegations state.Map[delegationKey, *consentv1.Delegation]
}

func newCollections() collections {
	s := state.NewSchema("consent", prefix)
	return collections{
		schema:      s,
		records:     state.NewMap(s, 0x01, "records", state.Bytes, state.Proto[consentv1.Record]()),
		history:     state.NewMap(s, 0x02, "history", state.PairOf(state.Bytes, state.Uint64), state.Proto[consentv1.Record]()),
		dossiers:    state.NewMap(s, 0x03, "dossiers", dossierCodec, state.Proto[consentv1.Dossier]()),
		holdings:    state.NewIndex(s, 0x04, "holdings", holdingCodec),
		requests:    state.NewIndex(s, 0x05, "requests", namedCodec),
		recipients:  state.NewIndex(s, 0x06, "recipients", namedCodec),
		delegations: state.NewMap(s, 0x07, "delegations", delegationCodec, state.Proto[consentv1.Delegation]()),
	}
}

// RecordID is the id of the nth thing that a transaction opens in a dossier, from 1 for
// a subject that the controller knew nothing of: SHA-256 over a tag, the transaction,
// the subject, the controller and n.
func RecordID(txID tx.ID, subject []byte, controller string, n uint64) []byte {
	h := sha256.New()
	h.Write([]byte("chancery/consent/id/v1\x00"))
	h.Write(txID[:])
	h.Write(subject)
	h.Write(binary.BigEndian.AppendUint64(nil, n))
	h.Write([]byte(controller))
	return h.Sum(nil)
}

// mustRecord is the record that an index or a dossier points to.
func (c *collections) mustRecord(r state.Reader, id []byte) *consentv1.Record {
	rec, ok := c.records.Lookup(r, id)
	if !ok {
		panic(&state.Fault{Where: "consent/records", Err: fmt.Errorf("an index or a dossier names %x, which does not exist", id)})
	}
	return rec
}

// revise keeps rec as history and returns its next version to be changed and put.
func (c *collections) revise(ctx *chain.Ctx, rec *consentv1.Record) *consentv1.Record {
	next := rec.CloneVT()
	c.history.Put(ctx, state.Join(rec.Id, rec.Version), rec)
	next.Version++
	next.ChangedAt, next.ChangedBy = ctx.Time(), ctx.Author()
	return next
}

// indexRecipients moves the entries of a record from one list of recipients to
// another.
func (c *collections) indexRecipients(w state.Writer, id []byte, before, after []string) {
	for _, did := range before {
		if !contains(after, did) {
			c.recipients.Remove(w, state.Join(did, id))
		}
	}
	for _, did := range after {
		if !contains(before, did) {
			c.recipients.Add(w, state.Join(did, id))
		}
	}
}

// wasGiven tells whether a record of this status has ever been in force.
func wasGiven(s consentv1.Status) bool {
	switch s {
	case consentv1.Status_STATUS_GIVEN, consentv1.Status_STATUS_NARROWED, consentv1.Status_STATUS_WITHDRAWN,
		consentv1.Status_STATUS_EXPIRED, consentv1.Status_STATUS_SUPERSEDED:
		return true
	}
	return false
}

func inForce(s consentv1.Status) bool {
	return s == consentv1.Status_STATUS_GIVEN || s == consentv1.Status_STATUS_NARROWED
}

// effective is a record's status at a time: what is recorded, or EXPIRED or
// LAPSED when its time has passed.
func effective(rec *consentv1.Record, now int64) consentv1.Status {
	switch {
	case inForce(rec.Status) && passed(rec.Terms.ValidUntil, now):
		return consentv1.Status_STATUS_EXPIRED
	case rec.Status == consentv1.Status_STATUS_REQUESTED && passed(rec.AnswerUntil, now):
		return consentv1.Status_STATUS_LAPSED
	}
	return rec.Status
}

// passed tells whether now is at or after until; 0 never passes.
func passed(until, now int64) bool { return until != 0 && now >= until }
