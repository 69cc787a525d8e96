package importer

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/errs"
	"github.com/chancery/chancery/chain/tx"
	"github.com/chancery/chancery/node/client"
	accessv1 "github.com/chancery/chancery/proto/chancery/access/v1"
	chainv1 "github.com/chancery/chancery/proto/chancery/chain/v1"
	consentv1 "github.com/chancery/chancery/proto/chancery/consent/v1"
	provenancev1 "github.com/chancery/chancery/proto/chancery/provenance/v1"
)

// The bounds of one transaction, below those of a new chain.
const (
	txBytes    = 192 << 10
	txMessages = 48
	// txDocuments bounds those that wait for a transaction, also without messages.
	txDocuments = 256
)

// Status is what became of a document.
type Status string

// The statuses.
const (
	Committed Status = "committed" // by this import
	Present   Status = "present"   // the chain had it already
	Mapped    Status = "mapped"    // and not submitted: a dry run, or an import that ended before
	Refused   Status = "refused"   // by the mapping or by the chain; Error says why
	Skipped   Status = "skipped"   // found in a folder and of another kind
)

// Report is what became of a document.
type Report struct {
	Document string    `json:"document"`
	Format   string    `json:"format"`
	Size     int       `json:"size"`
	SHA256   string    `json:"sha256"` // it stays in the report
	Status   Status    `json:"status"`
	Error    *Failure  `json:"error,omitempty"`
	Messages []Message `json:"messages"`
	// Present are the records and nodes that the chain had already.
	Present []string     `json:"present"`
	Mapped  []Mapping    `json:"mapped"`
	Notes   []Note       `json:"notes"`
	Assumed []Assumption `json:"assumed"`

	err error
}

// Err is why the document was refused; nil when it was not.
func (r *Report) Err() error { return r.err }

// Failure is an error in JSON.
type Failure struct {
	Module string `json:"module"`
	Code   uint32 `json:"code"`
	Text   string `json:"text"`
	Detail string `json:"detail"`
}

// Message is a message that a document became.
type Message struct {
	Type string `json:"type"` // full name
	// Tx is the transaction's id in hexadecimal and Height its block; empty in a dry run.
	Tx     string `json:"tx_id,omitempty"`
	Height int64  `json:"height,omitempty"`
	// Records are what it made: ids of consents, nodes, versions of policies.
	Records []string `json:"records"`

	// Proto is the message; protobuf JSON under the name value.
	Proto proto.Message `json:"-"`
}

// MarshalJSON implements json.Marshaler.
func (m Message) MarshalJSON() ([]byte, error) {
	type plain Message
	value, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(m.Proto)
	if err != nil {
		return nil, err
	}
	return json.Marshal(struct {
		plain
		Value json.RawMessage `json:"value"`
	}{plain(m), value})
}

// Source is a document to import.
type Source struct {
	Name string
	Raw  []byte
	// Found says that nobody named it: it lay in a folder. Then it may be of another kind.
	Found bool
	// Err says that it could not be read.
	Err error
}

// Mapper is FHIR or OpenLineage.
type Mapper func(raw []byte, o Options) (*Result, error)

// Session imports documents. Without a Client it maps them and submits nothing.
type Session struct {
	Options
	Client *client.Client
	// Author acts for Options.Organisation, and Signers sign for it.
	Author  string
	Signers []tx.Signer
	// Done is called with each report once it is final, in the order of the documents.
	// May be nil.
	Done func(*Report)

	pending []*document
	reports []*Report
	seen    map[string]*Report // by SHA-256, of the documents that were mapped before
}

// errWait says that a document depends on what is pending.
var errWait = errors.New("it depends on a document that is not yet submitted")

// document is a document on its way.
type document struct {
	raw      []byte
	report   *Report
	messages []proto.Message
	nodes    map[string]*provenancev1.Node
	reports  []*Report // that share the messages; nil: report alone
	twin     *Report   // of the same document before; nil: there was none
}

