package consensus

import (
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/errs"
	"github.com/chancery/chancery/chain/tx"
	chainv1 "github.com/chancery/chancery/proto/chancery/chain/v1"
)

const (
	namespace = "chancery"
	// maxLaneLabels is how many organisations' lanes are measured by name, those with the
	// most bytes first; the others are measured together as otherLanes.
	maxLaneLabels = 64
	otherLanes    = "others"
)

// short are the bounds of what takes microseconds, long of what takes milliseconds, in
// seconds.
var (
	short = []float64{.00001, .000025, .00005, .0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25}
	long  = []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}
)

// Metrics are what is measured of the stages of a transaction: pool, verification,
// checks, scoring, execution, proposals, commit. It is a chain.Observer.
type Metrics struct {
	spans Spans // nil: none

	admitted   *prometheus.CounterVec
	refused    *prometheus.CounterVec
	left       *prometheus.CounterVec
	batches    prometheus.Histogram
	batchSize  prometheus.Histogram
	waited     *prometheus.HistogramVec
	verifying  prometheus.Histogram
	verified   prometheus.Counter
	checking   prometheus.Histogram
	scoring    *prometheus.HistogramVec
	executing  prometheus.Histogram
	preparing  prometheus.Histogram
	processing prometheus.Histogram
	proposed   prometheus.Histogram
	proposals  *prometheus.CounterVec
	rejected   *prometheus.CounterVec
	finalizing prometheus.Histogram
	finalized  *prometheus.CounterVec
	foreseen   *prometheus.CounterVec
	committing *prometheus.HistogramVec
	txs        *prometheus.CounterVec
	failures   *prometheus.CounterVec
	bytes      prometheus.Counter
	events     *prometheus.CounterVec
	missed     prometheus.Counter
	evidence   prometheus.Counter

	// Of the latest commit: when it was, Unix nanoseconds, and its height.
	committedAt, committedHeight atomic.Int64
}

var _ chain.Observer = (*Metrics)(nil)

// Spans is told of what happened to a transaction, for traces. It never waits. The
// methods are called only for transactions that Sampled picks.
type Spans interface {
	// Sampled tells whether a transaction is traced; it is asked for each.
	Sampled(id tx.ID) bool
	// Span tells of a stage. origin says that the transaction was submitted to this node.
	Span(id tx.ID, name string, from, to time.Time, origin bool)
}

// NewMetrics makes the measurements; they are nowhere until Register. spans may be nil.
func NewMetrics(spans Spans) *Metrics {
	counter := func(subsystem, name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: namespace, Subsystem: subsystem, Name: name, Help: help}, labels)
	}
	one := func(subsystem, name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Namespace: namespace, Subsystem: subsystem, Name: name, Help: help})
	}
	options := func(subsystem, name, help string, buckets []float64) prometheus.HistogramOpts {
		return prometheus.HistogramOpts{Namespace: namespace, Subsystem: subsystem, Name: name, Help: help, Buckets: buckets}
	}
	histogram := func(subsystem, name, help string, buckets []float64) prometheus.Histogram {
		return prometheus.NewHistogram(options(subsystem, name, help, buckets))
	}
	histograms := func(subsystem, name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
		return prometheus.NewHistogramVec(options(subsystem, name, help, buckets), labels)
	}
	sizes := prometheus.ExponentialBuckets(1, 4, 8)
	return &Metrics{
		spans:      spans,
		admitted:   counter("pool", "admitted_total", "Transactions that entered the pool, by where they came from: client or peer.", "source"),
		refused:    counter("pool", "refused_total", "Transactions that were refused at admission, by source and code.", "source", "code"),
		left:       counter("pool", "removed_total", "Transactions that left the pool, by why: committed, expired, or refused when a block was built.", "reason"),
		batches:    histogram("pool", "admission_seconds", "How long the admission of a batch took: signatures, checks, scores.", long),
		batchSize:  histogram("pool", "admission_batch_transactions", "How many transactions were admitted together.", sizes),
		waited:     histograms("pool", "wait_seconds", "From admission here to the commit, by source.", long, "source"),
		verifying:  histogram("verification", "batch_seconds", "How long a batch of signatures took; what was verified before is not verified again.", short),
		verified:   one("verification", "transactions_total", "Transactions whose signatures were looked at."),
		checking:   histogram("check", "seconds", "How long the modules' checks of a transaction took at admission.", short),
		scoring:    histograms("scoring", "seconds", "How long the verdict on a transaction took, by phase: admission or block.", short, "phase"),
		executing:  histogram("execution", "seconds", "How long a transaction took to execute, or to be kept where it is held or denied.", short),
		preparing:  histogram("proposal", "prepare_seconds", "How long building a proposal took, without the wait for a first transaction.", long),
		processing: histogram("proposal", "process_seconds", "How long judging another's proposal took.", long),
		proposed:   histogram("proposal", "transactions", "Transactions in the proposals that this node built.", sizes),
		proposals:  counter("proposal", "proposals_total", "Proposals, by what came of them: prepared here, accepted, refused.", "outcome"),
		rejected:   counter("proposal", "refused_total", "Proposals that this node refused, by the code of the reason.", "code"),
		finalizing: histogram("block", "finalize_seconds", "How long the application of a decided block took.", long),
		finalized:  counter("block", "finalized_total", "Decided blocks, by how they were come by: executed before as a candidate, or executed now.", "source"),
		foreseen:   counter("block", "foreseen_total", "What was found out of transactions of decided blocks ahead of their turn, by what came of it: held (it was still so), anew (a transaction before it had changed what it follows from).", "outcome"),
		committing: histograms("block", "commit_seconds", "How long writing a block took, by part: records (the wait for them), state.", long, "part"),
		txs:        counter("block", "transactions_total", "Committed transactions, by outcome: done, failed, held, denied.", "outcome"),
		failures:   counter("block", "failures_total", "Committed transactions that failed, by code.", "code"),
		bytes:      one("block", "bytes_total", "Bytes of committed transactions."),
		events:     counter("block", "events_total", "Events of committed blocks, by type.", "type"),
		missed:     one("block", "missed_signatures_total", "Commits without the signature of this node's validator while it was one."),
		evidence:   one("block", "misbehaviour_total", "Proofs of validators' misbehaviour in committed blocks, such as two votes of one height."),
	}
}

