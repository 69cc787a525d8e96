package importer

import (
	"slices"
	"strconv"
	"strings"
	"time"

	pb "github.com/chancery/chancery/proto/chancery/provenance/v1"
)

// facetRule is what of a facet goes onto the chain.
type facetRule struct {
	// owners are what the facet describes: run, job, dataset. A key may belong to more
	// than one; the element that carries it then says which.
	owners []string
	// values are elements that become attributes: codes, numbers and times, which are no
	// text for people. A name before a slash is an object.
	values []string
	// relate makes relations of it; nil when there are none.
	relate func(l *lineageReader, v *value, el element, here *around) error
}

// facetRules are the facets of the specification by their key.
var facetRules map[string]facetRule

func init() {
	run, job, data := []string{"run"}, []string{"job"}, []string{"dataset"}
	statistics := []string{"rowCount", "size", "fileCount"}
	facetRules = map[string]facetRule{
		"nominalTime":          {run, []string{"nominalStartTime", "nominalEndTime"}, nil},
		"parent":               {run, nil, (*lineageReader).parent},
		"processing_engine":    {run, []string{"name", "version", "openlineageAdapterVersion"}, nil},
		"errorMessage":         {run, []string{"programmingLanguage"}, nil},
		"externalQuery":        {run, []string{"externalQueryId", "source"}, nil},
		"extractionError":      {run, []string{"totalTasks", "failedTasks"}, nil},
		"environmentVariables": {run, nil, nil},
		"executionParameters":  {run, nil, nil},
		"jobDependencies":      {run, nil, (*lineageReader).dependencies},
		"test":                 {run, nil, nil},

		"jobType":            {job, []string{"processingType", "integration", "jobType", "emissionPattern/eventTrigger", "emissionPattern/eventContentMode", "emissionPattern/windowDuration"}, nil},
		"sql":                {job, []string{"dialect"}, nil},
		"sourceCode":         {job, []string{"language"}, nil},
		"sourceCodeLocation": {job, []string{"type", "url", "repoUrl", "version", "tag", "branch"}, nil},

		"ownership":     {[]string{"dataset", "job"}, nil, (*lineageReader).ownership},
		"documentation": {[]string{"dataset", "job"}, []string{"contentType"}, nil},
		"tags":          {[]string{"dataset", "job", "run"}, nil, nil},
		"lineage":       {[]string{"dataset", "job"}, nil, (*lineageReader).lineage},

		"version":               {data, []string{"datasetVersion"}, nil},
		"schema":                {data, nil, nil},
		"columnLineage":         {data, nil, (*lineageReader).columns},
		"datasetType":           {data, []string{"datasetType", "subType"}, nil},
		"dataSource":            {data, []string{"name", "uri"}, nil},
		"storage":               {data, []string{"storageLayer", "fileFormat"}, nil},
		"catalog":               {data, []string{"framework", "type", "name", "source"}, nil},
		"lifecycleStateChange":  {data, []string{"lifecycleStateChange"}, (*lineageReader).previous},
		"symlinks":              {data, nil, (*lineageReader).symlinks},
		"hierarchy":             {data, nil, nil},
		"subset":                {data, nil, nil},
		"dataQualityMetrics":    {data, []string{"rowCount", "bytes", "fileCount", "lastUpdated"}, nil},
		"dataQualityAssertions": {data, nil, nil},
		"inputStatistics":       {data, statistics, nil},
		"outputStatistics":      {data, statistics, nil},
	}
}

// facetOwner is what a facet outside of an event describes, by the definition that
// its _schemaURL names or else by its key; empty when neither is known.
func facetOwner(key string, v *value) string {
	owners := facetRules[key].owners
	schema := v.at("_schemaURL").str()
	name := strings.TrimSuffix(schema[strings.LastIndexAny(schema, "/#")+1:], ".json")
	for _, o := range []struct{ suffix, kind string }{{"RunFacet", "run"}, {"JobFacet", "job"}, {"DatasetFacet", "dataset"}} {
		if strings.HasSuffix(name, o.suffix) && v.is(object) && (len(owners) == 0 || slices.Contains(owners, o.kind)) {
			return o.kind
		}
	}
	if len(owners) > 0 {
		return owners[0]
	}
	return ""
}

func (l *lineageReader) facets(v *value, el element, here *around) error {
	if v == nil {
		return nil
	}
	if !v.is(object) {
		return refuse(v, "facets are an object")
	}
	for _, key := range v.keys {
		if err := l.facet(key, v.fields[key], el, here); err != nil {
			return err
		}
	}
	return nil
}

