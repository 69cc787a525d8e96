package identity

import (
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/keys"
	"github.com/chancery/chancery/chain/state"
	"github.com/chancery/chancery/modules/identity/did"
	consentv1 "github.com/chancery/chancery/proto/chancery/consent/v1"
	identityv1 "github.com/chancery/chancery/proto/chancery/identity/v1"
	threatv1 "github.com/chancery/chancery/proto/chancery/threat/v1"
)

// Consortium implements chain.Authenticator.
func (m *Module) Consortium() string { return did.Consortium }

// Authenticate implements chain.Authenticator. Every signer must be an active DID
// with a key that may sign now; together they must satisfy the rule of the author:
//
//   - a person, device or service: one of them is the author;
//   - an organisation: threshold distinct administrators of it, or, when it has
//     none, the organisation's own key;
//   - the consortium: threshold distinct active organisations, each by its own rule;
//   - requests for recovery, of whoever: threshold distinct guardians of the
//     author's recovery rule.
//
// Further signers are witnesses: they are in Signers and add no authority.
//
// Whom the sentinel suspended counts as active where every message says no or appeals:
// withdrawing, restricting and human review never wait for what a score began.
func (m *Module) Authenticate(r chain.ReadCtx, c chain.Claim) (chain.Authority, error) {
	recovery, err := requestsRecovery(c.Messages)
	if err != nil {
		return chain.Authority{}, err
	}
	reader := &registry{m: m, r: r, lenient: saysNo(c.Messages)}
	author, err := reader.identity(c.Author)
	if err != nil {
		return chain.Authority{}, err
	}
	if recovery {
		err = reader.recoverable(author)
	} else {
		err = reader.active(author)
	}
	if err != nil {
		return chain.Authority{}, err
	}
	a := chain.Authority{Organisation: author.Organisation}
	for _, url := range c.Keys {
		signer, k, err := reader.signer(url, recovery)
		if err != nil {
			return chain.Authority{}, err
		}
		a.Signers = append(a.Signers, signer)
		a.Keys = append(a.Keys, keys.Public{Type: keys.Type(k.Type), Bytes: k.Public})
	}
	if recovery {
		_, err = reader.guardians(author, a.Signers)
	} else if have, want := reader.support(author, a.Signers); have < want {
		err = ErrNotAuthorised.With("%s: %d of %d", author.Did, have, want)
	}
	if err != nil {
		return chain.Authority{}, err
	}
	return a, nil
}

// requestsRecovery tells whether the messages are requests for recovery, and
// refuses a mixture of them and others.
func requestsRecovery(messages []proto.Message) (bool, error) {
	n := 0
	for _, msg := range messages {
		if _, ok := msg.(*identityv1.RequestRecovery); ok {
			n++
		}
	}
	if n != 0 && n != len(messages) {
		return false, ErrMixedRecovery
	}
	return n != 0, nil
}

// saysNo tells whether all messages take back what their author permitted, or appeal.
func saysNo(messages []proto.Message) bool {
	for _, msg := range messages {
		switch msg.(type) {
		case *consentv1.Withdraw, *consentv1.Refuse, *consentv1.Narrow, *consentv1.RevokeDelegation, *consentv1.Restrict, *threatv1.Appeal:
		default:
			return false
		}
	}
	return len(messages) > 0
}

// registry reads records for one decision, each once. They are shared and not to be
// changed.
type registry struct {
	m    *Module
	r    chain.ReadCtx
	seen []*identityv1.Identity
	// lenient lets those act whom the sentinel suspended.
	lenient bool
}

func (g *registry) lookup(name string) (*identityv1.Identity, bool) {
	for _, id := range g.seen {
		if id.Did == name {
			return id, true
		}
	}
	id, ok := g.m.s.identities.Peek(g.r, name)
	if ok {
		g.seen = append(g.seen, id)
	}
	return id, ok
}