func (m *Metrics) collectors() []prometheus.Collector {
	return []prometheus.Collector{
		m.admitted, m.refused, m.left, m.batches, m.batchSize, m.waited, m.verifying, m.verified, m.checking, m.scoring, m.executing,
		m.preparing, m.processing, m.proposed, m.proposals, m.rejected, m.finalizing, m.finalized, m.foreseen, m.committing, m.txs, m.failures, m.bytes,
		m.events, m.missed, m.evidence,
	}
}

// Register lets them be gathered.
func (m *Metrics) Register(r prometheus.Registerer) error {
	for _, c := range m.collectors() {
		if err := r.Register(c); err != nil {
			return fmt.Errorf("register the metrics of consensus: %w", err)
		}
	}
	return nil
}

// Mark implements chain.Observer.
func (m *Metrics) Mark() int64 { return time.Now().UnixNano() }

// Spent implements chain.Observer.
func (m *Metrics) Spent(s chain.Stage, mark int64, ds ...*tx.Decoded) {
	end := time.Now().UnixNano()
	took := float64(end-mark) / 1e9
	name := ""
	switch s {
	case chain.StageVerify:
		m.verifying.Observe(took)
		m.verified.Add(float64(len(ds)))
		name = "verify"
	case chain.StageCheck:
		m.checking.Observe(took)
		name = "check"
	case chain.StageHint:
		m.scoring.WithLabelValues("admission").Observe(took)
		name = "score"
	case chain.StageJudge:
		m.scoring.WithLabelValues("block").Observe(took)
		name = "judge"
	case chain.StageExecute:
		m.executing.Observe(took)
		name = "execute"
	}
	if m.spans == nil {
		return
	}
	for _, d := range ds {
		if m.spans.Sampled(d.ID) {
			m.spans.Span(d.ID, name, time.Unix(0, mark), time.Unix(0, end), false)
		}
	}
}

// source is the label of where a transaction came from.
func source(fromPeer bool) string {
	if fromPeer {
		return "peer"
	}
	return "client"
}

// code is the label of an error; what is no client's error has the one of a fault. The
// codes of the program are a fixed set.
func code(err error) string {
	e := errs.As(err)
	return fmt.Sprintf("%s/%d", e.Module, e.Code)
}

// span tells of a stage of one transaction.
func (m *Metrics) span(id tx.ID, name string, from time.Time, origin bool) {
	if m.spans != nil && m.spans.Sampled(id) {
		m.spans.Span(id, name, from, time.Now(), origin)
	}
}

// spanAll tells of a stage of a block for each of its traced transactions. ids yields the
// transactions' ids; it is not asked when nothing is traced.
func (m *Metrics) spanAll(name string, from time.Time, ids func(yield func(tx.ID) bool)) {
	if m.spans == nil {
		return
	}
	to := time.Now()
	for id := range ids {
		if m.spans.Sampled(id) {
			m.spans.Span(id, name, from, to, false)
		}
	}
}

// idsOf are the ids of a block's transactions.
func idsOf(record *chainv1.BlockRecord) func(yield func(tx.ID) bool) {
	return func(yield func(tx.ID) bool) {
		for _, r := range record.Txs {
			if !yield(tx.ID(r.TxId)) {
				return
			}
		}
	}
}

