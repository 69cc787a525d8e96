package bench

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain/tx"
	"github.com/chancery/chancery/modules/consent"
	"github.com/chancery/chancery/node/client"
	accessv1 "github.com/chancery/chancery/proto/chancery/access/v1"
	consentv1 "github.com/chancery/chancery/proto/chancery/consent/v1"
	provenancev1 "github.com/chancery/chancery/proto/chancery/provenance/v1"
)

// The workloads by name.
const (
	Consent    = "consent"    // consents given, each tenth transaction's withdrawn as soon as it is executed
	Decision   = "decision"   // recorded access decisions about records whose patients consent
	Provenance = "provenance" // an entity with three relations
	Anchor     = "anchor"     // a Merkle root over a batch of records
	Mixed      = "mixed"      // 70 of 100 consent, 20 decision, 10 provenance
	Giving     = "giving"     // consents given alone, which fill a state
)

// Workloads are those that measurements are of.
var Workloads = []string{Consent, Decision, Provenance, Anchor, Mixed}

// workEvents are the events of the workloads' messages, by full name.
var workEvents = []string{
	"chancery.consent.v1.Given", "chancery.consent.v1.Withdrawn", decidedEvent,
	"chancery.provenance.v1.EntityRegistered", "chancery.provenance.v1.BatchAnchored",
	"chancery.access.v1.EntitiesPut", "chancery.provenance.v1.Related", // of what fills a state
}

const (
	// validity is how long a transaction may wait for its block, from when it is signed.
	// Chains allow at most 10 minutes.
	validity = 9 * time.Minute
	// withdrawn is of how many transactions one has its consents withdrawn.
	withdrawn = 10
)

// Work writes transactions of one kind, by its authors in turn.
type Work struct {
	chainID  string
	authors  []Author
	messages int
	kind     string
	run      []byte // told in everything that must be new
	count    uint64
}

// NewWork is a workload of a name: transactions of so many messages each, for
// the chain and by authors who may write them.
func NewWork(chainID, kind string, authors []Author, messages int) (*Work, error) {
	if kind != Giving && !slices.Contains(Workloads, kind) {
		return nil, fmt.Errorf("there is no workload %q; choose one of %s", kind, strings.Join(Workloads, ", "))
	}
	if len(authors) == 0 {
		return nil, ErrNobody
	}
	w := &Work{chainID: chainID, authors: authors, messages: max(messages, 1), kind: kind, run: make([]byte, 8)}
	rand.Read(w.run) // never fails: it ends the process instead
	return w, nil
}

// Next implements Workload.
func (w *Work) Next() (*Tx, error) {
	w.count++
	by := w.authors[w.count%uint64(len(w.authors))]
	kind := w.kind
	if kind == Mixed {
		switch n := w.count % 10; {
		case n < 7:
			kind = Consent
		case n < 9:
			kind = Decision
		default:
			kind = Provenance
		}
	}
	var messages []proto.Message
	var subjects [][]byte
	for i := range w.messages {
		sum := w.unique(i)
		switch kind {
		case Consent, Giving:
			subjects = append(subjects, sum[:])
			messages = append(messages, giveOf(sum[:], by.Organisation))
		case Decision:
			messages = append(messages, &accessv1.Decide{Request: &accessv1.Request{
				Principal: by.DID, Action: read, Organisation: by.Organisation, Purpose: Care,
				Resource: &accessv1.EntityUid{Type: recordType, Id: recordID(int(binary.BigEndian.Uint16(sum[:])) % records)},
			}})
		case Provenance:
			messages = append(messages, entityOf(sum))
		case Anchor:
			messages = append(messages, &provenancev1.AnchorBatch{Id: fmt.Sprintf("batch:%x", sum[:12]), Batch: &provenancev1.Batch{
				Root: sum[:], Leaves: 1000, Format: provenancev1.LeafFormat_LEAF_FORMAT_SHA256,
			}})
		}
	}
	t, err := w.sign(by, messages)
	if err != nil || kind != Consent || w.count%withdrawn != 0 {
		return t, err
	}
	var ends []proto.Message
	for _, s := range subjects {
		ends = append(ends, &consentv1.Withdraw{Id: consent.RecordID(t.ID, s, by.Organisation, 1)})
	}
	t.Then, err = w.sign(by, ends)
	return t, err
}

// unique is 32 bytes that no other message has, as a hash has them.
func (w *Work) unique(message int) [32]byte {
	raw := append([]byte("chancery/bench/"), w.run...)
	raw = binary.BigEndian.AppendUint64(raw, w.count)
	return sha256.Sum256(binary.BigEndian.AppendUint64(raw, uint64(message)))
}

func (w *Work) sign(by Author, messages []proto.Message) (*Tx, error) {
	until := time.Now().Add(validity)
	raw, id, err := tx.Draft{
		ChainID: w.chainID, Author: by.DID, ValidUntil: until.UnixMilli(), Salt: client.NewSalt(), Messages: messages,
	}.Sign(by.Signers...)
	if err != nil {
		return nil, err
	}
	return &Tx{Raw: raw, ID: id, Messages: len(messages), ValidUntil: until}, nil
}

// terms are what a subject agrees to.
func terms(subject []byte, controller, purpose, category string, special bool) *consentv1.Terms {
	t := &consentv1.Terms{
		Subject: subject, Controller: controller, Purposes: []string{purpose},
		Categories: []*consentv1.Category{{Iri: category, Special: special}},
		LegalBasis: consentv1.LegalBasis_LEGAL_BASIS_CONSENT, Jurisdiction: "NL",
		Notice: &consentv1.Notice{Version: "1", Hash: notice[:], Language: "en"},
	}
	if special {
		t.SpecialCondition = consentv1.SpecialCondition_SPECIAL_CONDITION_EXPLICIT_CONSENT
	}
	return t
}

var notice = sha256.Sum256([]byte("notice"))

// giveOf is a consent of a subject of its own, recorded on the subject's behalf.
func giveOf(subject []byte, controller string) *consentv1.Give {
	evidence := sha256.Sum256(subject)
	return &consentv1.Give{
		Terms:  terms(subject, controller, "https://w3id.org/dpv#ServiceProvision", "https://w3id.org/dpv/pd#Contact", false),
		Method: consentv1.Method_METHOD_ELECTRONIC, EvidenceHash: evidence[:],
	}
}

// entityOf is a file with what made it, from what, and who is responsible.
func entityOf(sum [32]byte) *provenancev1.Record {
	id := fmt.Sprintf("file:%x", sum[:12])
	ref := func(id string) *provenancev1.Ref { return &provenancev1.Ref{Id: id} }
	return &provenancev1.Record{
		Nodes: []*provenancev1.NewNode{{Id: id, Description: &provenancev1.NewNode_Entity{Entity: &provenancev1.Entity{
			Hashes: [][]byte{append([]byte{0x12, sha256.Size}, sum[:]...)}, MediaType: "text/csv", Size: 4096,
		}}}},
		Relations: []*provenancev1.Relation{
			{Kind: provenancev1.RelationKind_RELATION_KIND_GENERATION, Subject: ref(id), Object: ref(runNode)},
			{Kind: provenancev1.RelationKind_RELATION_KIND_DERIVATION, Subject: ref(id), Object: ref(sourceNode)},
			{Kind: provenancev1.RelationKind_RELATION_KIND_ATTRIBUTION, Subject: ref(id), Object: ref(agentNode)},
		},
	}
}
