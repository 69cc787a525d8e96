//go:build unix

package testnet

import (
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/chancery/chancery/chain/tx"
	"github.com/chancery/chancery/node/client"
	chainv1 "github.com/chancery/chancery/proto/chancery/chain/v1"
	"github.com/chancery/chancery/testnet/scenarios"
)

func (c *commands) scenario() *cobra.Command {
	o := scenarios.Options{Campaigns: 1}
	var attack string
	var speed float64
	cmd := &cobra.Command{
		Use:   "scenario",
		Short: "Submit a consortium's life with an attack in it, and report what was held",
		Long: `Submit the made-up life of a consortium to the network, with one attack, in
compressed time: the first members' registrars register people, services and devices,
their organisations set rules, and then everybody goes about their work. The report says
which transactions of the attack, and which of normal life, were held or denied, when,
and with which reasons.

The network's clock is not compressed: what the sentinel makes of the hour of the day is
of no account here. 'chancery model simulate' runs the same in virtual time.`,
		Example: `  chancery testnet scenario --dir T --attack bulk-exfiltration
  chancery testnet scenario --dir T --attack burst --seed 4 --speed 2000 --output json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var err error
			if o.Attacks, err = scenarios.ParseKinds(attack); err != nil {
				return usagef("--attack: %v", err)
			}
			if speed < 1 {
				return usagef("--speed is %v, want at least 1", speed)
			}
			if o.Days < 2 || o.Days > 7 {
				return usagef("--days %d: want 2 to 7", o.Days)
			}
			return c.replay(cmd, o, speed)
		},
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.StringVar(&attack, "attack", scenarios.BulkExfiltration.String(), "kind of attack; several with commas between them, all, or none")
	f.Uint64Var(&o.Seed, "seed", 1, "what the plan follows from; another seed has other people, so a network can have several")
	f.IntVar(&o.Days, "days", 3, "days of life, 2 to 7; the attack comes after the first quarter")
	f.Float64Var(&speed, "speed", 1000, "how many seconds of the plan pass in one second")
	f.Float64Var(&o.Life, "life", 0.5, "how much everybody does")
	f.Float64Var(&o.Force, "force", 1, "how much the attack does")
	return cmd
}

func (c *commands) replay(cmd *cobra.Command, o scenarios.Options, speed float64) error {
	ctx := cmd.Context()
	say := talker(cmd, jsonWanted(cmd))
	n, err := c.network()
	if err != nil {
		return err
	}
	r, err := Load(n.Dir)
	if err != nil {
		return err
	}
	signers := map[string]tx.Signer{}
	if o.Sites, err = n.sites(r, signers); err != nil {
		return err
	}
	// Everything that the plan says of the past is past by the network's clock too.
	o.ChainID = r.ChainID
	o.Start = time.Now().Add(-time.Duration(o.Days) * 24 * time.Hour).UnixMilli()
	p, err := scenarios.New(o)
	if err != nil {
		return err
	}
	options, err := n.Dir.Credentials(r, r.Validators[0]).Options()
	if err != nil {
		return err
	}
	api, err := client.Dial(ctx, r.Addresses(), append(options, client.ChainID(r.ChainID), client.UserAgent("chancery-testnet"))...)
	if err != nil {
		return err
	}
	defer api.Close()
	say("%d days of %d organisations at %.0f seconds a second, about %s.", o.Days, len(o.Sites), speed,
		time.Duration(float64(o.Days)*24*float64(time.Hour)/speed).Round(time.Second))
	report := &scenarioReport{Seed: o.Seed, Speed: speed}
	began := time.Now()
	err = scenarios.Replay(ctx, api, p, scenarios.ReplayOptions{
		Speed: speed, Signer: func(url string) (tx.Signer, bool) { s, ok := signers[url]; return s, ok },
		Done: func(reply *scenarios.Reply) { report.add(reply, time.Since(began), say) },
	})
	report.Took = time.Since(began)
	if jsonWanted(cmd) {
		if written := writeJSON(cmd.OutOrStdout(), report); err == nil {
			err = written
		}
		return err
	}
	report.tell(say)
	return err
}

// sites are the members with their keys, and puts those keys' signers by DID URL.
func (n *Network) sites(r *Record, signers map[string]tx.Signer) ([]scenarios.Site, error) {
	if len(r.Validators) < 4 || len(r.Validators) > 7 {
		return nil, usagef("a scenario is for networks of 4 to 7 validators; this one has %d", len(r.Validators))
	}
	var out []scenarios.Site
	for i, v := range r.Validators {
		ring, err := OpenKeyring(n.Dir, n.Dir.Home(v))
		if err != nil {
			return nil, err
		}
		holder := func(name string) (scenarios.Holder, error) {
			entry, err := ring.Lookup(name)
			if err != nil {
				return scenarios.Holder{}, err
			}
			signer, err := ring.Signer(name)
			if err != nil {
				return scenarios.Holder{}, err
			}
			signers[entry.KeyURL] = client.Signer(entry.KeyURL, signer)
			return scenarios.Holder{DID: entry.DID, Key: entry.KeyURL}, nil
		}
		s := scenarios.Site{Organisation: v.Organisation, Needed: int(administratorsNeeded(i))}
		for k := range s.Needed {
			h, err := holder(fmt.Sprintf("admin-%d", k+1))
			if err != nil {
				return nil, err
			}
			s.Administrators = append(s.Administrators, h)
		}
		if s.Registrar, err = holder("registrar"); err != nil {
			return nil, err
		}
		out = append(out, s)
	}
	return out, nil
}

// scenarioReport is what 'scenario' writes.
type scenarioReport struct {
	Seed   uint64        `json:"seed"`
	Speed  float64       `json:"speed"`
	Took   time.Duration `json:"took_ns"`
	Normal tally         `json:"normal"`
	// Campaigns in order of their first transaction.
	Campaigns []*campaignReport `json:"campaigns"`
	// Kept are the transactions that were held or denied, in order.
	Kept []keptTx `json:"kept"`
}

// tally counts transactions by what became of them.
type tally struct {
	Transactions int `json:"transactions"`
	Held         int `json:"held"`
	Denied       int `json:"denied"`
	Failed       int `json:"failed"`
	Refused      int `json:"refused"`
}

type campaignReport struct {
	Name string `json:"name"`
	tally
	Harmful int `json:"harmful"`
	// Before is how many harmful transactions were executed before the first of the
	// campaign was held or denied; all of them when none was.
	Before int  `json:"executed_before_first_kept"`
	Caught bool `json:"caught"`
}

type keptTx struct {
	Height   int64         `json:"height"`
	After    time.Duration `json:"after_ns"`
	TxID     string        `json:"tx_id"`
	Author   string        `json:"author"`
	Message  string        `json:"message"`
	Campaign string        `json:"campaign,omitempty"`
	Harmful  bool          `json:"harmful,omitempty"`
	Ruling   string        `json:"ruling"`
	Score    uint32        `json:"score"`
	Reasons  []string      `json:"reasons"`
}

func (t *tally) add(r *scenarios.Reply) {
	t.Transactions++
	switch {
	case r.Result == nil:
		t.Refused++
	case r.Result.Verdict.GetRuling() == chainv1.Ruling_RULING_HOLD:
		t.Held++
	case r.Result.Verdict.GetRuling() == chainv1.Ruling_RULING_DENY:
		t.Denied++
	case r.Result.Code != 0:
		t.Failed++
	}
}

// add counts a reply, and says so when it was held or denied.
func (s *scenarioReport) add(r *scenarios.Reply, after time.Duration, say func(string, ...any)) {
	kept := r.Result != nil && r.Result.Verdict.GetRuling() > chainv1.Ruling_RULING_ADMIT
	if r.Attack == scenarios.None {
		s.Normal.add(r)
	} else {
		i := slices.IndexFunc(s.Campaigns, func(c *campaignReport) bool { return c.Name == r.Campaign })
		if i < 0 {
			i = len(s.Campaigns)
			s.Campaigns = append(s.Campaigns, &campaignReport{Name: r.Campaign})
			say("%8.1f s  %s begins.", after.Seconds(), r.Campaign)
		}
		c := s.Campaigns[i]
		c.add(r)
		if c.Caught = c.Caught || kept; r.Harmful {
			c.Harmful++
			if !c.Caught && r.Result != nil && r.Result.Code == 0 {
				c.Before++
			}
		}
	}
	if !kept {
		return
	}
	v := r.Result.Verdict
	k := keptTx{
		Height: r.Result.Height, After: after, TxID: fmt.Sprintf("%x", r.Result.TxId), Author: r.Author, Campaign: r.Campaign, Harmful: r.Harmful,
		Message: string(r.Messages[0].ProtoReflect().Descriptor().FullName()), Ruling: ruling(v.Ruling), Score: v.Score,
	}
	for _, d := range v.Drivers {
		k.Reasons = append(k.Reasons, fmt.Sprintf("%s (%d points)", scenarios.Reason(d), d.Points))
	}
	s.Kept = append(s.Kept, k)
	what := "normal life"
	if k.Campaign != "" {
		what = k.Campaign
	}
	say("%8.1f s  %s at height %d, score %d: %s of %s (%s)", after.Seconds(), k.Ruling, k.Height, k.Score, k.Message, k.Author, what)
	for _, reason := range k.Reasons {
		say("              %s", reason)
	}
}

func ruling(r chainv1.Ruling) string {
	if r == chainv1.Ruling_RULING_DENY {
		return "denied"
	}
	return "held"
}

func (s *scenarioReport) tell(say func(string, ...any)) {
	t := s.Normal
	say("Normal life: %d transactions, %d held, %d denied, %d failed, %d refused.", t.Transactions, t.Held, t.Denied, t.Failed, t.Refused)
	for _, c := range s.Campaigns {
		say("%s: %d transactions, %d of them harmful; %d held, %d denied, %d failed, %d refused.", c.Name, c.Transactions, c.Harmful, c.Held, c.Denied, c.Failed, c.Refused)
		if c.Caught {
			say("  %d harmful ones were executed before the first was held or denied.", c.Before)
		} else {
			say("  Nothing of it was held or denied.")
		}
	}
	say("Took %s.", s.Took.Round(100*time.Millisecond))
}
