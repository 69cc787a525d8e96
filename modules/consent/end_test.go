package consent

import (
	"encoding/json"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/chaintest"
	"github.com/chancery/chancery/chain/state"
	consentv1 "github.com/chancery/chancery/proto/chancery/consent/v1"
)

func TestWithdrawalIsOneMessageAndActsAtOnce(t *testing.T) { // law 6, law 24
	n := newNet(t)
	id := n.gives(to(lakeside))
	n.permits(asks())
	r := n.Do(anna, &consentv1.Withdraw{Id: id})
	n.denies(ErrWithdrawn, asks())
	n.wantStatus(id, consentv1.Status_STATUS_WITHDRAWN)
	n.wantEnded(id, Withdrawn)
	if e := only[consentv1.Withdrawn](t, r); e.By != anna || len(e.Recipients) != 1 || e.Recipients[0] != lakeside { // law 12
		t.Fatalf("%v", e)
	}
	n.Fails(ErrWrongState, anna, &consentv1.Withdraw{Id: id})
	n.Fails(ErrNotFound, anna, &consentv1.Withdraw{Id: digest("nothing")})
	n.Fails(ErrInvalid, anna, &consentv1.Withdraw{Id: []byte("short")})
}

// probe asks a question at the end of each block, over the state that the block's
// transactions left.
type probe struct {
	m     *Module
	reply *error
}

func (probe) Name() string                                           { return "probe" }
func (probe) Schema() *state.Schema                                  { return state.NewSchema("probe", 0x7F) }
func (probe) Routes() []chain.Route                                  { return nil }
func (probe) InitGenesis(*chain.Ctx, json.RawMessage) error          { return nil }
func (probe) ExportGenesis(state.Reader) (proto.Message, error)      { return &consentv1.Genesis{}, nil }
func (probe) RegisterQueries(grpc.ServiceRegistrar, chain.Snapshots) {}
func (p probe) EndBlock(ctx *chain.Ctx) {
	_, _, *p.reply = p.m.Permits(ctx, subjectOf("anna"), mercy, doctor, treatment, []string{record})
}

func TestWithdrawalActsWithinItsBlock(t *testing.T) { // law 6
	var after, told error
	n := chaintest.New(t, chaintest.Config{Partial: true, Modules: func() []chain.Module {
		m := New(Deps{Identity: people{}})
		m.Ended.Subscribe("decides", func(ctx *chain.Ctx, e Ending) error {
			_, _, told = m.Permits(ctx, e.Subject, e.Controller, doctor, treatment, []string{record})
			return nil
		})
		return []chain.Module{m, probe{m, &after}}
	}})
	id := chaintest.Response[consentv1.GiveResponse](t, n.Do(anna, &consentv1.Give{Terms: terms()})).Id
	if after != nil {
		t.Fatalf("not permitted at the end of the block that gives: %v", after)
	}
	n.Do(anna, &consentv1.Withdraw{Id: id})
	if !ErrWithdrawn.Is(after) || !ErrWithdrawn.Is(told) {
		t.Fatalf("after the withdrawal's block %v, as it is told %v; want %v", after, told, ErrWithdrawn)
	}
	// Given and withdrawn within one block: nothing is left of it.
	raw := n.Tx(anna, []proto.Message{&consentv1.Give{Terms: terms()}})
	d, err := n.App().Decode(raw)
	if err != nil {
		t.Fatal(err)
	}
	next := RecordID(d.ID, subjectOf("anna"), mercy, 2)
	results := n.Block(raw, n.Tx(anna, []proto.Message{&consentv1.Withdraw{Id: next}}))
	if results[0].Code != 0 || results[1].Code != 0 || !ErrWithdrawn.Is(after) {
		t.Fatalf("%s, %s, then %v; want %v", results[0].Log, results[1].Log, after, ErrWithdrawn)
	}
}

func TestWhoMayWithdraw(t *testing.T) { // law 6
	n := newNet(t)
	for _, author := range []string{anna, officer, admin, mercy} {
		n.Do(author, &consentv1.Withdraw{Id: n.gives()})
		n.denies(ErrWithdrawn, asks())
	}
	id := n.gives()
	for _, author := range []string{bert, clerk, lakeside, visitor} {
		n.Fails(ErrNotAuthorised, author, &consentv1.Withdraw{Id: id})
	}
	n.permits(asks())
}

