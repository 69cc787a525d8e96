package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/tx"
	"github.com/chancery/chancery/node/bench"
	"github.com/chancery/chancery/node/client"
	accessv1 "github.com/chancery/chancery/proto/chancery/access/v1"
	chainv1 "github.com/chancery/chancery/proto/chancery/chain/v1"
	provenancev1 "github.com/chancery/chancery/proto/chancery/provenance/v1"
)

// library is an office whose first organisation has what reads are about: policies,
// entities, and a graph of what came from what.
type library struct {
	readOptions
	*office
	readers []bench.Author // of the first organisation
	besides float64        // seconds of the first node's processor time a second, for the load alone
}

// How much one message that fills the state has; a transaction has one.
const (
	entitiesAtOnce  = 256
	nodesAtOnce     = 128
	relationsAtOnce = 256
)

// roomy are parameters under which the largest policy set fits into a transaction.
func roomy() *chainv1.Params {
	p := chain.DefaultParams()
	p.MaxTxBytes, p.MaxTxUnits = tx.MaxBytes, p.MaxOrganisationUnits
	return p
}

func entityID(i int) string { return fmt.Sprintf("e%07d", i) }
func nodeID(i int) string   { return fmt.Sprintf("chain:%07d", i) }

func (l *library) fillAll(ctx context.Context) error {
	by := l.admins[0]
	for _, k := range l.clerks {
		if k.Organisation == by.Organisation {
			l.readers = append(l.readers, k)
		}
	}
	ref := func(i int) *provenancev1.Ref { return &provenancev1.Ref{Id: nodeID(i)} }
	l.graph -= l.graph % (2 * depth)
	for _, part := range []struct {
		what     string
		n, each  int
		messages func(from, to int) proto.Message
	}{
		{"entities", l.entities, entitiesAtOnce, func(from, to int) proto.Message {
			var list []string
			for i := from; i < to; i++ {
				list = append(list, fmt.Sprintf(`{"uid":{"type":"Record","id":%q},"attrs":{"level":%d,"title":"chart %d"},"parents":[{"type":"W","id":"%d"}]}`, entityID(i), i%9, i, i%10))
			}
			return &accessv1.PutEntities{Organisation: by.Organisation, Entities: "[" + strings.Join(list, ",") + "]"}
		}},
		{"nodes of the graph", l.graph, nodesAtOnce, func(from, to int) proto.Message {
			m := &provenancev1.Record{}
			for i := from; i < to; i++ {
				m.Nodes = append(m.Nodes, &provenancev1.NewNode{Id: nodeID(i), Description: &provenancev1.NewNode_Entity{Entity: &provenancev1.Entity{MediaType: "text/csv", Size: uint64(i)}}})
			}
			return m
		}},
		// Each node of a chain came from the one before it; of two chains side by side, each of
		// the second from the one beside it as well.
		{"relations of the graph, of as many nodes", l.graph, relationsAtOnce / 2, func(from, to int) proto.Message {
			m := &provenancev1.Relate{}
			add := func(subject, object int) {
				m.Relations = append(m.Relations, &provenancev1.Relation{Kind: provenancev1.RelationKind_RELATION_KIND_DERIVATION, Subject: ref(subject), Object: ref(object)})
			}
			for i := max(from, 1); i < to; i++ {
				if i%depth != 0 {
					add(i, i-1)
				}
				if i/depth%2 == 1 {
					add(i, i-depth)
				}
			}
			return m
		}},
	} {
		if err := l.fillWith(ctx, part.what, part.n, part.each, part.messages); err != nil {
			return fmt.Errorf("fill with %s: %w", part.what, err)
		}
	}
	return nil
}

// fillWith submits messages that each are about some of n things.
func (l *library) fillWith(ctx context.Context, what string, n, each int, message func(from, to int) proto.Message) error {
	w := &filler{by: l.admins[0], n: n, each: each, message: message}
	most := (n + each - 1) / each
	shown := time.Now()
	r, err := bench.Run(ctx, l.chain, w, bench.Options{
		Window: 100, Most: most, Duration: 12 * time.Hour, Patience: time.Hour, Drain: 10 * time.Minute,
		Progress: func(executed int, _ time.Duration) {
			if time.Since(shown) > 10*time.Second {
				shown = time.Now()
				fmt.Printf("filling with %s: %d of %d\n", what, min(executed*each, n), n)
			}
		},
	})
	if err != nil {
		return err
	}
	if r.Counts.Executed < most {
		return fmt.Errorf("%d of %d transactions were executed, %d failed; refused: %v", r.Counts.Executed, most, r.Counts.Failed, r.Counts.Refused)
	}
	fmt.Printf("filled with %d %s\n", n, what)
	return nil
}

// filler is a workload of messages in order.
type filler struct {
	by      bench.Author
	n, each int
	message func(from, to int) proto.Message
	at      int
}

// Next implements bench.Workload. After the last message it begins again: signing runs
// ahead of what is submitted.
func (f *filler) Next() (*bench.Tx, error) {
	if f.at >= f.n {
		f.at = 0
	}
	m := f.message(f.at, min(f.at+f.each, f.n))
	f.at += f.each
	until := time.Now().Add(9 * time.Minute)
	raw, id, err := tx.Draft{
		ChainID: chainID, Author: f.by.DID, ValidUntil: until.UnixMilli(), Salt: client.NewSalt(), Messages: []proto.Message{m},
	}.Sign(f.by.Signers...)
	return &bench.Tx{Raw: raw, ID: id, Messages: 1, ValidUntil: until}, err
}

// setPolicies gives the first organisation those of the workload of decisions, and so many
// that each let a role read the records of a ward. The first ten are of the clerks' role.
func (l *library) setPolicies(ctx context.Context, n int) error {
	by := l.admins[0]
	slug := by.Organisation[strings.LastIndexByte(by.Organisation, ':')+1:]
	documents := []*accessv1.Document{{Name: "bench", Text: bench.Policies(by.Organisation)}}
	const most = 15 // documents, besides
	var text strings.Builder
	for i := range n {
		role := fmt.Sprintf("r%04d", i/10)
		if i < 10 {
			role = bench.ClerkRole
		}
		fmt.Fprintf(&text, "permit(principal in Chancery::Role::\"%s/%s\",action==Action::\"read\",resource in W::\"%d\");\n", slug, role, i%10)
		if (i+1)%((n+most-1)/most) == 0 || i == n-1 {
			documents = append(documents, &accessv1.Document{Name: fmt.Sprintf("roles-%02d", len(documents)), Text: text.String()})
			text.Reset()
		}
	}
	if _, err := l.chain.First().Do(ctx, by.Organisation, by.Signers, &accessv1.SetPolicies{Organisation: by.Organisation, Documents: documents}); err != nil {
		return fmt.Errorf("set %d policies: %w", n, err)
	}
	return nil
}
