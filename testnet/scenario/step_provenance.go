package scenario

import (
	"context"
	"crypto/sha256"
	"encoding/csv"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	provenancev1 "github.com/chancery/chancery/proto/chancery/provenance/v1"
)

// multihash is SHA-256 with its prefix: code 0x12, 32 bytes.
func multihash(sum [sha256.Size]byte) []byte { return append([]byte{0x12, sha256.Size}, sum[:]...) }

// provenance: the pharma company's pipeline makes a file from another one. The file
// is found again by its content, with who made it, when, and from what.
func (r *run) provenance(ctx context.Context) error {
	if err := os.MkdirAll(r.o.Folder, 0o700); err != nil {
		return fmt.Errorf("make the folder of files: %w", err)
	}
	tag := randomID()[:10]
	raw, err := r.table("measurements-"+tag+".csv", 200)
	if err != nil {
		return err
	}
	summary, err := r.table("summary-"+tag+".csv", 20)
	if err != nil {
		return err
	}
	rawID, runID, summaryID := "file:measurements-"+tag, "run:summarise-"+tag, "file:summary-"+tag
	ended := time.Now()
	entity := func(f file) *provenancev1.Entity {
		return &provenancev1.Entity{Hashes: [][]byte{multihash(f.sum)}, MediaType: "text/csv", Size: uint64(f.size)}
	}
	ref := func(id string) *provenancev1.Ref { return &provenancev1.Ref{Id: id} }
	recorded := new(provenancev1.RecordResponse)
	result, err := r.ask(ctx, r.cast.pipeline, &provenancev1.Record{
		Nodes: []*provenancev1.NewNode{
			{Id: rawID, Description: &provenancev1.NewNode_Entity{Entity: entity(raw)}},
			{Id: runID, Description: &provenancev1.NewNode_Activity{Activity: &provenancev1.Activity{
				StartedAt: ended.Add(-time.Minute).UnixMilli(), EndedAt: ended.UnixMilli(), Outcome: provenancev1.Outcome_OUTCOME_COMPLETED,
			}}},
			{Id: summaryID, Description: &provenancev1.NewNode_Entity{Entity: entity(summary)}},
		},
		Relations: []*provenancev1.Relation{
			{Kind: provenancev1.RelationKind_RELATION_KIND_USAGE, Subject: ref(runID), Object: ref(rawID)},
			{Kind: provenancev1.RelationKind_RELATION_KIND_GENERATION, Subject: ref(summaryID), Object: ref(runID)},
			{Kind: provenancev1.RelationKind_RELATION_KIND_DERIVATION, Subject: ref(summaryID), Object: ref(rawID), Activity: ref(runID)},
		},
	}, recorded)
	if err != nil {
		return fmt.Errorf("register the files: %w", err)
	}
	r.facts.entity = summaryID

	q := provenancev1.NewQueryClient(r.c.Conn())
	found, err := q.ByHash(ctx, &provenancev1.ByHashRequest{Hash: summary.sum[:]})
	if err != nil {
		return fmt.Errorf("look the file up by its content: %w", err)
	}
	if len(found.Registrations) != 1 {
		return fmt.Errorf("%d registrations have the content of %s; it should be one", len(found.Registrations), summary.path)
	}
	if node := found.Registrations[0].Node; node.Author != r.cast.pipeline.did || node.Height != result.Height || node.Ref.GetId() != summaryID {
		return fmt.Errorf("the registration of %s is %s by %s at %d; it should be %s by %s at %d",
			summary.path, node.Ref.GetId(), node.Author, node.Height, summaryID, r.cast.pipeline.did, result.Height)
	}
	trace, err := q.Ancestors(ctx, &provenancev1.TraceRequest{Start: &provenancev1.Ref{Organisation: r.cast.pharma.Organisation, Id: summaryID}})
	if err != nil {
		return fmt.Errorf("ancestors of the file: %w", err)
	}
	var ancestors []string
	for _, s := range trace.Steps {
		ancestors = append(ancestors, s.Node.GetId())
	}
	slices.Sort(ancestors)
	want := []string{rawID, runID}
	slices.Sort(want)
	if !slices.Equal(ancestors, want) {
		return fmt.Errorf("the ancestors of %s are %v; they should be %v", summaryID, ancestors, want)
	}
	if err := r.verifyFile(ctx, summary); err != nil {
		return err
	}
	r.note("%s: registered by %s at height %d, from %v", summary.path, slug(r.cast.pharma.Organisation), result.Height, ancestors)
	return nil
}

type file struct {
	path string
	sum  [sha256.Size]byte
	size int64
}

// table writes a file of numbers that nobody else has.
func (r *run) table(name string, rows int) (file, error) {
	f := file{path: filepath.Join(r.o.Folder, name)}
	out, err := os.Create(f.path)
	if err != nil {
		return f, fmt.Errorf("write %s: %w", f.path, err)
	}
	w := csv.NewWriter(out)
	records := [][]string{{"table", "row", "value"}}
	for i := range rows {
		records = append(records, []string{name, strconv.Itoa(i), strconv.Itoa(i * i % 97)})
	}
	err = w.WriteAll(records)
	if closed := out.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return f, fmt.Errorf("write %s: %w", f.path, err)
	}
	raw, err := os.ReadFile(f.path)
	if err != nil {
		return f, fmt.Errorf("read %s: %w", f.path, err)
	}
	f.sum, f.size = sha256.Sum256(raw), int64(len(raw))
	return f, nil
}
