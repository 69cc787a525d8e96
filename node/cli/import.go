package cli

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/chancery/chancery/node/importer"
)

func (a *app) importCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "import",
		Short: "Take documents of other systems over",
		Long: lines(
			"Maps documents to transactions, submits them, waits for their blocks and says line by",
			"line what became of each element: mapped into which field, kept off the chain, or",
			"unmapped, and why. Whatever the chain has already is not registered again, so that an",
			"import that was interrupted is run again. docs/importers.md has the tables.",
			"",
			"The command takes files, folders, and - for standard input. It ends with exit code 1",
			"when a document was refused; the others are imported all the same.",
		),
		Example: examples(
			"chancery import fhir-consent --dry-run --jurisdiction NL consents/",
			"chancery import openlineage --from pipeline events.ndjson",
			"chancery import cedar --from steward policies/",
		),
	}
	c.AddCommand(a.importFHIR(), a.importLineage(), a.importCedar())
	return c
}

// importing is what the commands share that import.
type importing struct {
	app          *app
	sending      *sending
	dry          bool
	brief        bool
	salts        string
	organisation string
	dids         []string
	options      importer.Options
}

func (a *app) importing(c *cobra.Command, salted bool) *importing {
	i := &importing{app: a, sending: &sending{app: a}}
	f := c.Flags()
	f.StringSliceVar(&i.sending.from, "from", nil, "key that signs; repeat for several signatures")
	f.StringVar(&i.sending.author, "author", "", "DID on whose behalf; by default what the first key is bound to")
	f.BoolVar(&i.dry, "dry-run", false, "map and report, write nothing; needs neither node nor key")
	f.StringVar(&i.organisation, "organisation", "", "with --dry-run: DID of the organisation to map for (by default did:chancery:dry-run)")
	f.BoolVar(&i.brief, "brief", false, "leave the lines out that say what was mapped, kept and assumed")
	i.sending.completeKeys(c)
	if salted {
		f.StringVar(&i.salts, "salts", "", "file of salts, by which whoever reads it can tell whom the chain speaks of (by default import.salts in the home folder)")
		f.StringArrayVar(&i.dids, "did", nil, "KEY=DID: whom a document means by a reference, an identifier (system|value) or an owner's name; repeat")
	}
	return i
}

func (a *app) importFHIR() *cobra.Command {
	var i *importing
	var notice string
	c := &cobra.Command{
		Use:   "fhir-consent FILE…",
		Short: "Import FHIR R4 Consents, AuditEvents, Provenances and Contracts",
		Long: lines(
			"Maps FHIR R4 resources in JSON: a Consent to a consent given, refused, requested or",
			"withdrawn; a Provenance, AuditEvent or Contract, also in a Bundle, to provenance. People",
			"become salted commitments; names, narrative and identifiers stay off the chain. A consent",
			"never permits more than its document: what terms cannot say makes it smaller, or is",
			"refused, and the report says so.",
			"",
			"FHIR leaves the first rule of a consent without a type: it may limit an opt-in or be an",
			"exception to it. By default only what both readings permit is permitted; --root-rule",
			"says which one the documents mean. The report marks whatever rests on it.",
		),
		Example: examples(
			"chancery import fhir-consent --dry-run --jurisdiction NL Consent-1.json",
			"chancery import fhir-consent --from steward --jurisdiction NL --did Organization/f001=did:chancery:mercy consents/",
			"chancery import fhir-consent --from steward --jurisdiction NL --output json - < bulk.ndjson > report.json",
		),
		Args: someFiles,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := oneOf("--base", i.options.Base, "", importer.Permit, importer.Deny); err != nil {
				return err
			}
			if err := oneOf("--root-rule", i.options.RootRule, importer.Strict, importer.Limit, importer.Except); err != nil {
				return err
			}
			if notice != "" {
				raw, err := a.read(notice)
				if err != nil {
					return err
				}
				sum := sha256.Sum256(raw)
				i.options.Notice.Hash = sum[:]
			}
			return i.run(cmd, args, []string{".json", ".ndjson"}, func(ctx context.Context, s *importer.Session, files sources) ([]*importer.Report, error) {
				return s.Import(ctx, importer.FHIR, files)
			})
		},
	}
	i = a.importing(c, true)
	f := c.Flags()
	f.StringVar(&i.options.Jurisdiction, "jurisdiction", "", "ISO 3166 code of the law that consents are under, such as NL or US-CA; required for consents")
	f.StringSliceVar(&i.options.Purposes, "purpose", nil, "IRI of a purpose for consents that name none (by default what their scope says)")
	f.StringVar(&i.options.Base, "base", "", "permit or deny, for consents that do not say what holds by default")
	f.StringVar(&i.options.RootRule, "root-rule", importer.Strict, "how a consent's first rule is read: strict, limit or except")
	f.StringVar(&notice, "notice", "", "file with the text that subjects were shown; its SHA-256 enters")
	f.StringVar(&i.options.Notice.Version, "notice-version", "", "version of that text")
	f.StringVar(&i.options.Notice.Language, "notice-language", "", "its language, BCP 47")
	f.StringVar(&i.options.Notice.URL, "notice-url", "", "where it can be read, https")
	complete(c, "base", importer.Permit, importer.Deny)
	complete(c, "root-rule", importer.Strict, importer.Limit, importer.Except)
	return c
}

