//go:build unix

package testnet

import (
	"cmp"
	"context"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/node/client"
	chainv1 "github.com/chancery/chancery/proto/chancery/chain/v1"
	threatv1 "github.com/chancery/chancery/proto/chancery/threat/v1"
	"github.com/chancery/chancery/testnet/scenarios"
)

// toldEach is how many flagged transactions of each campaign, and of normal life, are
// explained as they come; and the first that is held.
const toldEach = 3

// scenarioReport is what 'scenario' writes.
type scenarioReport struct {
	Seed    uint64 `json:"seed"`
	ChainID string `json:"chain_id"`
	// Detector is the hash of the model that decides.
	Detector   string        `json:"detector"`
	AlarmScore uint32        `json:"alarm_score"`
	Speed      float64       `json:"speed"`
	Took       time.Duration `json:"took_ns"`
	Past       *pastReport   `json:"past,omitempty"`
	// Normal is normal life, and what defenders do about a campaign.
	Normal compared `json:"normal"`
	// Campaigns in order of their first transaction.
	Campaigns []*campaignReport `json:"campaigns"`
	// Flagged are the transactions that were held, denied or an alarm, in order.
	Flagged []*flaggedTx `json:"flagged"`
	// BreakerOpen tells that the breaker was open at the end: too much of everything was
	// flagged, and nothing was held any more.
	BreakerOpen bool       `json:"breaker_open"`
	Agreement   *agreement `json:"agreement,omitempty"`

	say   func(string, ...any)
	api   *client.Client
	began time.Time

	mu   sync.Mutex // guards what follows, and what is written meanwhile
	seen []*seen
	// first is when each campaign's first transaction was submitted.
	first map[string]time.Time
	sim   map[int]*seen
}

// pastReport is what happened before the network began.
type pastReport struct {
	Days int `json:"days"`
	// Clock is what the plan's clock shows at its end, and Midnight is when that shows
	// 00:00, by the network's.
	Clock    string `json:"clock"`
	Midnight string `json:"midnight"`
	// Pause is how long nobody did anything, from the end of the past until the network
	// took part.
	Pause        time.Duration `json:"pause_ns"`
	Transactions int           `json:"transactions"`
	Normal       tally         `json:"normal"`
}

// seen is what became of one action, on the network or in a simulation.
type seen struct {
	*scenarios.Action
	number int
	result *chainv1.TxResult // nil: refused, or not submitted
	void   bool
	err    error
	after  time.Duration // from the begin of the replay to the answer
	began  time.Time
	reason *flaggedTx
}

func ofOutcome(o *scenarios.Outcome) *seen {
	s := &seen{Action: o.Action, number: o.Number, result: o.Result, err: o.Refused}
	if o.Refused != nil {
		s.result = nil
	}
	return s
}

func (s *seen) kept() bool {
	return s.result.GetVerdict().GetRuling() > chainv1.Ruling_RULING_ADMIT && s.result.GetCode() != 0
}

// tally counts transactions by what became of them, each once.
type tally struct {
	Transactions int `json:"transactions"`
	Held         int `json:"held"`
	Denied       int `json:"denied"`
	// Alarms are those that were executed, or failed, with a score from which there is an
	// alarm.
	Alarms  int `json:"alarms"`
	Failed  int `json:"failed"`
	Refused int `json:"refused"`
	// Void were not submitted: what they refer to did not come to be.
	Void int `json:"void"`
}

func (t *tally) add(s *seen, alarm uint32) {
	t.Transactions++
	switch {
	case s.void:
		t.Void++
	case s.result == nil:
		t.Refused++
	case s.kept() && s.result.Verdict.Ruling == chainv1.Ruling_RULING_DENY:
		t.Denied++
	case s.kept():
		t.Held++
	case s.result.Verdict.GetScore() >= alarm:
		t.Alarms++
	case s.result.Code != 0:
		t.Failed++
	}
}

func (t tally) String() string {
	parts := []string{fmt.Sprintf("%d transactions", t.Transactions)}
	for _, x := range []struct {
		n    int
		what string
	}{{t.Held, "held"}, {t.Denied, "denied"}, {t.Alarms, "executed with an alarm"}, {t.Failed, "failed"}, {t.Refused, "refused"}, {t.Void, "left out"}} {
		if x.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", x.n, x.what))
		}
	}
	return strings.Join(parts, ", ")
}

// compared is the same on the network and in the simulation.
type compared struct {
	Network   tally  `json:"network"`
	Simulated *tally `json:"simulated,omitempty"`
}