// facet relates the event to what a facet describes, with a commitment to the facet
// and what of it is no text for people.
func (l *lineageReader) facet(key string, v *value, el element, here *around) error {
	rule, known := facetRules[key]
	if !v.is(object) || known && !slices.Contains(rule.owners, el.kind) {
		known = false
	}
	sealed, err := l.seal("facet "+key, v.canonical())
	if err != nil {
		return err
	}
	iri := vocabulary + "facet:" + escapeIRI(key)
	if schema := v.at("_schemaURL"); known && isIRI(schema.str()) {
		iri = schema.str()
		l.to(schema, record, "relation (types)")
	}
	rel := &pb.Relation{
		Kind: pb.RelationKind_RELATION_KIND_INFLUENCE, Subject: l.event, Object: el.ref,
		Attributes: []*pb.Attribute{hexAttribute(vocabulary+"commitment", sealed)},
	}
	if isIRI(iri) {
		rel.Types = []string{iri}
	}
	if known {
		l.values(v, rel, vocabulary+key+"/", rule.values)
		if rule.relate != nil {
			if err := rule.relate(l, v, el, here); err != nil {
				return err
			}
		}
	}
	l.graph.relate(rel)
	l.off(v.at("_producer"), keptHousekeeping)
	if l.seen[v.at("_schemaURL")] {
		l.rest(v, keptFacet)
		return nil
	}
	l.off(v.at("_schemaURL"), keptHousekeeping)
	if known {
		l.rest(v, keptFacet)
	} else {
		l.rest(v, unmappedFacet)
	}
	return nil
}

// naming are elements of facets that --hide-names keeps off the chain: they name data,
// jobs or where their code is.
var naming = map[string]bool{
	"name": true, "uri": true, "source": true, "url": true, "repoUrl": true, "branch": true, "tag": true,
}

// values adds the elements of a facet that become attributes.
func (l *lineageReader) values(v *value, rel *pb.Relation, prefix string, names []string) {
	for _, name := range names {
		leaf := v.at(strings.Split(name, "/")...)
		a := attributeOf(prefix+name, leaf)
		if a == nil || l.o.HideNames && naming[name] {
			continue
		}
		if !addAttribute(&rel.Attributes, a, relationAttribute) {
			l.off(leaf, unmappedMore)
			continue
		}
		l.to(leaf, record, "relation.attributes")
	}
}

// attributeOf is a value with its type; nil for what is text for people, or nothing.
func attributeOf(key string, v *value) *pb.Attribute {
	switch {
	case v.is(boolean):
		return attribute(key, pb.ValueType_VALUE_TYPE_BOOLEAN, v.text)
	case v.is(number):
		if n, err := strconv.ParseInt(v.text, 10, 64); err == nil {
			return attribute(key, pb.ValueType_VALUE_TYPE_INTEGER, strconv.FormatInt(n, 10))
		}
		return nil
	case isMoment(v.str()):
		return attribute(key, pb.ValueType_VALUE_TYPE_TIME, v.str())
	case strings.Contains(v.str(), "://") && isIRI(v.str()):
		return iriAttribute(key, v.str())
	case isCode(v.str()):
		return codeAttribute(key, v.str())
	}
	return nil
}

// isMoment tells whether s is a time with a zone that module provenance takes.
func isMoment(s string) bool {
	_, err := time.Parse(time.RFC3339, s)
	return err == nil && len(s) <= 40 && !strings.ContainsAny(s, ",tz") && len(s) > 19 && s[10] == 'T'
}

// parent relates a run to the run that it is part of, and to the one at the root.
func (l *lineageReader) parent(v *value, el element, here *around) error {
	for _, p := range []struct {
		v    *value
		kind string
	}{{v, "parent"}, {v.at("root"), "root"}} {
		if p.v.at("run", "runId") == nil {
			continue
		}
		run, err := l.runRef(p.v.at("run", "runId"))
		if err != nil {
			return err
		}
		if !l.graph.relate(&pb.Relation{
			Kind: pb.RelationKind_RELATION_KIND_INFLUENCE, Subject: el.ref, Object: run,
			Types: []string{vocabulary + "run:" + p.kind},
		}) {
			l.note(p.v.at("run", "runId"), unmappedSelf)
		}
		if p.v.at("job") == nil {
			continue
		}
		plan, err := l.job(p.v.at("job"))
		if err != nil {
			return err
		}
		l.graph.relate(&pb.Relation{Kind: pb.RelationKind_RELATION_KIND_ASSOCIATION, Subject: run, Plan: plan})
		inside := &around{run: run, runID: run.Id, plan: plan, inputs: map[string]*pb.Ref{}}
		if err := l.facets(p.v.at("run", "facets"), element{"run", run, ""}, inside); err != nil {
			return err
		}
		if err := l.facets(p.v.at("job", "facets"), element{"job", plan, ""}, inside); err != nil {
			return err
		}
	}
	return nil
}