func (a *app) importLineage() *cobra.Command {
	var i *importing
	c := &cobra.Command{
		Use:   "openlineage FILE…",
		Short: "Import OpenLineage events",
		Long: lines(
			"Maps OpenLineage events of runs, jobs and data sets to provenance in the terms of W3C",
			"PROV: runs are activities, jobs are plans, data sets are entities whose versions are made",
			"by runs, column lineage is derivation, producers and owners are agents. Of each facet the",
			"chain has a salted commitment, and its codes, numbers and times.",
			"",
			"Names of data sets, jobs and columns go onto the chain unless --hide-names says otherwise.",
		),
		Example: examples(
			"chancery import openlineage --dry-run event.json",
			"chancery import openlineage --from pipeline events.ndjson",
			"chancery import openlineage --from pipeline --brief - < events.ndjson",
		),
		Args: someFiles,
		RunE: func(cmd *cobra.Command, args []string) error {
			return i.run(cmd, args, []string{".json", ".ndjson", ".jsonl"}, func(ctx context.Context, s *importer.Session, files sources) ([]*importer.Report, error) {
				return s.Import(ctx, importer.OpenLineage, files)
			})
		},
	}
	i = a.importing(c, true)
	c.Flags().BoolVar(&i.options.HideNames, "hide-names", false, "name data sets, jobs and columns by salted commitments")
	c.Flags().BoolVar(&i.options.PublishHash, "publish-hash", false, "register the SHA-256 of each document, by which chancery verify finds it; not for documents with personal data")
	return c
}

func (a *app) importCedar() *cobra.Command {
	var i *importing
	c := &cobra.Command{
		Use:   "cedar FILE…",
		Short: "Import Cedar policies, a schema and entities",
		Long: lines(
			"Maps Cedar policies (.cedar), one schema (.cedarschema, or its JSON form) and entities (a",
			"JSON array) to module access. The policies of all files together replace the",
			"organisation's policy set; a schema replaces its schema; entities are added or replaced.",
			"",
			"Files belong together: when one is refused, none is imported, because a policy set that",
			"lacks a forbid permits more. Errors have the file, the line and the code of module access.",
		),
		Example: examples(
			"chancery import cedar --dry-run policies/",
			"chancery import cedar --from admin-1 --author did:chancery:mercy ward.cedar ward.cedarschema records.json",
		),
		Args: someFiles,
		RunE: func(cmd *cobra.Command, args []string) error {
			return i.run(cmd, args, []string{".cedar", ".cedarschema", ".json"}, func(ctx context.Context, s *importer.Session, files sources) ([]*importer.Report, error) {
				return s.ImportCedar(ctx, files)
			})
		},
	}
	i = a.importing(c, false)
	c.Flags().BoolVar(&i.options.StripComments, "strip-comments", false, "leave comments out of what goes onto the chain")
	return c
}

