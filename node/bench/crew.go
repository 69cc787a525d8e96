package bench

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain/keys"
	"github.com/chancery/chancery/chain/tx"
	"github.com/chancery/chancery/modules/access"
	"github.com/chancery/chancery/modules/consent"
	"github.com/chancery/chancery/modules/identity"
	"github.com/chancery/chancery/modules/identity/did"
	"github.com/chancery/chancery/node/client"
	"github.com/chancery/chancery/node/internal/clock"
	accessv1 "github.com/chancery/chancery/proto/chancery/access/v1"
	consentv1 "github.com/chancery/chancery/proto/chancery/consent/v1"
	identityv1 "github.com/chancery/chancery/proto/chancery/identity/v1"
	provenancev1 "github.com/chancery/chancery/proto/chancery/provenance/v1"
)

// Author is somebody who writes transactions, with the keys for it.
type Author struct {
	DID, Organisation string
	Signers           []tx.Signer
}

// Clerk is somebody of an organisation who is not on the chain yet: DID and key.
type Clerk struct {
	Author
	Key keys.Signer
}

// Member is the clerk as somebody whom a consortium is founded with.
func (k Clerk) Member() identity.FoundingMember {
	return identity.FoundingMember{
		DID: k.DID, Kind: identityv1.Kind_KIND_PERSON, Roles: []string{ClerkRole},
		Keys: []identity.FoundingKey{{ID: clerkKey, Public: k.Key.Public(), Purposes: []identityv1.Purpose{identityv1.Purpose_PURPOSE_AUTHENTICATION}}},
	}
}

// ClerkRole is what a clerk needs to record what others consent to.
const ClerkRole = consent.Role

const clerkKey = "key-1"

// NewClerks are n clerks of an organisation under names that nobody has: random ones, as
// those of persons must be. Their keys are held in memory and nowhere else.
func NewClerks(organisation string, n int) ([]Clerk, error) {
	out := make([]Clerk, n)
	for i := range out {
		seed := make([]byte, keys.SeedSize)
		rand.Read(seed) // never fails: it ends the process instead
		key, err := keys.NewSigner(keys.Ed25519, seed)
		if err != nil {
			return nil, err
		}
		who := organisation + ":" + strings.ToLower(rand.Text()) // 26 characters of base32
		out[i] = Clerk{Author{who, organisation, []tx.Signer{client.Signer(did.URL(who, clerkKey), key)}}, key}
	}
	return out, nil
}

// clerksAtOnce is how many clerks one transaction registers.
const clerksAtOnce = 25

// registersAtOnce is how many such transactions are under way.
const registersAtOnce = 16