// Import maps documents one after the other and submits them, several to a
// transaction. What the chain has already is not submitted again. A document that is
// refused does not keep the others out: its report says why. The error is of what
// ends the import: the network, the context, the salts.
func (s *Session) Import(ctx context.Context, mapper Mapper, sources iter.Seq[Source]) ([]*Report, error) {
	defer func() {
		// Where the import ended before, these wait still.
		for _, d := range s.pending {
			s.done(d.report)
		}
		s.pending = nil
	}()
	s.seen = map[string]*Report{}
	if s.Now == 0 {
		s.Now = time.Now().UnixMilli()
	}
	for source := range sources {
		d := &document{raw: source.Raw, report: newReport(source)}
		s.reports = append(s.reports, d.report)
		if d.twin = s.seen[d.report.SHA256]; d.twin != nil && source.Err == nil {
			d.report.Format, d.report.Status = d.twin.Format, Present
			d.report.Present = []string{"the same document before in this import"}
			s.pending = append(s.pending, d)
			continue
		}
		err := source.Err
		if err == nil {
			err = s.read(ctx, mapper, d)
		}
		if errors.Is(err, errWait) {
			if err = s.flush(ctx, mapper); err == nil {
				err = s.read(ctx, mapper, d)
			}
		}
		if err == nil {
			s.seen[d.report.SHA256] = d.report
		}
		if err != nil {
			d.report.refuse(err)
			if fatal(err) {
				s.pending = append(s.pending, d)
				return s.reports, err
			}
			if source.Found && errors.Is(err, ErrKind) {
				d.report.Status, d.report.err = Skipped, nil
			}
			d.messages = nil
		}
		if err := s.queue(ctx, mapper, d); err != nil {
			s.pending = append(s.pending, d)
			return s.reports, err
		}
	}
	return s.reports, s.flush(ctx, mapper)
}

// ImportCedar maps Cedar files, which belong together, and submits them.
func (s *Session) ImportCedar(ctx context.Context, sources iter.Seq[Source]) ([]*Report, error) {
	var files []File
	all := &document{}
	for source := range sources {
		report := newReport(source)
		s.reports = append(s.reports, report)
		if source.Err == nil && source.Found && strings.HasSuffix(source.Name, ".json") && !CedarJSON(source.Raw) {
			report.refuse(ErrKind)
			report.Status, report.err = Skipped, nil
			s.done(report)
			continue
		}
		if source.Err != nil {
			report.refuse(source.Err)
		}
		all.reports = append(all.reports, report)
		files = append(files, File{source.Name, source.Raw})
	}
	if len(files) == 0 {
		return s.reports, nil
	}
	for _, r := range all.reports {
		if r.Status == Refused {
			s.together(all, &FileError{-1, r.err})
			return s.reports, nil
		}
	}
	var rules Rules
	if s.Client != nil {
		rules = &onChain{ctx: ctx, s: s}
	}
	messages, results, err := Cedar(files, rules, s.Options)
	if err != nil {
		s.together(all, err)
		if !fatal(err) {
			err = nil
		}
		return s.reports, err
	}
	for i, r := range results {
		all.reports[i].take(r)
	}
	all.messages = messages
	err = s.submit(ctx, all)
	s.together(all, nil)
	return s.reports, err
}

// together ends files that are imported together: when one is refused, all are.
func (s *Session) together(all *document, err error) {
	var f *FileError
	for i, r := range all.reports {
		switch {
		case err == nil || r.Status == Refused:
		case errors.As(err, &f) && f.File == i || f == nil:
			r.refuse(err)
		default:
			r.refuse(ErrTogether)
		}
		s.done(r)
	}
}

func newReport(source Source) *Report {
	sum := sha256.Sum256(source.Raw)
	return &Report{
		Document: source.Name, Size: len(source.Raw), SHA256: hex.EncodeToString(sum[:]),
		Messages: []Message{}, Present: []string{}, Mapped: []Mapping{}, Notes: []Note{}, Assumed: []Assumption{},
	}
}

func (r *Report) take(result *Result) {
	r.Format, r.Status = result.Format, Mapped
	r.Present = append([]string{}, result.Present...)
	r.Mapped = append([]Mapping{}, result.Mapped...)
	r.Notes = append([]Note{}, result.Notes...)
	r.Assumed = append([]Assumption{}, result.Assumed...)
}

func (r *Report) refuse(err error) {
	e := errs.As(err)
	r.err, r.Status = err, Refused
	r.Error = &Failure{Module: e.Module, Code: e.Code, Text: e.Text, Detail: e.Detail}
}

// fatal tells an error that ends the import from one of a document.
func fatal(err error) bool {
	var e *errs.Error
	return !errors.As(err, &e) || e.Module == "client" || e.Retryable() || e.Code == errs.Internal ||
		errors.Is(err, ErrSaltFile) || errors.Is(err, ErrOptions)
}

