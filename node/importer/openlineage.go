package importer

import (
	"crypto/sha256"
	"regexp"
	"slices"
	"strings"
	"time"

	pb "github.com/chancery/chancery/proto/chancery/provenance/v1"
)

// lineage is the vocabulary of OpenLineage; its types are those of the
// specification's definitions.
const (
	lineage     = "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/"
	lineageRun  = lineage + "Run"
	lineageJob  = lineage + "Job"
	lineageData = lineage + "Dataset"
)

// lineageReader reads OpenLineage events.
type lineageReader struct {
	*ledger
	secrets
	o        Options
	raw      []byte
	graph    *graph
	sealed   []byte // commitment to the document
	producer *pb.Ref
	event    *pb.Ref
	zone     bool // a zone was assumed
}

// element is a run, job or dataset.
type element struct {
	kind string // run, job or dataset
	ref  *pb.Ref
	role string // input, output or empty
}

// OpenLineage maps an OpenLineage RunEvent, JobEvent or DatasetEvent, an array of
// them, or an object of facets alone, which become those of a run, job or dataset
// named after the document.
func OpenLineage(raw []byte, o Options) (*Result, error) {
	root, err := parse(raw)
	if err != nil {
		return nil, err
	}
	if err := o.check(); err != nil {
		return nil, err
	}
	l := &lineageReader{
		ledger: newLedger(raw, "openlineage"), secrets: secrets{o.Salts, o.Organisation},
		o: o, raw: raw, graph: newGraph(o.Chain),
	}
	if l.sealed, err = l.seal("document", raw); err != nil {
		return nil, err
	}
	events := []*value{root}
	if root.is(array) && len(root.items) > 0 {
		events = root.items
	}
	for _, e := range events {
		if err := l.document(e); err != nil {
			return nil, err
		}
	}
	return l.result.with(root, l.ledger, l.graph, nil)
}

func (l *lineageReader) document(e *value) error {
	switch {
	case !e.is(object):
		return refuseAs(ErrKind, e, "an event is an object")
	case e.at("eventTime") == nil && e.at("producer") == nil && e.at("run") == nil && e.at("job") == nil && e.at("dataset") == nil:
		return l.fragment(e)
	}
	return l.eventOf(e)
}

// eventOf maps one event.
func (l *lineageReader) eventOf(e *value) error {
	for _, name := range []string{"eventTime", "producer", "schemaURL"} {
		if !e.at(name).is(text) {
			return refuse(first(e.at(name), e), "%s must be a string", name)
		}
	}
	at, err := l.moment(e.at("eventTime"))
	if err != nil {
		return err
	}
	kind := ""
	switch {
	case e.at("run") != nil && e.at("job") != nil:
		kind = "RunEvent"
	case e.at("run") != nil:
		return refuse(e, "a run without a job: job is missing")
	case e.at("job") != nil && e.at("dataset") == nil:
		kind = "JobEvent"
	case e.at("dataset") != nil && e.at("job") == nil:
		kind = "DatasetEvent"
	default:
		return refuse(e, "an event has run and job, job alone, or dataset alone")
	}
	if err := l.begin(e, kind, at); err != nil {
		return err
	}
	switch kind {
	case "RunEvent":
		return l.runEvent(e, at)
	case "JobEvent":
		return l.jobEvent(e)
	default:
		d, err := l.dataset(e.at("dataset"), "", nil)
		if err != nil {
			return err
		}
		return l.facets(e.at("dataset", "facets"), element{"dataset", d, ""}, nil)
	}
}

// bundle registers the entity that stands for an event or fragment.
func (l *lineageReader) bundle(e *value, kind string) *pb.Entity {
	ev := &pb.Entity{
		MediaType: "application/json", Types: []string{lineage + kind, provBundle},
		Attributes: []*pb.Attribute{hexAttribute(vocabulary+"commitment", l.sealed)},
	}
	if e.parent == nil {
		ev.Size = uint64(len(l.raw))
	}
	if e.parent == nil && l.o.PublishHash {
		sum := sha256.Sum256(l.raw)
		ev.Hashes = [][]byte{append([]byte{0x12, sha256.Size}, sum[:]...)} // multihash: sha2-256
	}
	id := localID("event", personID(l.sealed)) + suffix(e)
	var present bool
	if l.event, present = l.graph.document(id, ev); present {
		l.result.Present = append(l.result.Present, id)
	}
	return ev
}