type campaignReport struct {
	Name string `json:"name"`
	// All are the attacker's transactions, Harmful those of them that do the harm.
	All     compared `json:"all"`
	Harmful compared `json:"harmful"`
	// First is the first transaction that was held, denied or an alarm, in the order of
	// the blocks; nil: none was.
	First *flaggedTx `json:"first,omitempty"`
	// Before is how many harmful transactions were executed before the first; all of them
	// where there is none.
	Before int `json:"executed_before_first"`
	// FirstKept is the first that was held or denied, and BeforeKept how many harmful
	// transactions were executed before it.
	FirstKept  *flaggedTx `json:"first_kept,omitempty"`
	BeforeKept int        `json:"executed_before_first_kept"`
	// FirstSimulated and BeforeSimulated are First and Before in the simulation.
	FirstSimulated  *flaggedTx `json:"first_simulated,omitempty"`
	BeforeSimulated int        `json:"executed_before_first_simulated"`
}

// flaggedTx is a transaction that was held, denied or an alarm.
type flaggedTx struct {
	Height int64 `json:"height,omitempty"` // 0 in a simulation
	// After is from the begin of the replay to the answer, AfterFirst from the submission
	// of the campaign's first transaction.
	After      time.Duration `json:"after_ns,omitempty"`
	AfterFirst time.Duration `json:"after_first_ns,omitempty"`
	TxID       string        `json:"tx_id,omitempty"`
	Author     string        `json:"author"`
	Message    string        `json:"message"`
	Campaign   string        `json:"campaign,omitempty"`
	Harmful    bool          `json:"harmful"`
	// Ruling is held, denied or alarm.
	Ruling string `json:"ruling"`
	Score  uint32 `json:"score"`
	// Reasons are the drivers of the score, in plain words.
	Reasons []string `json:"reasons"`
	// Why is the paragraph of 'chancery threat explain'; of the first of a campaign, and of
	// normal life.
	Why string `json:"why,omitempty"`
	// Simulated is what the simulation of the plan made of the same transaction.
	Simulated *simulatedTx `json:"simulated,omitempty"`
}

type simulatedTx struct {
	Ruling string `json:"ruling"` // held, denied, alarm, admitted, refused
	Score  uint32 `json:"score"`
}

// begin asks what decides.
func (r *scenarioReport) begin(ctx context.Context, api *client.Client) error {
	q := threatv1.NewQueryClient(api.Conn())
	p, err := q.Params(ctx, &threatv1.ParamsRequest{})
	if err != nil {
		return err
	}
	m, err := q.Models(ctx, &threatv1.ModelsRequest{})
	if err != nil {
		return err
	}
	r.ChainID, r.AlarmScore, r.Detector = api.ChainID(), p.Params.AlarmScore, hex.EncodeToString(m.GetSchedule().GetActive())
	r.api, r.first, r.sim, r.began = api, map[string]time.Time{}, map[int]*seen{}, time.Now()
	switch {
	case r.Detector == "":
		r.say("No model is active: nothing will be held.")
	case p.Params.Mode != threatv1.Mode_MODE_ENFORCE:
		r.say("The sentinel is in %s: nothing will be held.", p.Params.Mode)
	case p.Params.LearningUntil > time.Now().UnixMilli():
		r.say("The sentinel only records its verdicts until %s; make the network with --enforce to see it hold.", time.UnixMilli(p.Params.LearningUntil).UTC().Format(time.DateTime))
	}
	return nil
}

// progress says from time to time how far the replay is.
func (r *scenarioReport) progress(ctx context.Context) {
	t := time.NewTicker(saidEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			r.mu.Lock()
			harmful := 0
			for _, s := range r.seen {
				if s.Harmful {
					harmful++
				}
			}
			r.say("%8.1f s  %d transactions so far, %d of them harmful, %d flagged.", time.Since(r.began).Seconds(), len(r.seen), harmful, len(r.Flagged))
			r.mu.Unlock()
		}
	}
}