// read maps a document.
func (s *Session) read(ctx context.Context, mapper Mapper, d *document) error {
	o := s.Options
	if s.Client != nil {
		o.Chain = &onChain{ctx: ctx, s: s}
	}
	result, err := mapper(d.raw, o)
	if err != nil {
		return err
	}
	d.report.take(result)
	d.messages, d.nodes = result.Messages, result.nodes
	return nil
}

func size(messages []proto.Message) (bytes int) {
	for _, m := range messages {
		bytes += proto.Size(m) + 16
	}
	return bytes
}

// queue adds a document to the next transaction, and submits it when that is full.
func (s *Session) queue(ctx context.Context, mapper Mapper, d *document) error {
	bytes, messages := size(d.messages), len(d.messages)
	for _, p := range s.pending {
		bytes, messages = bytes+size(p.messages), messages+len(p.messages)
	}
	if bytes > txBytes || messages > txMessages || len(s.pending) == txDocuments {
		// d was mapped with what the others will make, which is as good as made: where one
		// of them fails, d is mapped again.
		failed, err := s.send(ctx, mapper)
		if err != nil {
			return err
		}
		if failed && d.report.Status == Mapped {
			if err := s.again(ctx, mapper, d); err != nil {
				return err
			}
		}
	}
	s.pending = append(s.pending, d)
	return nil
}

func (s *Session) flush(ctx context.Context, mapper Mapper) error {
	_, err := s.send(ctx, mapper)
	return err
}

// again maps a document anew.
func (s *Session) again(ctx context.Context, mapper Mapper, d *document) error {
	err := s.read(ctx, mapper, d)
	if err != nil && !fatal(err) {
		d.report.refuse(err)
		d.messages = nil
		return nil
	}
	return err
}

// send submits what is pending and tells whether something of it failed.
func (s *Session) send(ctx context.Context, mapper Mapper) (failed bool, err error) {
	pending := s.pending
	s.pending = nil
	defer func() {
		for _, d := range pending {
			if d.twin != nil && d.twin.Status == Refused {
				d.report.Present = []string{}
				d.report.refuse(d.twin.err)
			}
			s.done(d.report)
		}
	}()
	var live []*document
	for _, d := range pending {
		if len(d.messages) > 0 {
			live = append(live, d)
		} else {
			d.settle()
		}
	}
	return s.joint(ctx, mapper, live)
}

// joint submits documents in one transaction. When the chain refuses it, because of
// one of them or because together they cost more than a transaction may, each half
// goes alone.
func (s *Session) joint(ctx context.Context, mapper Mapper, list []*document) (failed bool, err error) {
	if len(list) <= 1 || s.Client == nil {
		for _, d := range list {
			if err := s.submit(ctx, d); err != nil {
				return failed, err
			}
			failed = failed || d.report.Status == Refused
		}
		return failed, nil
	}
	var messages []proto.Message
	for _, d := range list {
		messages = append(messages, d.messages...)
	}
	result, err := s.Client.Do(ctx, s.Author, s.Signers, messages...)
	if err == nil {
		at := 0
		for _, d := range list {
			d.committed(d.messages, result, at)
			at += len(d.messages)
			d.settle()
		}
		return false, nil
	}
	if fatal(err) {
		return true, err
	}
	// What a half was mapped with may not be there now.
	for _, half := range [][]*document{list[:len(list)/2], list[len(list)/2:]} {
		live, err := s.anew(ctx, mapper, half)
		if err != nil {
			return true, err
		}
		if _, err := s.joint(ctx, mapper, live); err != nil {
			return true, err
		}
	}
	return true, nil
}

// anew maps documents again, each with what those before it will make, and returns
// those that have messages.
func (s *Session) anew(ctx context.Context, mapper Mapper, list []*document) (live []*document, err error) {
	defer func() { s.pending = nil }()
	for _, d := range list {
		if err := s.again(ctx, mapper, d); err != nil {
			return nil, err
		}
		if len(d.messages) == 0 {
			d.settle()
			continue
		}
		live = append(live, d)
		s.pending = live
	}
	return live, nil
}