// dependencies relates a run to those that it waited for, and those that wait for it.
func (l *lineageReader) dependencies(v *value, el element, here *around) error {
	for _, direction := range []string{"upstream", "downstream"} {
		for _, d := range v.at(direction).list() {
			var other *pb.Ref
			var err error
			switch {
			case d.at("run", "runId") != nil:
				other, err = l.runRef(d.at("run", "runId"))
			case d.at("job") != nil:
				other, err = l.job(d.at("job"))
			default:
				l.note(d, unmappedIdentifier)
				continue
			}
			if err != nil {
				return err
			}
			subject, object := el.ref, other
			if direction == "downstream" {
				subject, object = other, el.ref
			}
			if !l.graph.relate(&pb.Relation{
				Kind: pb.RelationKind_RELATION_KIND_INFLUENCE, Subject: subject, Object: object,
				Types: []string{vocabulary + "run:dependency"},
			}) {
				l.note(d, unmappedSelf)
			}
		}
	}
	return nil
}

// ownership ascribes a dataset or job to its owners, who may be people.
func (l *lineageReader) ownership(v *value, el element, here *around) error {
	for _, owner := range v.at("owners").list() {
		name := owner.at("name")
		if name.str() == "" {
			l.note(owner, unmappedIdentifier)
			continue
		}
		commitment, err := l.commit("owner " + name.str())
		if err != nil {
			return err
		}
		agent := &pb.Agent{Kind: pb.AgentKind_AGENT_KIND_OTHER, Commitment: commitment}
		if did, ok := l.o.DIDs[name.str()]; ok {
			agent = &pb.Agent{Kind: pb.AgentKind_AGENT_KIND_OTHER, Did: did}
		}
		rel := &pb.Relation{
			Kind: pb.RelationKind_RELATION_KIND_ATTRIBUTION, Subject: el.ref,
			Object: l.graph.agent("agent:"+personID(commitment), agent),
		}
		if t := owner.at("type"); isCode(t.str()) {
			rel.Attributes = append(rel.Attributes, codeAttribute(vocabulary+"owner-type", t.str()))
			l.to(t, record, "relation.attributes")
		}
		l.graph.relate(rel)
		l.to(name, record, "agent (salted commitment)")
	}
	return nil
}

// previous relates a dataset to what it was called before.
func (l *lineageReader) previous(v *value, el element, here *around) error {
	return l.alternate(v.at("previousIdentifier"), el)
}

func (l *lineageReader) symlinks(v *value, el element, here *around) error {
	for _, id := range v.at("identifiers").list() {
		if err := l.alternate(id, el); err != nil {
			return err
		}
	}
	return nil
}

// alternate relates a dataset to another name of it.
func (l *lineageReader) alternate(id *value, el element) error {
	if id == nil {
		return nil
	}
	other, err := l.dataset(id, "", nil)
	if err != nil {
		return err
	}
	if !l.graph.link(pb.RelationKind_RELATION_KIND_ALTERNATE, el.ref, other) {
		l.note(id, unmappedSelf)
	}
	return nil
}

// columns derives a dataset from those that its columns come from: one relation for
// each column and each column that it comes from.
func (l *lineageReader) columns(v *value, el element, here *around) error {
	fields := v.at("fields")
	if fields != nil && !fields.is(object) {
		return refuse(fields, "fields are an object")
	}
	if fields != nil {
		for _, name := range fields.keys {
			for _, in := range fields.fields[name].at("inputFields").list() {
				if err := l.derive(in, el, here, name); err != nil {
					return err
				}
			}
		}
	}
	for _, in := range v.at("dataset").list() {
		if err := l.derive(in, el, here, ""); err != nil {
			return err
		}
	}
	return nil
}

// derive relates a dataset to one that it was made from, by column where field is
// not empty.
func (l *lineageReader) derive(in *value, el element, here *around, field string) error {
	source, err := l.source(in, here)
	if err != nil {
		return err
	}
	l.state(&pb.Relation{Kind: pb.RelationKind_RELATION_KIND_DERIVATION, Subject: el.ref, Object: source, Activity: here.activity()}, in, field)
	return nil
}

// source is the version of a dataset that was read.
func (l *lineageReader) source(in *value, here *around) (*pb.Ref, error) {
	source, err := l.dataset(in, here.id(), nil)
	if err != nil {
		return nil, err
	}
	if here != nil && here.inputs[source.Id] != nil {
		return here.inputs[source.Id], nil
	}
	return source, nil
}