// add takes a reply, and says so when it was held, denied or an alarm.
func (r *scenarioReport) add(ctx context.Context, reply *scenarios.Reply) {
	s := &seen{
		Action: reply.Action, number: reply.Number, result: reply.Result, void: reply.Void, err: reply.Err,
		after: reply.Began.Add(reply.Took).Sub(r.began), began: reply.Began,
	}
	r.mu.Lock()
	refused := rulingOf(s, r.AlarmScore) == "refused" && !slices.ContainsFunc(r.seen, func(x *seen) bool { return rulingOf(x, r.AlarmScore) == "refused" })
	r.seen = append(r.seen, s)
	begins := false
	if first, known := r.first[s.Campaign]; s.Attack != scenarios.None && (!known || s.began.Before(first)) {
		r.first[s.Campaign], begins = s.began, !known
	}
	afterFirst := time.Duration(0)
	if s.Campaign != "" {
		afterFirst = s.began.Add(reply.Took).Sub(r.first[s.Campaign])
	}
	s.reason = r.flag(s)
	told, kept := 0, false
	if s.reason != nil {
		s.reason.Height, s.reason.TxID = s.result.Height, hex.EncodeToString(s.result.TxId)
		s.reason.After, s.reason.AfterFirst = s.after, afterFirst
		for _, f := range r.Flagged {
			if f.Campaign == s.Campaign {
				told++
				kept = kept || f.Ruling != "alarm"
			}
		}
		r.Flagged = append(r.Flagged, s.reason)
	}
	r.mu.Unlock()
	if begins {
		r.say("%8.1f s  %s begins: %s by %s", s.after.Seconds(), s.Campaign, short(s.Messages[0]), s.Author)
	}
	if refused {
		r.say("%8.1f s  the first that is refused: %s by %s: %v", s.after.Seconds(), short(s.Messages[0]), s.Author, s.err)
	}
	if s.reason == nil {
		return
	}
	explained := told < toldEach || s.kept() && !kept
	if !explained && told != toldEach {
		return
	}
	if !explained {
		r.say("%8.1f s  More of %s is flagged; the report has it.", s.after.Seconds(), cmp.Or(s.Campaign, "normal life"))
		return
	}
	what := "normal life"
	switch {
	case s.Attack != scenarios.None && s.Harmful:
		what = s.Campaign + ", harmful"
	case s.Attack != scenarios.None:
		what = s.Campaign + ", prepares or covers"
	case s.Campaign != "":
		what = "defenders after " + s.Campaign
	}
	r.say("%8.1f s  %-6s at height %d with score %d: %s by %s (%s)", s.after.Seconds(), s.reason.Ruling, s.reason.Height, s.reason.Score, s.reason.Message, s.Author, what)
	r.explain(ctx, s)
	for _, reason := range s.reason.Reasons {
		r.say("              %s", reason)
	}
}

// flag is the record of a transaction that was held, denied or an alarm; nil of others.
func (r *scenarioReport) flag(s *seen) *flaggedTx {
	ruling := rulingOf(s, r.AlarmScore)
	if ruling != "held" && ruling != "denied" && ruling != "alarm" {
		return nil
	}
	f := &flaggedTx{
		Author: s.Author, Message: short(s.Messages[0]), Campaign: s.Campaign, Harmful: s.Harmful, Ruling: ruling, Score: s.result.Verdict.Score,
	}
	for _, d := range s.result.Verdict.Drivers {
		f.Reasons = append(f.Reasons, fmt.Sprintf("%s (%d of 10000)", scenarios.Reason(d), d.Points))
	}
	return f
}

func rulingOf(s *seen, alarm uint32) string {
	switch {
	case s.void:
		return "left out"
	case s.result == nil:
		return "refused"
	case s.kept() && s.result.Verdict.Ruling == chainv1.Ruling_RULING_DENY:
		return "denied"
	case s.kept():
		return "held"
	case s.result.Verdict != nil && s.result.Verdict.Score >= alarm:
		return "alarm"
	}
	return "admitted"
}

// short is a message's name without what all have in common.
func short(m proto.Message) string {
	p := strings.Split(string(m.ProtoReflect().Descriptor().FullName()), ".")
	if len(p) == 4 {
		return p[1] + "." + p[3]
	}
	return strings.Join(p, ".")
}

// explain asks the network for the reasons in plain words. A node that cannot say leaves
// their names.
func (r *scenarioReport) explain(ctx context.Context, s *seen) {
	x, err := r.api.Explain(ctx, s.result.TxId)
	if err != nil {
		r.say("              it is not explained: %v", err)
		return
	}
	var list []string
	for _, reason := range x.Reasons {
		text := reason.Sentence
		if reason.Value != "" {
			text += "; here: " + reason.Value
		}
		list = append(list, text)
	}
	for _, rule := range x.Rules {
		list = append(list, "the rule "+rule.Name+": "+rule.Reason)
	}
	if len(list) > 0 {
		s.reason.Reasons = list
	}
	for _, p := range x.Paragraphs {
		if why, ok := strings.CutPrefix(p, "Why. "); ok {
			s.reason.Why = why
		}
	}
}

// explainFirst explains the first of each campaign in the order of the blocks, which need
// not be the first that was answered.
func (r *scenarioReport) explainFirst(ctx context.Context) {
	for _, s := range r.seen {
		if s.reason != nil && s.reason.Why == "" && slices.ContainsFunc(r.Campaigns, func(c *campaignReport) bool { return s.reason == c.First || s.reason == c.FirstKept }) {
			r.explain(ctx, s)
		}
	}
}