func (g *registry) identity(name string) (*identityv1.Identity, error) {
	if _, err := did.Parse(name); err != nil {
		return nil, ErrBadDID.Wrap(err)
	}
	id, ok := g.lookup(name)
	if !ok {
		return nil, ErrUnknownDID.With("%s", name)
	}
	return id, nil
}

// active refuses a DID that may not act: its own status and that of its
// organisation count.
func (g *registry) active(id *identityv1.Identity) error {
	for {
		switch id.Status {
		case identityv1.Status_STATUS_ACTIVE:
		case identityv1.Status_STATUS_SUSPENDED:
			if !g.lenient || !id.Provisional {
				return ErrSuspended.With("%s", id.Did)
			}
		default:
			return ErrDeactivated.With("%s", id.Did)
		}
		if id.Organisation == id.Did {
			return nil
		}
		organisation, ok := g.lookup(id.Organisation)
		if !ok {
			return ErrUnknownDID.With("%s", id.Organisation)
		}
		id = organisation
	}
}

// recoverable refuses a DID whose keys cannot be recovered. A suspended one can.
func (g *registry) recoverable(id *identityv1.Identity) error {
	if id.Recovery == nil {
		return ErrNoRecoveryRule.With("%s", id.Did)
	}
	if id.Status == identityv1.Status_STATUS_DEACTIVATED {
		return ErrDeactivated.With("%s", id.Did)
	}
	if organisation, ok := g.lookup(id.Organisation); !ok || organisation.Status == identityv1.Status_STATUS_DEACTIVATED {
		return ErrDeactivated.With("%s", id.Organisation)
	}
	return nil
}

// signer resolves the URL of a key and refuses one that may not sign now.
func (g *registry) signer(url string, recovery bool) (string, *identityv1.Key, error) {
	d, name, err := did.ParseURL(url)
	if err != nil {
		return "", nil, ErrBadDID.Wrap(err)
	}
	id, err := g.identity(d.String())
	if err != nil {
		return "", nil, err
	}
	k, ok := g.m.s.keys.Peek(g.r, state.Join(id.Did, name))
	if !ok {
		return "", nil, ErrUnknownKey.With("%s", url)
	}
	if err := usable(k, g.r.Time()); err != nil {
		return "", nil, err
	}
	if !authenticates(k) && (!recovery || !slices.Contains(k.Purposes, identityv1.Purpose_PURPOSE_RECOVERY)) {
		return "", nil, ErrKeyPurpose.With("%s", url)
	}
	if err := g.active(id); err != nil {
		return "", nil, err
	}
	return id.Did, k, nil
}

// support is how many of those that act for a DID signed, and how many it takes.
// The signers are active DIDs.
func (g *registry) support(id *identityv1.Identity, signers []string) (have, want int) {
	if len(id.Controllers) == 0 {
		if slices.Contains(signers, id.Did) {
			return 1, 1
		}
		return 0, 1
	}
	for _, controller := range id.Controllers {
		if id.Kind != identityv1.Kind_KIND_CONSORTIUM {
			if slices.Contains(signers, controller) {
				have++
			}
		} else if g.satisfied(controller, signers) {
			have++
		}
	}
	return have, max(1, int(id.Threshold))
}

// satisfied tells whether an active DID's own rule is met by the signers.
func (g *registry) satisfied(name string, signers []string) bool {
	id, ok := g.lookup(name)
	if !ok || g.active(id) != nil {
		return false
	}
	have, want := g.support(id, signers)
	return have >= want
}

// guardians are those of the recovery rule that the signers satisfy, sorted; at
// least as many as the rule asks for.
func (g *registry) guardians(id *identityv1.Identity, signers []string) ([]string, error) {
	var out []string
	for _, name := range id.Recovery.GetGuardians() {
		if g.satisfied(name, signers) {
			out = append(out, name)
		}
	}
	if want := max(1, int(id.Recovery.GetThreshold())); len(out) < want {
		return nil, ErrNotAuthorised.With("%d of %d guardians of %s", len(out), want, id.Did)
	}
	return out, nil
}