func someFiles(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return usagef("name the files or folders to import, or - for standard input; see %s --help", cmd.CommandPath())
	}
	return nil
}

func oneOf(flag, v string, choices ...string) error {
	if slices.Contains(choices, v) {
		return nil
	}
	return usagef("%s is %q; choose one of %s", flag, v, strings.TrimPrefix(strings.Join(choices, ", "), ", "))
}

// run imports and prints the report.
func (i *importing) run(cmd *cobra.Command, args, extensions []string, do func(context.Context, *importer.Session, sources) ([]*importer.Report, error)) error {
	a := i.app
	if err := i.check(); err != nil {
		return err
	}
	s := &importer.Session{Options: i.options}
	closing, err := i.open(cmd, s)
	if err != nil {
		return err
	}
	progress := &meter{app: a, what: "imported", unit: func(n int64) string { return fmt.Sprintf("%d documents", n) }}
	var wrote error
	s.Done = func(r *importer.Report) {
		progress.end()
		if a.output == outputText && wrote == nil {
			wrote = a.write(importText(r, i.brief))
		}
		progress.add(1)
	}
	reports, failed := do(cmd.Context(), s, a.sources(args, extensions))
	progress.end()
	err = errors.Join(failed, wrote, closing())
	if err == nil && len(reports) == 0 {
		err = importer.ErrNoDocuments
	}
	t := tally(reports)
	if err == nil && t.refused > 0 {
		err = sentence(errDocuments, "%d of %d documents were refused; the report says why", t.refused, len(reports))
	}
	if a.output == outputText {
		if len(reports) > 0 {
			if printed := a.write("\n" + t.facts().text()); printed != nil {
				return printed
			}
		}
		return err
	}
	report := facts{{"organisation", s.Organisation}, {"dry run", i.dry}, {"summary", t.facts()}, {"documents", reports}}
	if err != nil {
		report = append(report, fact{"error", failureOf(err).Error})
		err = silent{err}
	}
	return errors.Join(a.print(report), err)
}

// check reads the flags.
func (i *importing) check() error {
	if i.organisation != "" && !i.dry {
		return usagef("--organisation goes with --dry-run; otherwise it is that of the author")
	}
	if len(i.sending.from) == 0 && !i.dry {
		return usagef("name the key that signs with --from, or see what would be done with --dry-run")
	}
	i.options.DIDs = map[string]string{}
	for _, d := range i.dids {
		at := strings.LastIndex(d, "=did:")
		if at <= 0 {
			return usagef("--did is %q; write KEY=DID, such as Organization/1=did:chancery:mercy", d)
		}
		i.options.DIDs[d[:at]] = d[at+1:]
	}
	return nil
}

// open gives the session its salts, author and network. The returned function ends
// them.
func (i *importing) open(cmd *cobra.Command, s *importer.Session) (closing func() error, err error) {
	a := i.app
	path := i.salts
	if path == "" {
		path = filepath.Join(a.home, "import.salts")
	}
	if i.dry {
		if s.Organisation = i.organisation; s.Organisation == "" {
			if s.Organisation = "did:chancery:dry-run"; i.sending.author != "" {
				s.Organisation = importer.OrganisationOf(i.sending.author)
			}
		}
		s.Salts, err = importer.ReadSaltFile(path)
		return func() error { return nil }, err
	}
	if s.Signers, s.Author, err = a.signers(i.sending.from); err != nil {
		return nil, err
	}
	if i.sending.author != "" {
		s.Author = i.sending.author
	}
	s.Organisation = importer.OrganisationOf(s.Author)
	ctx, cancel := a.within(cmd)
	defer cancel()
	if s.Client, err = a.dial(ctx); err != nil {
		return nil, err
	}
	if cmd.Flags().Lookup("salts") == nil {
		return s.Client.Close, nil
	}
	salts, err := importer.OpenSaltFile(path)
	if err != nil {
		return nil, errors.Join(err, s.Client.Close())
	}
	s.Salts = salts
	return func() error { return errors.Join(salts.Close(), s.Client.Close()) }, nil
}