// end sorts what was seen as the blocks have it.
func (r *scenarioReport) end() {
	r.Took = time.Since(r.began)
	slices.SortStableFunc(r.seen, func(a, b *seen) int {
		return cmp.Or(cmp.Compare(a.result.GetHeight(), b.result.GetHeight()), cmp.Compare(a.result.GetIndex(), b.result.GetIndex()))
	})
	slices.SortStableFunc(r.Flagged, func(a, b *flaggedTx) int { return cmp.Compare(a.Height, b.Height) })
	r.sum()
}

// simulated takes what the simulation made of an action, in its order.
func (r *scenarioReport) simulated(s *seen) { r.sim[s.number] = s }

// sum counts what was seen.
func (r *scenarioReport) sum() {
	r.Normal, r.Campaigns = compared{}, nil
	name := map[string]*campaignReport{}
	of := func(s *seen) *campaignReport {
		c := name[s.Campaign]
		if c == nil {
			c = &campaignReport{Name: s.Campaign}
			name[s.Campaign] = c
			r.Campaigns = append(r.Campaigns, c)
		}
		return c
	}
	for _, s := range r.seen {
		if s.Attack == scenarios.None {
			r.Normal.Network.add(s, r.AlarmScore)
		} else {
			c := of(s)
			c.All.Network.add(s, r.AlarmScore)
			if s.Harmful {
				c.Harmful.Network.add(s, r.AlarmScore)
			}
			executed := s.Harmful && s.result != nil && s.result.Code == 0
			if c.First == nil {
				if c.First = s.reason; s.reason == nil && executed {
					c.Before++
				}
			}
			if c.FirstKept == nil {
				if s.kept() {
					c.FirstKept = s.reason
				} else if executed {
					c.BeforeKept++
				}
			}
		}
		if twin := r.sim[s.number]; s.reason != nil && twin != nil {
			s.reason.Simulated = &simulatedTx{Ruling: rulingOf(twin, r.AlarmScore), Score: twin.result.GetVerdict().GetScore()}
		}
	}
	if len(r.sim) == 0 {
		return
	}
	var numbers []int
	for n := range r.sim {
		numbers = append(numbers, n)
	}
	slices.Sort(numbers)
	r.Normal.Simulated = new(tally)
	for _, n := range numbers {
		s := r.sim[n]
		if s.Attack == scenarios.None {
			r.Normal.Simulated.add(s, r.AlarmScore)
			continue
		}
		c := of(s)
		if c.All.Simulated == nil {
			c.All.Simulated, c.Harmful.Simulated = new(tally), new(tally)
		}
		c.All.Simulated.add(s, r.AlarmScore)
		if s.Harmful {
			c.Harmful.Simulated.add(s, r.AlarmScore)
		}
		if c.FirstSimulated == nil {
			if c.FirstSimulated = r.flag(s); c.FirstSimulated == nil && s.Harmful && s.result != nil && s.result.Code == 0 {
				c.BeforeSimulated++
			}
		}
	}
}

// tell writes the report for people.
func (r *scenarioReport) tell() {
	r.say("")
	r.say("Normal life: %s.", r.Normal.Network)
	if t := r.Normal.Simulated; t != nil {
		r.say("  In the simulation: %s.", *t)
	}
	for _, c := range r.Campaigns {
		r.say("%s: %s; of those, harmful: %s.", c.Name, c.All.Network, c.Harmful.Network)
		r.say("  %s", firstSaid(c.First, c.Before))
		for _, f := range []*flaggedTx{c.First, c.FirstKept} {
			if f == nil {
				continue
			}
			if f != c.First {
				r.say("  %s", firstSaid(f, c.BeforeKept))
			}
			for _, reason := range f.Reasons {
				r.say("    %s", reason)
			}
			r.say("    chancery threat explain %s", f.TxID)
			if c.First == c.FirstKept {
				break
			}
		}
		if c.Harmful.Simulated != nil {
			r.say("  In the simulation, harmful: %s. %s", *c.Harmful.Simulated, firstSaid(c.FirstSimulated, c.BeforeSimulated))
		}
	}
	if r.BreakerOpen {
		r.say("The breaker was open at the end: so much was flagged that nothing was held any more.")
	}
	if a := r.Agreement; a != nil {
		r.say("%d blocks with %d results and %d held transactions, the same on %d validators; %d receipts verify.", a.Blocks, a.Results, a.Holds, a.Validators, a.Receipts)
	}
	r.say("Took %s.", r.Took.Round(100*time.Millisecond))
}

func firstSaid(f *flaggedTx, before int) string {
	if f == nil {
		return fmt.Sprintf("Nothing of it was held, denied or an alarm; %d harmful ones were executed.", before)
	}
	when := ""
	if f.Height > 0 {
		when = fmt.Sprintf(", %.1f s after its first transaction, at height %d", f.AfterFirst.Seconds(), f.Height)
	}
	return fmt.Sprintf("First %s with score %d: %s%s, after %d harmful ones.", f.Ruling, f.Score, f.Message, when, before)
}