// begin registers the event itself and its producer.
func (l *lineageReader) begin(e *value, kind string, at int64) error {
	ev := l.bundle(e, kind)
	ev.GeneratedAt = at
	if schema := e.at("schemaURL"); isIRI(schema.str()) {
		ev.Attributes = append(ev.Attributes, iriAttribute(vocabulary+"schema", schema.str()))
		l.to(schema, record, "event.attributes")
	}
	if t := e.at("eventType"); isCode(t.str()) {
		ev.Attributes = append(ev.Attributes, codeAttribute(lineage+"eventType", t.str()))
		l.to(t, record, "event.attributes")
	}
	l.to(e.at("eventTime"), record, "event.generated_at")
	producer := e.at("producer")
	a := &pb.Agent{Kind: pb.AgentKind_AGENT_KIND_SOFTWARE}
	if isIRI(producer.str()) {
		a.Iri = producer.str()
	}
	id, err := l.name("producer", producer.str())
	if err != nil {
		return err
	}
	l.producer = l.graph.agent(id, a)
	l.to(producer, record, "agent (producer)")
	l.graph.link(pb.RelationKind_RELATION_KIND_ATTRIBUTION, l.event, l.producer)
	return nil
}

// name is localID, or by a salted commitment where names are to be hidden or a part
// looks like an address of a person.
func (l *lineageReader) name(what string, parts ...string) (string, error) {
	hide := l.o.HideNames && what != "producer"
	if !hide && !slices.ContainsFunc(parts, address.MatchString) {
		return localID(what, parts...), nil
	}
	c, err := l.commit(localID(what, parts...))
	return what + "!" + personID(c), err
}

func (l *lineageReader) runEvent(e *value, at int64) error {
	run, job := e.at("run"), e.at("job")
	id := run.at("runId")
	if !uuid.MatchString(id.str()) {
		return refuse(first(id, run), "runId must be a UUID")
	}
	plan, err := l.job(job)
	if err != nil {
		return err
	}
	outcome, final := pb.Outcome_OUTCOME_UNSPECIFIED, true
	a := &pb.Activity{Types: []string{lineageRun}}
	switch t := e.at("eventType"); t.str() {
	case "START":
		a.StartedAt, final = at, false
	case "COMPLETE":
		outcome = pb.Outcome_OUTCOME_COMPLETED
	case "FAIL":
		outcome = pb.Outcome_OUTCOME_FAILED
	case "ABORT":
		outcome = pb.Outcome_OUTCOME_ABORTED
	case "RUNNING", "OTHER":
		final = false
	default:
		if t != nil {
			return refuse(t, "eventType must be one of START, RUNNING, COMPLETE, ABORT, FAIL, OTHER")
		}
		final = false
	}
	runID := localID("run", strings.ToLower(id.str()))
	if l.graph.node(runID) == nil && final {
		a.EndedAt, a.Outcome = at, outcome
	}
	activity := l.graph.activity(runID, a)
	l.to(id, record, "activity.id")
	when := e.at("eventTime")
	switch {
	case e.at("eventType").str() == "START":
		l.graph.relate(&pb.Relation{Kind: pb.RelationKind_RELATION_KIND_START, Subject: activity, HappenedAt: at})
		l.to(when, record, "activity.started_at, relation START")
	case final:
		l.graph.relate(&pb.Relation{Kind: pb.RelationKind_RELATION_KIND_END, Subject: activity, HappenedAt: at})
		l.to(when, record, "activity.ended_at, relation END")
		if !l.graph.end(runID, at, outcome) {
			l.note(when, remarkEnd)
		}
	}
	l.graph.relate(&pb.Relation{Kind: pb.RelationKind_RELATION_KIND_ASSOCIATION, Subject: activity, Object: l.producer, Plan: plan})
	l.graph.link(pb.RelationKind_RELATION_KIND_INFLUENCE, l.event, activity)
	here := &around{run: activity, runID: runID, plan: plan}
	if err := l.facets(run.at("facets"), element{"run", activity, ""}, here); err != nil {
		return err
	}
	if err := l.facets(job.at("facets"), element{"job", plan, ""}, here); err != nil {
		return err
	}
	if err := l.inputs(e, here); err != nil {
		return err
	}
	return l.outputs(e, here)
}