// submit submits one document, in as many transactions as it takes.
func (s *Session) submit(ctx context.Context, d *document) error {
	if s.Client == nil {
		for _, m := range d.messages {
			d.tell(Message{Type: string(proto.MessageName(m)), Records: []string{}, Proto: m})
		}
		if len(d.messages) == 0 {
			d.settle()
		}
		return nil
	}
	most := txMessages
	for rest := d.messages; len(rest) > 0; {
		n := 1
		for n < len(rest) && n < most && size(rest[:n+1]) <= txBytes {
			n++
		}
		if size(rest[:n]) > txBytes+(32<<10) {
			d.refuse(ErrTooBig.With("%s of %d bytes", proto.MessageName(rest[0]), proto.Size(rest[0])))
			return nil
		}
		result, err := s.Client.Do(ctx, s.Author, s.Signers, rest[:n]...)
		if errors.Is(err, chain.ErrOutOfUnits) && n > 1 && len(d.nodes) > 0 {
			most = n / 2 // what stands for the document is last, so parts can follow one another
			continue
		}
		if err != nil {
			if fatal(err) {
				return err
			}
			d.refuse(err)
			return nil
		}
		d.committed(rest[:n], result, 0)
		rest = rest[n:]
	}
	d.settle()
	return nil
}

func (d *document) all() []*Report {
	if d.reports == nil {
		return []*Report{d.report}
	}
	return d.reports
}

func (d *document) refuse(err error) {
	for _, r := range d.all() {
		r.refuse(err)
	}
}

// tell adds a message to the reports that it is of: entities have messages of their
// own among Cedar files.
func (d *document) tell(m Message) {
	_, entities := m.Proto.(*accessv1.PutEntities)
	for _, r := range d.all() {
		if d.reports == nil || entities == (r.Format == "cedar-entities") {
			r.Messages = append(r.Messages, m)
		}
	}
}

// settle says of a document that is through what became of it.
func (d *document) settle() {
	for _, r := range d.all() {
		switch {
		case r.Status != Mapped:
		case len(r.Messages) > 0 && r.Messages[0].Tx != "":
			r.Status = Committed
		case len(r.Messages) == 0 && len(r.Present) > 0:
			r.Status = Present
		}
	}
}

// committed notes messages of a transaction, whose responses begin at at.
func (d *document) committed(messages []proto.Message, result *chainv1.TxResult, at int) {
	for i, m := range messages {
		d.tell(Message{
			Type: string(proto.MessageName(m)), Tx: hex.EncodeToString(result.TxId), Height: result.Height,
			Records: records(m, result, at+i), Proto: m,
		})
	}
}

// records are the names of what a message made.
func records(m proto.Message, result *chainv1.TxResult, i int) []string {
	out := []string{}
	read := func(into proto.Message) bool { return chain.ResponseOf(result, i, into) == nil }
	switch m := m.(type) {
	case *consentv1.Give:
		if r := new(consentv1.GiveResponse); read(r) {
			out = append(out, hex.EncodeToString(r.Id))
		}
	case *consentv1.Refuse:
		if r := new(consentv1.RefuseResponse); read(r) {
			out = append(out, hex.EncodeToString(r.Id))
		}
	case *consentv1.Request:
		if r := new(consentv1.RequestResponse); read(r) {
			out = append(out, hex.EncodeToString(r.Id))
		}
	case *consentv1.Withdraw:
		out = append(out, hex.EncodeToString(m.Id))
	case *provenancev1.Record:
		if r := new(provenancev1.RecordResponse); read(r) {
			for _, ref := range r.Nodes {
				out = append(out, fmt.Sprintf("%s version %d", ref.Id, ref.Version))
			}
		}
	case *provenancev1.EndActivity:
		out = append(out, m.Id)
	case *accessv1.SetPolicies:
		if r := new(accessv1.SetPoliciesResponse); read(r) {
			out = append(out, fmt.Sprintf("policy set version %d", r.Version))
		}
	case *accessv1.SetSchema:
		if r := new(accessv1.SetSchemaResponse); read(r) {
			out = append(out, fmt.Sprintf("schema version %d", r.Version))
		}
	case *accessv1.PutEntities:
		if r := new(accessv1.PutEntitiesResponse); read(r) {
			out = append(out, fmt.Sprintf("entities version %d", r.Version))
		}
	}
	return out
}

func (s *Session) done(r *Report) {
	if s.Done != nil {
		s.Done(r)
	}
}

// OrganisationOf is the organisation that a DID belongs to.
func OrganisationOf(did string) string {
	if parts := strings.SplitN(did, ":", 4); len(parts) == 4 {
		return strings.Join(parts[:3], ":")
	}
	return did
}