// Employ registers n clerks of an organisation with whoever acts for it. Each of the transactions
// that it takes may last so long; 0: for ever.
func Employ(ctx context.Context, c *client.Client, by Author, n int, each time.Duration) ([]Author, error) {
	clerks, err := NewClerks(by.Organisation, n)
	if err != nil {
		return nil, err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(registersAtOnce)
	for team := range slices.Chunk(clerks, clerksAtOnce) {
		group.Go(func() error { return register(ctx, c, by, team, each) })
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	out := make([]Author, n)
	for i, k := range clerks {
		out[i] = k.Author
	}
	return out, nil
}

// register registers clerks with one transaction.
func register(ctx context.Context, c *client.Client, by Author, clerks []Clerk, each time.Duration) error {
	ctx, cancel := clock.Within(ctx, each)
	defer cancel()
	var messages []proto.Message
	for _, k := range clerks {
		key, err := identity.Possess(c.ChainID(), k.DID, clerkKey, k.Key, identityv1.Purpose_PURPOSE_AUTHENTICATION)
		if err != nil {
			return err
		}
		messages = append(messages,
			&identityv1.RegisterIdentity{Identity: &identityv1.NewIdentity{Did: k.DID, Kind: identityv1.Kind_KIND_PERSON, Keys: []*identityv1.NewKey{key}}},
			&identityv1.AssignRole{Did: k.DID, Role: ClerkRole})
	}
	if _, err := c.Do(ctx, by.Organisation, by.Signers, messages...); err != nil {
		return fmt.Errorf("register clerks of %s: %w", by.Organisation, err)
	}
	return nil
}

// Care is the purpose of decisions.
const Care = "https://w3id.org/dpv#MedicalCare"

// What decisions are about.
const (
	recordType = "Record"
	health     = "https://w3id.org/dpv/pd#HealthRecord"
	records    = 64 // of each organisation
)

var read = &accessv1.EntityUid{Type: "Action", Id: "read"}

// Policies are those of an organisation that decisions are about. They permit what decisions ask for, and something else besides.
func Policies(organisation string) string {
	return strings.ReplaceAll(policies, "ORGANISATION", organisation)
}

// The last of them is evaluated for each decision and never holds, whatever a network makes of a load.
const policies = `@id("care")
permit (principal is Chancery::Person, action == Action::"read", resource is Record)
when { context.purpose == "https://w3id.org/dpv#MedicalCare" };

@id("own-premises")
permit (principal in Chancery::Organisation::"ORGANISATION", action == Action::"list", resource);

@id("risk")
forbid (principal, action, resource) when { context.risk > 10000 };
`

func recordID(i int) string { return fmt.Sprintf("bench-record-%d", i) }

// subjectOf stands for the patient of a record: one that nobody is.
func subjectOf(organisation string, i int) []byte {
	sum := sha256.Sum256(fmt.Appendf(nil, "chancery/bench/subject %s %d", organisation, i))
	return sum[:]
}

// Furnish gives an organisation what decisions are about: policies, records, and a
// consent for each record. An organisation that has settings of its own keeps all as it
// is, and decisions about records that it does not have are denied, and recorded.
func Furnish(ctx context.Context, c *client.Client, by Author) error {
	have, err := accessv1.NewQueryClient(c.Conn()).Organisation(ctx, &accessv1.OrganisationRequest{Organisation: by.Organisation})
	if err == nil && have.Settings != 0 {
		return nil
	}
	if err != nil && !errors.Is(err, access.ErrNotFound) {
		return fmt.Errorf("access control of %s: %w", by.Organisation, err)
	}
	type uid struct {
		Type string `json:"type"`
		ID   string `json:"id"`
	}
	type entity struct {
		UID     uid            `json:"uid"`
		Attrs   map[string]any `json:"attrs"`
		Parents []uid          `json:"parents"`
	}
	var entities []entity
	var consents []proto.Message
	evidence := sha256.Sum256([]byte("chancery/bench/evidence"))
	for i := range records {
		subject := subjectOf(by.Organisation, i)
		entities = append(entities, entity{uid{recordType, recordID(i)}, map[string]any{"subject": hex.EncodeToString(subject), "categories": []string{health}}, []uid{}})
		consents = append(consents, &consentv1.Give{
			Terms: terms(subject, by.Organisation, Care, health, true), Method: consentv1.Method_METHOD_ELECTRONIC, EvidenceHash: evidence[:],
		})
	}
	raw, err := json.Marshal(entities)
	if err != nil {
		return err
	}
	if _, err := c.Do(ctx, by.Organisation, by.Signers,
		&accessv1.SetPolicies{Organisation: by.Organisation, Documents: []*accessv1.Document{{Name: "bench", Text: Policies(by.Organisation)}}},
		&accessv1.SetSettings{Organisation: by.Organisation, Settings: &accessv1.Settings{
			Purposes:   []*accessv1.Purpose{{Iri: Care, LegalBasis: "https://w3id.org/dpv/legal/eu/gdpr#A6-1-a"}},
			BreakGlass: accessv1.BreakGlassRule_BREAK_GLASS_RULE_MEMBERS, ReviewMs: 3 * 24 * 3600 * 1000, GrantMs: 8 * 3600 * 1000,
		}},
		&accessv1.PutEntities{Organisation: by.Organisation, Entities: string(raw)},
	); err != nil {
		return fmt.Errorf("policies of %s: %w", by.Organisation, err)
	}
	if _, err := c.Do(ctx, by.Organisation, by.Signers, consents...); err != nil {
		return fmt.Errorf("consents of %s: %w", by.Organisation, err)
	}
	return nil
}

// The nodes that an organisation's entities are related to.
const (
	sourceNode = "bench:source"
	runNode    = "bench:run"
	agentNode  = "bench:agent"
)

// Trace registers the nodes that the entities of an organisation are related to. It
// may be done again.
func Trace(ctx context.Context, c *client.Client, by Author) error {
	_, err := c.Do(ctx, by.DID, by.Signers, &provenancev1.Record{Nodes: []*provenancev1.NewNode{
		{Id: sourceNode, Description: &provenancev1.NewNode_Entity{Entity: &provenancev1.Entity{MediaType: "text/csv"}}},
		{Id: runNode, Description: &provenancev1.NewNode_Activity{Activity: &provenancev1.Activity{}}},
		{Id: agentNode, Description: &provenancev1.NewNode_Agent{Agent: &provenancev1.Agent{Kind: provenancev1.AgentKind_AGENT_KIND_SOFTWARE}}},
	}})
	if err != nil {
		return fmt.Errorf("provenance of %s: %w", by.Organisation, err)
	}
	return nil
}

// ErrNobody says that there is nobody to write transactions.
var ErrNobody = errors.New("nobody is there to write transactions")

// Prepare makes ready for a workload whatever it needs of each organisation, and returns
// its authors: so many clerks of each organisation, which whoever is given acts for; or,
// with 0, whoever is given. Each transaction with clerks, and all the rest, may last so long; 0: for ever.
func Prepare(ctx context.Context, c *client.Client, kind string, by []Author, clerks int, each time.Duration) ([]Author, error) {
	authors := by
	if clerks > 0 {
		var teams [][]Author
		for _, a := range by {
			team, err := Employ(ctx, c, a, clerks, each)
			if err != nil {
				return nil, err
			}
			teams = append(teams, team)
		}
		authors = InTurn(teams)
	}
	ctx, cancel := clock.Within(ctx, each)
	defer cancel()
	return authors, furnishAll(ctx, c, kind, by)
}

// furnishAll gives each organisation what a workload is about.
func furnishAll(ctx context.Context, c *client.Client, kind string, by []Author) error {
	done := make(map[string]bool)
	for _, a := range by {
		if done[a.Organisation] {
			continue
		}
		done[a.Organisation] = true
		if kind == Decision || kind == Mixed {
			if err := Furnish(ctx, c, a); err != nil {
				return err
			}
		}
		if kind == Provenance || kind == Mixed {
			if err := Trace(ctx, c, a); err != nil {
				return err
			}
		}
	}
	return nil
}

// InTurn is one author of each team, then the next one of each, and so on.
func InTurn(teams [][]Author) (out []Author) {
	for i := 0; ; i++ {
		more := false
		for _, t := range teams {
			if i < len(t) {
				out, more = append(out, t[i]), true
			}
		}
		if !more {
			return out
		}
	}
}
