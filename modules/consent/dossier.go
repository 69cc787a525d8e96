package consent

import (
	"bytes"
	"slices"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/state"
	consentv1 "github.com/chancery/chancery/proto/chancery/consent/v1"
)

// dossier is what a controller holds of a subject, nil when it holds nothing.
func (c *collections) dossier(r state.Reader, subject []byte, controller string) *consentv1.Dossier {
	d, _ := c.dossiers.Lookup(r, state.Join(subject, controller))
	return d
}

func (c *collections) putDossier(w state.Writer, subject []byte, controller string, d *consentv1.Dossier) {
	c.dossiers.Put(w, state.Join(subject, controller), d)
}

// orNew is d, or an empty dossier.
func orNew(d *consentv1.Dossier) *consentv1.Dossier {
	if d == nil {
		return new(consentv1.Dossier)
	}
	return d
}

func without(ids [][]byte, id []byte) [][]byte {
	return slices.DeleteFunc(ids, func(o []byte) bool { return bytes.Equal(o, id) })
}

// open starts a record in a dossier: its id, version and index entry. The caller
// puts both.
func (m *Module) open(ctx *chain.Ctx, d *consentv1.Dossier, t *consentv1.Terms) *consentv1.Record {
	d.Opened++
	rec := &consentv1.Record{
		Id: RecordID(ctx.TxID(), t.Subject, t.Controller, d.Opened), Version: 1, Terms: t.CloneVT(),
		ChangedAt: ctx.Time(), ChangedBy: ctx.Author(),
	}
	m.holdings.Add(ctx, state.Join3(t.Controller, t.Subject, rec.Id))
	return rec
}

// makeRoom records expiry in a dossier that is full, at most once per entry, and
// refuses when it stays full.
func (m *Module) makeRoom(ctx *chain.Ctx, d *consentv1.Dossier, ids *[][]byte, most int) error {
	if len(*ids) < most {
		return nil
	}
	for _, id := range slices.Clone(*ids) {
		rec := m.mustRecord(ctx, id)
		if effective(rec, ctx.Time()) == rec.Status {
			continue
		}
		if err := m.recordExpiry(ctx, d, rec); err != nil {
			return err
		}
	}
	if len(*ids) >= most {
		return ErrTooMany.With("%d at most", most)
	}
	return nil
}

// recordExpiry ends a record whose time has passed, and puts it and the dossier.
func (m *Module) recordExpiry(ctx *chain.Ctx, d *consentv1.Dossier, rec *consentv1.Record) error {
	next := m.revise(ctx, rec)
	next.Status = effective(rec, ctx.Time())
	ctx.Emit(&consentv1.Expired{Id: next.Id, Subject: next.Terms.Subject, Controller: next.Terms.Controller, Status: next.Status})
	if next.Status == consentv1.Status_STATUS_LAPSED {
		m.records.Put(ctx, next.Id, next)
		m.answered(ctx, d, next)
		m.putDossier(ctx, next.Terms.Subject, next.Terms.Controller, d)
		return nil
	}
	return m.end(ctx, d, next, Expired)
}

// answered takes a request off the lists of those that wait.
func (m *Module) answered(ctx *chain.Ctx, d *consentv1.Dossier, rec *consentv1.Record) {
	d.Requests = without(d.Requests, rec.Id)
	m.requests.Remove(ctx, state.Join(rec.Terms.Controller, rec.Id))
}

// end puts the last version of a consent, takes it out of its dossier, puts that and
// then tells who relied on it.
func (m *Module) end(ctx *chain.Ctx, d *consentv1.Dossier, rec *consentv1.Record, why Reason) error {
	m.records.Put(ctx, rec.Id, rec)
	d.Consents = without(d.Consents, rec.Id)
	d.LastEnded = &consentv1.LastEnded{Id: rec.Id, Status: rec.Status}
	m.putDossier(ctx, rec.Terms.Subject, rec.Terms.Controller, d)
	return m.Ended.Publish(ctx, ending(rec, why))
}

func ending(rec *consentv1.Record, why Reason) Ending {
	return Ending{ID: rec.Id, Version: rec.Version, Subject: rec.Terms.Subject, Controller: rec.Terms.Controller, Reason: why}
}