// around is the run or job that facets are about.
type around struct {
	run    *pb.Ref // nil in a JobEvent
	runID  string
	plan   *pb.Ref
	inputs map[string]*pb.Ref // the version that was read, by id of dataset
}

func (l *lineageReader) inputs(e *value, here *around) error {
	here.inputs = map[string]*pb.Ref{}
	if in := e.at("inputs"); in != nil && !in.is(array) {
		return refuse(in, "inputs must be an array")
	}
	for _, v := range e.at("inputs").list() {
		d, err := l.dataset(v, here.runID, nil)
		if err != nil {
			return err
		}
		here.inputs[d.Id] = d
		if here.run != nil {
			l.graph.link(pb.RelationKind_RELATION_KIND_USAGE, here.run, d)
		} else {
			l.graph.link(pb.RelationKind_RELATION_KIND_INFLUENCE, here.plan, d)
		}
		for _, name := range []string{"facets", "inputFacets"} {
			if err := l.facets(v.at(name), element{"dataset", d, "input"}, here); err != nil {
				return err
			}
		}
	}
	return nil
}

func (l *lineageReader) outputs(e *value, here *around) error {
	if out := e.at("outputs"); out != nil && !out.is(array) {
		return refuse(out, "outputs must be an array")
	}
	if len(e.at("outputs").list()) > 0 {
		l.graph.next()
	}
	for _, v := range e.at("outputs").list() {
		d, err := l.dataset(v, here.runID, here.run)
		if err != nil {
			return err
		}
		if here.run == nil {
			l.graph.link(pb.RelationKind_RELATION_KIND_INFLUENCE, d, here.plan)
		}
		for _, name := range []string{"facets", "outputFacets"} {
			if err := l.facets(v.at(name), element{"dataset", d, "output"}, here); err != nil {
				return err
			}
		}
	}
	return nil
}

func (l *lineageReader) jobEvent(e *value) error {
	plan, err := l.job(e.at("job"))
	if err != nil {
		return err
	}
	l.graph.link(pb.RelationKind_RELATION_KIND_INFLUENCE, l.event, plan)
	here := &around{plan: plan}
	if err := l.facets(e.at("job", "facets"), element{"job", plan, ""}, here); err != nil {
		return err
	}
	if err := l.inputs(e, here); err != nil {
		return err
	}
	return l.outputs(e, here)
}

// named reads namespace and name.
func (l *lineageReader) named(v *value, what string) (namespace, name string, err error) {
	if !v.is(object) {
		return "", "", refuse(v, "a %s is an object", what)
	}
	for _, key := range []string{"namespace", "name"} {
		if !v.at(key).is(text) || v.at(key).str() == "" {
			return "", "", refuse(first(v.at(key), v), "%s of a %s must be a string that is not empty", key, what)
		}
	}
	l.to(v.at("namespace"), record, "%s.id", what)
	l.to(v.at("name"), record, "%s.id", what)
	return v.at("namespace").str(), v.at("name").str(), nil
}

func (l *lineageReader) job(v *value) (*pb.Ref, error) {
	namespace, name, err := l.named(v, "job")
	if err != nil {
		return nil, err
	}
	return l.plan(namespace, name)
}

func (l *lineageReader) plan(namespace, name string) (*pb.Ref, error) {
	id, err := l.name("job", namespace, name)
	return l.graph.entity(id, &pb.Entity{Types: []string{provPlan, lineageJob}}), err
}

// runRef registers a run that another event or facet speaks of.
func (l *lineageReader) runRef(id *value) (*pb.Ref, error) {
	if !uuid.MatchString(id.str()) {
		return nil, refuse(id, "runId must be a UUID")
	}
	l.to(id, record, "activity.id")
	return l.graph.activity(localID("run", strings.ToLower(id.str())), &pb.Activity{Types: []string{lineageRun}}), nil
}

// dataset registers a dataset and returns the version that is meant. by is the run
// that makes it; then it is a version of its own, or the latest when that run made
// it already. The input of a run that writes to the same dataset is the version
// before.
func (l *lineageReader) dataset(v *value, runID string, by *pb.Ref) (*pb.Ref, error) {
	namespace, name, err := l.named(v, "dataset")
	if err != nil {
		return nil, err
	}
	version := v.at("facets", "version", "datasetVersion")
	if version != nil && isCode(version.str()) {
		l.to(version, record, "dataset.attributes")
	} else {
		version = nil
	}
	return l.datasetRef(namespace, name, version.str(), runID, by)
}

