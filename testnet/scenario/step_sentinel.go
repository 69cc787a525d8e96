package scenario

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/keys"
	accessv1 "github.com/chancery/chancery/proto/chancery/access/v1"
	identityv1 "github.com/chancery/chancery/proto/chancery/identity/v1"
	threatv1 "github.com/chancery/chancery/proto/chancery/threat/v1"
)

// openDoors is what somebody with an administrator's stolen keys would have an accomplice set.
const openDoors = "permit(principal, action, resource);"

// stolen: somebody with stolen keys registers an accomplice who may set policies, and who
// replaces the hospital's; the transaction is held, and members reject it. Before that
// the consortium ends the sentinel's time of learning.
func (r *run) stolen(ctx context.Context) error {
	sentinel := threatv1.NewQueryClient(r.c.Conn())
	before, err := sentinel.Params(ctx, &threatv1.ParamsRequest{})
	if err != nil {
		return fmt.Errorf("the sentinel's parameters: %w", err)
	}
	if before.Params.GetMode() != threatv1.Mode_MODE_ENFORCE {
		r.note("the sentinel is %s on this network, so nothing is held", before.Params.GetMode())
		return nil
	}
	hospital := r.cast.hospital
	accomplice, registers, err := r.newcomer(hospital, "accomplice", "", identityv1.Kind_KIND_PERSON, keys.Ed25519)
	if err != nil {
		return err
	}
	if _, err := r.do(ctx, hospital.registrar, registers); err != nil {
		return fmt.Errorf("an accomplice is registered: %w", err)
	}
	if _, err := r.do(ctx, hospital.self, &identityv1.AssignRole{Did: accomplice.did, Role: "policy-admin"}); err != nil {
		return fmt.Errorf("the accomplice may set policies: %w", err)
	}
	alert := proto.Clone(before.Params).(*threatv1.Params)
	alert.LearningUntil = 0
	if _, err := r.do(ctx, r.cast.consortium, &threatv1.SetParams{Params: alert}); err != nil {
		return fmt.Errorf("the consortium ends the time of learning: %w", err)
	}
	result, err := r.do(ctx, accomplice, &accessv1.SetPolicies{
		Organisation: hospital.Organisation, Documents: []*accessv1.Document{{Name: "hospital", Text: openDoors}},
	})
	if !errors.Is(err, chain.ErrHeld) {
		return fmt.Errorf("policies that permit everything, set by somebody new: %w", errors.Join(errors.New("they should have been held"), err))
	}
	r.facts.held = result.TxId
	hold, err := sentinel.Hold(ctx, &threatv1.HoldRequest{TxId: result.TxId})
	if err != nil {
		return fmt.Errorf("the held transaction: %w", err)
	}
	explained, err := r.program(ctx, "threat", "explain", fmt.Sprintf("%x", result.TxId), "--node", r.o.Addresses)
	if err != nil {
		return fmt.Errorf("chancery threat explain: %w: %s", err, explained)
	}
	r.note("with stolen keys an accomplice was registered who sets policies that permit everything: held in block %d with a score of %d of 10000; chancery threat explain %x says why",
		result.Height, hold.Hold.GetVerdict().GetScore(), result.TxId[:4])

	var said []string
	for _, p := range []party{r.cast.lab, r.cast.insurer, r.cast.pharma} {
		answer := new(threatv1.RejectResponse)
		if _, err := r.ask(ctx, p.self, &threatv1.Reject{TxId: result.TxId}, answer); err != nil {
			return fmt.Errorf("%s rejects it: %w", slug(p.Organisation), err)
		}
		said = append(said, slug(p.Organisation))
		if answer.Status == threatv1.HoldStatus_HOLD_STATUS_REJECTED {
			break
		}
	}
	hold, err = sentinel.Hold(ctx, &threatv1.HoldRequest{TxId: result.TxId})
	if err != nil {
		return fmt.Errorf("the rejected transaction: %w", err)
	}
	if hold.Hold.GetStatus() != threatv1.HoldStatus_HOLD_STATUS_REJECTED {
		return fmt.Errorf("the transaction is %s after %v rejected it", hold.Hold.GetStatus(), said)
	}
	policies, err := accessv1.NewQueryClient(r.c.Conn()).Policies(ctx, &accessv1.VersionRequest{Organisation: hospital.Organisation})
	if err != nil {
		return fmt.Errorf("the hospital's policies: %w", err)
	}
	for _, d := range policies.GetDocuments() {
		if d.Text == openDoors {
			return errors.New("the held transaction was executed")
		}
	}
	r.note("%v rejected it; the hospital's policies are what they were", said)
	// The keys of this network are minutes old, so it goes on learning.
	back := proto.Clone(before.Params).(*threatv1.Params)
	back.LearningUntil = max(back.LearningUntil, time.Now().Add(time.Hour).UnixMilli())
	if _, err := r.do(ctx, r.cast.consortium, &threatv1.SetParams{Params: back}); err != nil {
		return fmt.Errorf("the sentinel goes on learning: %w", err)
	}
	return nil
}