// state relates what the relation says, with the columns it is about and how one
// was made from the other.
func (l *lineageReader) state(rel *pb.Relation, in *value, field string) {
	if same(rel) {
		l.note(in, unmappedSelf)
		l.rest(in, unmappedSelf)
		return
	}
	say := func(name string, v *value, s string) {
		switch {
		case s == "":
		case l.o.HideNames && (name == "column" || name == "from-column"):
			l.off(v, keptName)
		case !isCode(s) || !addAttribute(&rel.Attributes, codeAttribute(vocabulary+name, s), relationAttribute):
			l.off(v, unmappedMore)
		default:
			l.to(v, record, "relation.attributes")
		}
	}
	// A column's name is no leaf of its own: that of what is inside is.
	if field != "" {
		if l.o.HideNames {
			l.note(in, keptName)
		} else if !isCode(field) {
			l.note(in, unmappedMore)
		}
		say("column", nil, field)
	}
	say("from-column", in.at("field"), in.at("field").str())
	for _, t := range in.at("transformations").list() {
		say("transformation", t.at("type"), t.at("type").str())
		say("transformation-subtype", t.at("subtype"), t.at("subtype").str())
		if masking := t.at("masking"); masking.is(boolean) && addAttribute(&rel.Attributes, attribute(vocabulary+"masking", pb.ValueType_VALUE_TYPE_BOOLEAN, masking.text), relationAttribute) {
			l.to(masking, record, "relation.attributes")
		}
	}
	l.graph.relate(rel)
}

// lineage maps the facet of that name: what datasets and jobs come from.
func (l *lineageReader) lineage(v *value, el element, here *around) error {
	entries := v.at("entries").list()
	if v.at("entries") == nil {
		entries = []*value{v}
	}
	for _, entry := range entries {
		target := el
		if entry != v {
			var err error
			if target, err = l.node(entry, el, here); err != nil {
				return err
			}
		}
		for _, in := range entry.at("inputs").list() {
			if err := l.comesFrom(target, in, el, here, ""); err != nil {
				return err
			}
		}
		fields := entry.at("fields")
		if fields == nil {
			continue
		}
		if !fields.is(object) {
			return refuse(fields, "fields are an object")
		}
		for _, name := range fields.keys {
			for _, in := range fields.fields[name].at("inputs").list() {
				if err := l.comesFrom(target, in, el, here, name); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// node is the dataset, job or run that an entry of the lineage facet names, or the
// element itself.
func (l *lineageReader) node(v *value, el element, here *around) (element, error) {
	t := v.at("type")
	l.to(t, record, "relation (kind)")
	switch {
	case t.str() == "JOB" && v.at("runId") != nil:
		run, err := l.runRef(v.at("runId"))
		if err != nil || v.at("name") == nil {
			return element{"run", run, ""}, err
		}
		plan, err := l.job(v)
		if err == nil {
			l.graph.relate(&pb.Relation{Kind: pb.RelationKind_RELATION_KIND_ASSOCIATION, Subject: run, Plan: plan})
		}
		return element{"run", run, ""}, err
	case t.str() == "JOB" && v.at("name") != nil:
		plan, err := l.job(v)
		return element{"job", plan, ""}, err
	case v.at("name") != nil:
		data, err := l.source(v, here)
		return element{"dataset", data, ""}, err
	case here.activity() != nil:
		return element{"run", here.run, ""}, nil
	default:
		return el, nil
	}
}

// comesFrom relates what the lineage facet says comes from another thing.
func (l *lineageReader) comesFrom(target element, in *value, el element, here *around, field string) error {
	source, err := l.node(in, el, here)
	if err != nil {
		return err
	}
	kind := pb.RelationKind_RELATION_KIND_INFLUENCE
	switch {
	case target.kind == "dataset" && source.kind == "dataset":
		kind = pb.RelationKind_RELATION_KIND_DERIVATION
	case target.kind == "dataset" && source.kind == "run":
		kind = pb.RelationKind_RELATION_KIND_GENERATION
	case target.kind == "run" && source.kind == "dataset":
		kind = pb.RelationKind_RELATION_KIND_USAGE
	case target.kind == "run" && source.kind == "run":
		kind = pb.RelationKind_RELATION_KIND_COMMUNICATION
	}
	l.state(&pb.Relation{Kind: kind, Subject: target.ref, Object: source.ref}, in, field)
	return nil
}

// activity is the run that facets are about; nil when there is none.
func (c *around) activity() *pb.Ref {
	if c == nil {
		return nil
	}
	return c.run
}

func (c *around) id() string {
	if c == nil {
		return ""
	}
	return c.runID
}