const (
	runAttribute     = lineage + "RunEvent/runId"
	versionAttribute = "https://openlineage.io/spec/facets/DatasetVersionDatasetFacet.json#datasetVersion"
)

func (l *lineageReader) datasetRef(namespace, name, version, runID string, by *pb.Ref) (*pb.Ref, error) {
	id, err := l.name("dataset", namespace, name)
	if err != nil {
		return nil, err
	}
	e := &pb.Entity{Types: []string{lineageData}}
	if version != "" {
		e.Attributes = append(e.Attributes, codeAttribute(versionAttribute, version))
	}
	latest := l.graph.node(id)
	if by == nil {
		switch {
		case latest != nil && runID != "" && valueOf(latest.GetEntity(), runAttribute) == runID:
			// Read by the run that made the latest version: it read the one before.
			if latest.Ref.Version > 1 {
				return &pb.Ref{Id: id, Version: latest.Ref.Version - 1}, nil
			}
			return &pb.Ref{Id: id, Version: 1}, nil
		case latest == nil || version == "" || valueOf(latest.GetEntity(), versionAttribute) == version:
			return l.pinned(l.graph.entity(id, e)), nil
		}
		return l.pinned(l.graph.revise(id, e)), nil
	}
	e.Attributes = append(e.Attributes, codeAttribute(runAttribute, runID))
	sortAttributes(e.Attributes)
	if latest != nil && version == "" && valueOf(latest.GetEntity(), runAttribute) == runID {
		return l.pinned(&pb.Ref{Id: id}), nil
	}
	ref := l.pinned(l.graph.revise(id, e))
	l.graph.link(pb.RelationKind_RELATION_KIND_GENERATION, ref, by)
	return ref, nil
}

// pinned names the version that is latest now.
func (l *lineageReader) pinned(r *pb.Ref) *pb.Ref {
	return &pb.Ref{Id: r.Id, Version: l.graph.node(r.Id).Ref.GetVersion()}
}

func valueOf(e *pb.Entity, key string) string {
	for _, a := range e.GetAttributes() {
		if a.Key == key {
			return a.Value
		}
	}
	return ""
}

var uuid = regexp.MustCompile(`^[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12}$`)

// moment is a date-time in Unix milliseconds.
func (l *lineageReader) moment(v *value) (int64, error) {
	if t, err := time.Parse(time.RFC3339Nano, v.str()); err == nil {
		return max(0, t.UnixMilli()), nil
	}
	if t, err := time.Parse("2006-01-02T15:04:05.999999999", v.str()); err == nil {
		if !l.zone {
			l.note(v, remarkZone)
			l.zone = true
		}
		return max(0, t.UnixMilli()), nil
	}
	return 0, refuse(v, "not a date-time of RFC 3339")
}

// fragment maps an object of facets, which are those of a run, a job or a dataset
// named after the document.
func (l *lineageReader) fragment(e *value) error {
	if len(e.keys) == 0 {
		return refuseAs(ErrKind, e, "neither an event nor facets")
	}
	kinds := map[string][]string{}
	for _, key := range e.keys {
		kind := facetOwner(key, e.fields[key])
		if kind == "" {
			return refuseAs(ErrKind, e.fields[key], "neither an event nor a facet that the specification names")
		}
		kinds[kind] = append(kinds[kind], key)
	}
	l.bundle(e, "BaseFacet")
	name := "fragment-" + personID(l.sealed) + suffix(e)
	here := &around{inputs: map[string]*pb.Ref{}}
	for _, kind := range []string{"run", "job", "dataset"} {
		if kinds[kind] == nil {
			continue
		}
		el := element{kind: kind}
		var err error
		switch kind {
		case "run":
			here.runID = localID("run", name)
			here.run = l.graph.activity(here.runID, &pb.Activity{Types: []string{lineageRun}})
			el.ref = here.run
		case "job":
			here.plan, err = l.plan("fragment", name)
			el.ref = here.plan
		default:
			el.ref, err = l.datasetRef("fragment", name, "", "", nil)
		}
		if err != nil {
			return err
		}
		l.assume(record, kind+".id", el.ref.Id, "the document holds facets alone; they are those of a "+kind+" named after it")
		for _, key := range kinds[kind] {
			if err := l.facet(key, e.fields[key], el, here); err != nil {
				return err
			}
		}
	}
	return nil
}
