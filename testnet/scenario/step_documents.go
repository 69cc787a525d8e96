package scenario

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/chancery/chancery/node/importer"
	consentv1 "github.com/chancery/chancery/proto/chancery/consent/v1"
)

// documents puts real documents on the chain, as chancery import does: FHIR
// resources as the hospital's records, OpenLineage documents as the pharma
// company's provenance. No name or identifier of a person is on the chain, but
// commitments under salts that are thrown away here.
func (r *run) documents(ctx context.Context) error {
	fhir, lineage, where, err := r.examples()
	if err != nil {
		return err
	}
	hospital := r.session(r.cast.hospital, r.cast.hospital.self)
	hospital.Jurisdiction = "NL"
	resources, err := hospital.Import(ctx, importer.FHIR, slices.Values(fhir))
	if err != nil {
		return fmt.Errorf("import FHIR resources: %w", err)
	}
	pharma := r.session(r.cast.pharma, r.cast.pipeline)
	pharma.HideNames = true
	events, err := pharma.Import(ctx, importer.OpenLineage, slices.Values(lineage))
	if err != nil {
		return fmt.Errorf("import OpenLineage documents: %w", err)
	}
	report, err := r.report(slices.Concat(resources, events))
	if err != nil {
		return err
	}
	sum, err := sumUp(resources, events)
	if err != nil {
		return fmt.Errorf("%s: %w; see %s", where, err, report)
	}
	held, err := r.held(ctx)
	if err != nil {
		return err
	}
	if held < sum.consents {
		return fmt.Errorf("the hospital holds %d consent records; %d were imported", held, sum.consents)
	}
	r.note("from %s:", where)
	r.note("%d FHIR consents: %d give something; %d are refusals, or say nothing that permits", sum.consents, sum.given, sum.consents-sum.given)
	r.note("%d other FHIR resources and %d OpenLineage documents as provenance", sum.provenance, sum.events)
	r.note("of %d elements %d were mapped; the others stay off the chain; what became of each: %s", sum.elements, sum.mapped, report)
	return nil
}

// session imports for a party, with salts that nobody keeps.
func (r *run) session(p party, as actor) *importer.Session {
	return &importer.Session{
		Options: importer.Options{Organisation: p.Organisation, Salts: &importer.MemorySalts{}},
		Client:  r.c, Author: as.did, Signers: as.signers,
	}
}

// sums is what the imports came to.
type sums struct{ consents, given, provenance, events, elements, mapped int }

// sumUp counts what the imports came to, and is an error when a document was
// refused, or when there was none of a kind.
func sumUp(resources, events []*importer.Report) (s sums, err error) {
	for _, d := range slices.Concat(resources, events) {
		if d.Err() != nil {
			err = errors.Join(err, fmt.Errorf("%s: %w", d.Document, d.Err()))
		}
		said := map[string]bool{}
		for _, m := range d.Mapped {
			if !said[m.Place] {
				s.mapped++
			}
			said[m.Place] = true
		}
		for _, n := range d.Notes {
			if n.Class != importer.Remark {
				said[n.Place] = true
			}
		}
		s.elements += len(said)
		switch {
		case d.Format == "fhir-r4-consent":
			s.consents++
			if slices.ContainsFunc(d.Messages, func(m importer.Message) bool { _, ok := m.Proto.(*consentv1.Give); return ok }) {
				s.given++
			}
		case d.Format == "openlineage":
			s.events++
		case d.Status != importer.Skipped:
			s.provenance++
		}
	}
	if err == nil && (s.consents == 0 || s.events == 0) {
		err = fmt.Errorf("%d FHIR consents and %d OpenLineage documents; there should be some of each", s.consents, s.events)
	}
	return s, err
}

// held counts the hospital's consent records.
func (r *run) held(ctx context.Context) (int, error) {
	q, n := consentv1.NewQueryClient(r.c.Conn()), 0
	for token := []byte(nil); ; {
		page, err := q.ConsentsByController(ctx, &consentv1.ConsentsByControllerRequest{Controller: r.cast.hospital.Organisation, Limit: 500, PageToken: token})
		if err != nil {
			return 0, err
		}
		n += len(page.Consents)
		if token = page.NextPageToken; len(token) == 0 {
			return n, nil
		}
	}
}

// report writes what became of every document.
func (r *run) report(all []*importer.Report) (string, error) {
	if err := os.MkdirAll(r.o.Folder, 0o700); err != nil {
		return "", fmt.Errorf("make the folder of reports: %w", err)
	}
	raw, err := json.MarshalIndent(all, "", "  ")
	if err != nil {
		return "", fmt.Errorf("write the report of the import: %w", err)
	}
	at := filepath.Join(r.o.Folder, "import.json")
	if err := os.WriteFile(at, raw, 0o600); err != nil {
		return "", fmt.Errorf("write the report of the import: %w", err)
	}
	return at, nil
}

// verifyFile asks the program who registered a file.
func (r *run) verifyFile(ctx context.Context, f file) error {
	out, err := r.program(ctx, "verify", f.path, "--kind", "file", "--node", r.o.Addresses)
	if err != nil {
		return fmt.Errorf("verify %s: %w: %s", f.path, err, out)
	}
	for _, want := range []string{hex.EncodeToString(f.sum[:]), r.cast.pipeline.did, r.facts.entity} {
		if !strings.Contains(out, want) {
			return fmt.Errorf("verify %s does not say %s: %s", f.path, want, out)
		}
	}
	return nil
}
