package threat

import (
	"bytes"
	"slices"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/state"
	threatv1 "github.com/chancery/chancery/proto/chancery/threat/v1"
)

// importResponses writes the playbooks, responses and standings of a genesis with what
// finds them.
func (m *Module) importResponses(ctx *chain.Ctx, g *threatv1.Genesis) error {
	if n := len(g.Playbooks); n > maxPlaybooks {
		return ErrTooMany.With("%d playbooks, at most %d", n, maxPlaybooks)
	}
	for _, p := range g.Playbooks {
		if err := checkPlaybook(p); err != nil {
			return err
		}
		if m.playbooks.Has(ctx, p.Name) {
			return ErrBadPlaybook.With("%s is there twice", p.Name)
		}
		m.playbooks.Put(ctx, p.Name, p)
	}
	for _, rec := range g.Responses {
		if err := m.importResponse(ctx, rec); err != nil {
			return err
		}
	}
	for _, s := range g.Standings {
		if err := checkStanding(s); err != nil {
			return err
		}
		if m.standings.Has(ctx, s.Subject) {
			return ErrInvalid.With("the standing of %s is there twice", s.Subject)
		}
		m.fileStanding(ctx, nil, s)
	}
	return nil
}

func (m *Module) importResponse(ctx *chain.Ctx, rec *threatv1.Response) error {
	_, status := threatv1.ResponseStatus_name[int32(rec.GetStatus())]
	switch {
	case len(rec.GetId()) != hashSize || len(rec.TxId) != hashSize || rec.Subject == "" || rec.Playbook == "":
		return ErrInvalid.With("a response lacks its id, transaction, subject or playbook")
	case !slices.Contains(lasting, rec.Action) || !status || rec.Status == threatv1.ResponseStatus_RESPONSE_STATUS_UNSPECIFIED:
		return ErrInvalid.With("response %x: %s and %s", rec.Id, rec.Action, rec.Status)
	case m.responses.Has(ctx, rec.Id):
		return ErrInvalid.With("response %x is there twice", rec.Id)
	}
	m.responses.Put(ctx, rec.Id, rec)
	m.responsesOf.Add(ctx, state.Join(rec.Subject, rec.Id))
	if rec.Status != threatv1.ResponseStatus_RESPONSE_STATUS_ACTIVE {
		return nil
	}
	list, ok := m.acting.Lookup(ctx, rec.Subject)
	if !ok {
		list = new(threatv1.Acting)
	}
	a := &threatv1.ActingResponse{Action: rec.Action, Playbook: rec.Playbook, Id: rec.Id, Time: rec.Time}
	at, acts := slices.BinarySearchFunc(list.Responses, a, compareActing)
	if acts || len(list.Responses) >= maxActing {
		return ErrInvalid.With("two responses of %s by %s to %s act, or more than %d", rec.Action, rec.Playbook, rec.Subject, maxActing)
	}
	list.Responses = slices.Insert(list.Responses, at, a)
	m.acting.Put(ctx, rec.Subject, list)
	m.responsesDue.Add(ctx, state.Join(rec.ExpiresAt, rec.Id))
	return nil
}

func checkStanding(s *threatv1.Standing) error {
	if !isSubject(s.GetSubject()) || len(s.GetHeld()) == 0 {
		return ErrInvalid.With("a standing lacks its subject, or opinions")
	}
	for i, h := range s.Held {
		_, risk := threatv1.Risk_name[int32(h.GetRisk())]
		_, cause := threatv1.Cause_name[int32(h.GetCause())]
		switch {
		case len(h.GetValidator()) != len(Power{}.Address) || h.Until <= 0 || !risk || !cause || len(h.Source) != 0 && len(h.Source) != hashSize:
			return ErrInvalid.With("an opinion of %s is malformed", s.Subject)
		case i > 0 && bytes.Compare(s.Held[i-1].Validator, h.Validator) >= 0:
			return ErrInvalid.With("opinions of %s are not sorted by validator", s.Subject)
		}
	}
	return nil
}

// exportResponses fills in what importResponses reads.
func (m *Module) exportResponses(r state.Reader, g *threatv1.Genesis) {
	for _, p := range m.playbooks.Walk(r, state.All()) {
		g.Playbooks = append(g.Playbooks, p)
	}
	for _, rec := range m.responses.Walk(r, state.All()) {
		g.Responses = append(g.Responses, rec)
	}
	for _, s := range m.standings.Walk(r, state.All()) {
		g.Standings = append(g.Standings, s)
	}
}