// committed counts what a block brought.
func (m *Metrics) committed(record *chainv1.BlockRecord, size int) {
	m.committedAt.Store(time.Now().UnixNano())
	m.committedHeight.Store(record.Height)
	m.bytes.Add(float64(size))
	for _, e := range record.Events {
		m.events.WithLabelValues(e.Type).Inc()
	}
	for _, r := range record.Txs {
		outcome := "done"
		switch {
		case r.Code == 0:
		case r.Codespace == chain.ErrHeld.Module && r.Code == chain.ErrHeld.Code:
			outcome = "held"
		case r.Codespace == chain.ErrDenied.Module && r.Code == chain.ErrDenied.Code:
			outcome = "denied"
		default:
			outcome = "failed"
			m.failures.WithLabelValues(fmt.Sprintf("%s/%d", r.Codespace, r.Code)).Inc()
		}
		m.txs.WithLabelValues(outcome).Inc()
		for _, e := range r.Events {
			m.events.WithLabelValues(e.Type).Inc()
		}
	}
}

// Committed is the latest block that this process committed and when; 0 before the first.
func (m *Metrics) Committed() (height int64, at time.Time) {
	return m.committedHeight.Load(), time.Unix(0, m.committedAt.Load())
}

// Lane is what one organisation has in the pool.
type Lane struct {
	Organisation string
	Txs, Bytes   int
}

// poolCollector measures a pool when it is asked.
type poolCollector struct {
	p                                           *Pool
	txs, bytes, laneTxs, laneBytes, oldest      *prometheus.Desc
	queued, queuedBytes, capacity, laneCapacity *prometheus.Desc
}

func newPoolCollector(p *Pool) *poolCollector {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(prometheus.BuildFQName(namespace, "pool", name), help, labels, nil)
	}
	return &poolCollector{
		p:            p,
		txs:          desc("transactions", "Transactions that wait for a block."),
		bytes:        desc("bytes", "Their bytes."),
		laneTxs:      desc("lane_transactions", "Transactions that wait, by organisation: of those with the most bytes, and of all others together.", "organisation"),
		laneBytes:    desc("lane_bytes", "Their bytes, by organisation.", "organisation"),
		oldest:       desc("oldest_seconds", "How long the oldest transaction has waited, 0 when none waits."),
		queued:       desc("queue_transactions", "Transactions that wait for their admission."),
		queuedBytes:  desc("queue_peer_bytes", "Bytes of those of them that came from peers."),
		capacity:     desc("capacity_bytes", "Bytes that may wait together: pool.max_bytes."),
		laneCapacity: desc("lane_capacity_bytes", "Bytes of one organisation that may wait: pool.max_organisation_bytes."),
	}
}

// Describe implements prometheus.Collector.
func (c *poolCollector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.txs, c.bytes, c.laneTxs, c.laneBytes, c.oldest, c.queued, c.queuedBytes, c.capacity, c.laneCapacity} {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (c *poolCollector) Collect(out chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	lanes, oldest := c.p.lanesNow()
	txs, bytes := c.p.Size()
	gauge(c.txs, float64(txs))
	gauge(c.bytes, float64(bytes))
	gauge(c.oldest, oldest.Seconds())
	submitted, _ := c.p.intake.size()
	offered, fromPeers := c.p.offered.size()
	gauge(c.queued, float64(submitted+offered))
	gauge(c.queuedBytes, float64(fromPeers))
	gauge(c.capacity, float64(c.p.o.MaxBytes))
	gauge(c.laneCapacity, float64(c.p.o.MaxLaneBytes))
	slices.SortFunc(lanes, func(a, b Lane) int {
		if a.Bytes != b.Bytes {
			return b.Bytes - a.Bytes
		}
		return strings.Compare(a.Organisation, b.Organisation)
	})
	if len(lanes) > maxLaneLabels {
		rest := Lane{Organisation: otherLanes}
		for _, l := range lanes[maxLaneLabels:] {
			rest.Txs, rest.Bytes = rest.Txs+l.Txs, rest.Bytes+l.Bytes
		}
		lanes = append(lanes[:maxLaneLabels:maxLaneLabels], rest)
	}
	for _, l := range lanes {
		gauge(c.laneTxs, float64(l.Txs), l.Organisation)
		gauge(c.laneBytes, float64(l.Bytes), l.Organisation)
	}
}

// lanesNow is what waits of each organisation that has something waiting, and how long
// the oldest of all has waited.
func (p *Pool) lanesNow() (lanes []Lane, oldest time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.now()
	for _, l := range p.order {
		n := 0
		for _, q := range l.queues() {
			if first := q.Front(); first != nil {
				oldest = max(oldest, now.Sub(first.Value.(*waiting).since))
			}
			n += q.Len()
		}
		if n > 0 {
			lanes = append(lanes, Lane{Organisation: l.organisation, Txs: n, Bytes: l.bytes})
		}
	}
	return lanes, oldest
}
