package scenario

import (
	"context"
	"fmt"

	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain/keys"
	identityv1 "github.com/chancery/chancery/proto/chancery/identity/v1"
)

// identities registers who plays: the registrars register, the organisations give
// roles.
func (r *run) identities(ctx context.Context) error {
	if err := r.parties(); err != nil {
		return err
	}
	const person, service = identityv1.Kind_KIND_PERSON, identityv1.Kind_KIND_SERVICE
	c := &r.cast
	newcomers := []struct {
		to    *actor
		party party
		name  string
		id    string
		kind  identityv1.Kind
		key   keys.Type
		role  string
	}{
		{&c.clinician, c.hospital, "clinician", "", person, keys.P256, "clinician"},
		{&c.reviewer, c.hospital, "reviewer", "", person, keys.Ed25519, "reviewer"},
		{&c.patient, c.hospital, "patient", "", person, keys.MLDSA65, ""},
		{&c.pep, c.hospital, "pep", "pep-" + randomID()[:8], service, keys.Ed25519, "pep"},
		{&c.researcher, c.lab, "researcher", "", person, keys.Ed25519, "researcher"},
		{&c.adjuster, c.insurer, "adjuster", "", person, keys.Ed25519, "adjuster"},
		{&c.pipeline, c.pharma, "pipeline", "pipeline-" + randomID()[:8], service, keys.Ed25519, ""},
	}
	// One transaction for each registrar, and one for each organisation's roles.
	type batch struct {
		party    party
		register []proto.Message
		assign   []proto.Message
	}
	var batches []*batch
	for _, n := range newcomers {
		a, message, err := r.newcomer(n.party, n.name, n.id, n.kind, n.key)
		if err != nil {
			return err
		}
		*n.to = a
		var b *batch
		for _, have := range batches {
			if have.party.Organisation == n.party.Organisation {
				b = have
			}
		}
		if b == nil {
			b = &batch{party: n.party}
			batches = append(batches, b)
		}
		b.register = append(b.register, message)
		if n.role != "" {
			b.assign = append(b.assign, &identityv1.AssignRole{Did: a.did, Role: n.role})
		}
	}
	for _, b := range batches {
		if _, err := r.do(ctx, b.party.registrar, b.register...); err != nil {
			return fmt.Errorf("register members of %s: %w", b.party.Organisation, err)
		}
		if len(b.assign) == 0 {
			continue
		}
		if _, err := r.do(ctx, b.party.self, b.assign...); err != nil {
			return fmt.Errorf("assign roles in %s: %w", b.party.Organisation, err)
		}
	}
	q := identityv1.NewQueryClient(r.c.Conn())
	for _, n := range newcomers {
		document, err := q.Document(ctx, &identityv1.DocumentRequest{Did: n.to.did})
		if err != nil {
			return fmt.Errorf("resolve %s: %w", n.to.did, err)
		}
		if document.GetMetadata().GetDeactivated() || document.GetMetadata().GetSuspended() {
			return fmt.Errorf("%s is registered and not active", n.to.did)
		}
		r.note("%-10s %s, %s", n.name, n.to.did, n.key)
	}
	return nil
}