// A subject's word is kept also when the consent's time has passed unrecorded.
func TestWithdrawAnExpiredConsent(t *testing.T) { // law 6
	n := newNet(t)
	id := n.gives(until(n.Now + 5*chaintest.BlockTime))
	n.Now += 10 * chaintest.BlockTime
	n.Do(anna, &consentv1.Withdraw{Id: id})
	n.wantStatus(id, consentv1.Status_STATUS_WITHDRAWN)
}

func TestRequestIsNotWithdrawn(t *testing.T) {
	n := newNet(t)
	id := n.requests(terms(), anna)
	n.Fails(ErrWrongState, anna, &consentv1.Withdraw{Id: id})
}

func TestRefuse(t *testing.T) {
	n := newNet(t)
	id := n.requests(terms(), anna)
	n.Fails(ErrInvalid, anna, &consentv1.Refuse{RequestId: id, Terms: terms()})
	r := n.Do(anna, &consentv1.Refuse{RequestId: id})
	if e := only[consentv1.Refused](t, r); e.By != anna {
		t.Fatalf("%v", e)
	}
	n.wantStatus(id, consentv1.Status_STATUS_REFUSED)
	n.denies(ErrRefused, asks())
	n.Fails(ErrWrongState, anna, &consentv1.Give{RequestId: id})
	// An opt-out that answers no request.
	out := onPaper(terms(about("bert")))
	n.Do(officer, &consentv1.Refuse{Terms: out.Terms, Method: out.Method, EvidenceHash: out.EvidenceHash})
	n.denies(ErrRefused, asks(func(q *Question) { q.Subject = subjectOf("bert") }))
	// A refusal does not last for ever.
	n.gives()
	n.permits(asks())
}

func TestExpiryIsComputedAndMayBeRecorded(t *testing.T) { // law 5, law 24
	n := newNet(t)
	end := n.Now + 5*chaintest.BlockTime
	id := n.gives(until(end))
	n.Fails(ErrNotExpired, visitor, &consentv1.Expire{Id: id})
	n.Now = end - chaintest.BlockTime - 1
	n.Block()
	n.permits(asks()) // one millisecond before
	n.Now = end - chaintest.BlockTime
	n.Block()
	n.denies(ErrExpired, asks())
	n.wantStatus(id, consentv1.Status_STATUS_EXPIRED)
	if len(n.endings()) != 0 {
		t.Fatal("an expiry that nobody recorded was published")
	}
	r := n.Do(visitor, &consentv1.Expire{Id: id})
	if e := only[consentv1.Expired](t, r); e.Status != consentv1.Status_STATUS_EXPIRED {
		t.Fatalf("%v", e)
	}
	n.wantEnded(id, Expired)
	n.denies(ErrExpired, asks())
	n.Fails(ErrWrongState, visitor, &consentv1.Expire{Id: id})
}

func TestRequestLapses(t *testing.T) {
	n := newNet(t)
	id := n.requests(terms(), anna)
	n.Fails(ErrNotExpired, anna, &consentv1.Expire{Id: id})
	n.Now += 20_000
	n.Block()
	n.wantStatus(id, consentv1.Status_STATUS_LAPSED)
	n.Fails(ErrWrongState, anna, &consentv1.Give{RequestId: id})
	n.Do(visitor, &consentv1.Expire{Id: id})
	n.denies(ErrNone, asks())
	if len(n.endings()) != 0 {
		t.Fatal("a lapsed request ended no consent")
	}
	n.Fails(ErrTime, officer, &consentv1.Request{Terms: terms(), AnswerUntil: n.Now})
	n.Fails(ErrNotAuthorised, anna, &consentv1.Request{Terms: terms(), AnswerUntil: n.Now + 10_000})
}

func TestRequestsAreBoundedAndMakeRoomByLapse(t *testing.T) {
	n := newNet(t)
	for range maxRequests {
		n.requests(terms(), anna)
		n.Now -= chaintest.BlockTime / 2 // so that none lapses meanwhile
	}
	n.Fails(ErrTooMany, officer, &consentv1.Request{Terms: terms(), AnswerUntil: n.Now + 10_000})
	n.Now += 20_000
	n.requests(terms(), anna)
	if d := n.m.dossier(n.View(), subjectOf("anna"), mercy); len(d.Requests) != 1 {
		t.Fatalf("%d requests wait, want 1", len(d.Requests))
	}
}
