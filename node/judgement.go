package node

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/consensus"
	"github.com/chancery/chancery/node/evidence"
	"github.com/chancery/chancery/node/intel"
	"github.com/chancery/chancery/node/internal/background"
	"github.com/chancery/chancery/node/webhook"
	chainv1 "github.com/chancery/chancery/proto/chancery/chain/v1"
)

// bookLife is how far ahead an opinion may end that this node tells others.
const bookLife = 7 * 24 * time.Hour

// judgement is what this node believes of others, and where it takes that from.
type judgement struct {
	book     *intel.Book
	metrics  *intel.Metrics
	evidence *evidence.Log
	accuser  *accuser
	log      *slog.Logger

	// From openSources on.
	indicators *intel.Indicators
	opinions   *intel.Indicators
	feed       *intel.Feed // nil: none
	observer   *intel.Observer
	arrivals   arrivals
}

// openJudgement opens what this node believes of others, and what it saw of proposals
// that the rules refuse. Neither is optional: a node that forgot would clear those it
// warned of.
func (n *Node) openJudgement(app *chain.App, registry *registry) error {
	dir := n.home.Judgement()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make the folder of the node's own judgement: %w", err)
	}
	j := &judgement{log: n.log.With("part", "intel")}
	var err error
	if j.metrics, err = intel.NewMetrics(registry); err != nil {
		return err
	}
	if j.book, err = intel.Open(filepath.Join(dir, "book.json"), intel.BookOptions{MaxLife: bookLife, Metrics: j.metrics}); err != nil {
		return err
	}
	if j.evidence, err = evidence.Open(filepath.Join(dir, "evidence.jsonl"), n.log); err != nil {
		return err
	}
	j.accuser = &accuser{
		app: app, evidence: j.evidence, book: j.book, powers: guarded{n.modules.Identity}.Powers, log: n.log,
		pending: make(chan consensus.Lie, accuserQueue),
	}
	n.judgement = j
	return nil
}

// openSources makes the sources of opinions. One that cannot be opened costs its
// opinions, and the log says so.
func (n *Node) openSources(address []byte) {
	j, c, app := n.judgement, n.config.Intelligence, n.engine.App()
	now := func() int64 { return app.Head().Time }
	var sinks []intel.Sink
	without := func(what string, err error) {
		j.log.Error("the node goes on without one of its sources of opinions", "source", what, "error", err)
	}
	var err error
	if j.indicators, err = intel.NewIndicators(c.IndicatorsOptions(n.home), j.book, now, n.resolve, j.metrics, j.log); err == nil {
		sinks = append(sinks, j.indicators)
	} else {
		without("indicators", err)
	}
	if j.opinions, err = intel.NewIndicators(c.OpinionsOptions(n.home), j.book, now, nil, j.metrics, j.log); err != nil {
		without("operator", err)
	}
	if c.Adaptive {
		if adaptive, err := intel.NewAdaptive(c.AdaptiveOptions(), j.book, j.metrics, j.log); err == nil {
			sinks = append(sinks, adaptive)
		} else {
			without("adaptive", err)
		}
	}
	if o := c.FeedOptions(); o.Address != "" {
		if j.feed, err = intel.NewFeed(o, string(n.home), app.ChainID(), j.book, j.metrics, j.log); err == nil {
			sinks = append(sinks, j.feed)
		} else {
			without("feed", err)
		}
	}
	j.observer = intel.NewObserver(n.engine.Records(), n.deeds.intel, c.LookBack, j.metrics, j.log, sinks...)
	j.arrivals = arrivals{address: address, book: j.book, dockets: n.engine.Docket}
}

// resolve is an intel.Resolver by the latest state of the chain. Any goroutine may
// call it.
func (n *Node) resolve(kind intel.Kind, value string) []string {
	latest := n.engine.App().Latest()
	switch kind {
	case intel.KindKey:
		return n.modules.Identity.Holders(latest, value)
	case intel.KindNode:
		if organisation, ok := n.modules.Identity.NodeOrganisation(latest, value); ok {
			return []string{organisation}
		}
	}
	return nil
}

// runJudgement runs all of it until ctx ends.
func (n *Node) runJudgement(ctx context.Context) {
	j := n.judgement
	optional := func(what string, run func(context.Context) error) {
		n.group.Go(func() {
			background.Yield()
			if err := run(ctx); err != nil {
				j.log.Error("the node goes on without one of its sources of opinions", "source", what, "error", err)
			}
		})
	}
	n.group.Go(func() { j.evidence.Run(ctx) })
	n.group.Go(func() { j.accuser.run(ctx) })
	n.group.Go(func() {
		if err := j.book.Run(ctx); err != nil {
			n.fail(fmt.Errorf("keep what this node believes of others: %w", err))
		}
	})
	n.group.Go(func() { j.arrivals.follow(ctx, n.engine.Records().Head(), n.engine.Records().Wait) })
	if j.indicators != nil {
		optional("indicators", j.indicators.Run)
	}
	if j.opinions != nil {
		optional("operator", j.opinions.Run)
	}
	if j.feed != nil {
		optional("feed", j.feed.Run)
	}
	optional("observer", j.observer.Run)
}

// arrivals watches whether what this node said with its votes got into the next block.
type arrivals struct {
	address []byte // of the node's validator
	book    interface{ Missed(height int64) }
	dockets func(height int64) (*chainv1.Docket, bool)
}

// follow looks at each block from a height on, as the node commits it.
func (a arrivals) follow(ctx context.Context, from int64, wait func(context.Context, int64) error) {
	for height := max(from, 2); ; height++ {
		if wait(ctx, height) != nil {
			return // the node is being stopped
		}
		a.look(height)
	}
}

// look tells the book where the docket of a block lacks this node's extension of the
// block before.
func (a arrivals) look(height int64) {
	docket, ok := a.dockets(height)
	if !ok {
		return // the block was not made here, and is not kept
	}
	for _, v := range docket.Votes {
		if string(v.Validator) == string(a.address) {
			return
		}
	}
	a.book.Missed(height - 1)
}

// openWebhooks makes the dispatcher, where an endpoint is configured. A secret that
// cannot be read stops the node: events that nobody can check would be lost unseen.
func (n *Node) openWebhooks(version string, registry *registry) (err error) {
	options := n.config.Endpoints()
	if len(options.Endpoints) == 0 {
		return nil
	}
	n.webhooks, err = webhook.New(options, webhook.Deps{
		Home: string(n.home), Data: n.home.Webhooks(), ChainID: n.engine.App().ChainID(),
		Blocks: n.engine.Records(), DefaultTypes: attention, Version: version, Metrics: registry, Log: n.log.With("part", "webhook"),
	})
	if err != nil {
		return fmt.Errorf("webhook: %w", err)
	}
	return nil
}

// attention are the events that want somebody's attention: the webhooks' that name none.
var attention = []string{
	"chancery.access.v1.Alert",
	"chancery.access.v1.GlassBroken",
	"chancery.governance.v1.Misbehaved",
	"chancery.identity.v1.RecoveryRequested",
	"chancery.identity.v1.Suspended",
	"chancery.threat.v1.Alarm",
	"chancery.threat.v1.Appealed",
	"chancery.threat.v1.BreakerOpened",
	"chancery.threat.v1.ModelAbsent",
	"chancery.threat.v1.ProposerAccused",
	"chancery.threat.v1.Responded",
	"chancery.threat.v1.RiskChanged",
	"chancery.threat.v1.TxDenied",
	"chancery.threat.v1.TxHeld",
}
