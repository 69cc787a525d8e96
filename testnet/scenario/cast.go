package scenario

import (
	"context"
	"crypto/rand"
	"encoding/base32"
	"errors"
	"fmt"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/errs"
	"github.com/chancery/chancery/chain/keys"
	"github.com/chancery/chancery/chain/tx"
	"github.com/chancery/chancery/modules/identity"
	"github.com/chancery/chancery/modules/identity/did"
	"github.com/chancery/chancery/node/client"
	"github.com/chancery/chancery/node/keyring"
	chainv1 "github.com/chancery/chancery/proto/chancery/chain/v1"
	identityv1 "github.com/chancery/chancery/proto/chancery/identity/v1"
)

// actor is a DID with the keys that act for it.
type actor struct {
	did     string
	signers []tx.Signer
	key     string // its name in the keyring; empty for one with several signers
}

// cast is who plays in the demonstration.
type cast struct {
	consortium actor
	// hospital, lab, insurer and pharma are the members' organisations.
	hospital, lab, insurer, pharma party

	clinician  actor // P-256
	reviewer   actor
	patient    actor // ML-DSA-65
	pep        actor // the hospital's service that enforces decisions
	researcher actor // of the lab
	adjuster   actor // of the insurer
	pipeline   actor // the pharma company's service that reports lineage
}

// party is a member with its keyring.
type party struct {
	Member
	self      actor // acts for the organisation
	registrar actor
}

// parties opens the members' keys.
func (r *run) parties() error {
	all := make([]party, len(r.o.Members))
	for i, m := range r.o.Members {
		p := party{Member: m, self: actor{did: m.Organisation}}
		for k := range m.Needed {
			a, err := existing(m.Keyring, fmt.Sprintf("admin-%d", k+1))
			if err != nil {
				return err
			}
			p.self.signers = append(p.self.signers, a.signers...)
			p.self.key = a.key
		}
		var err error
		if p.registrar, err = existing(m.Keyring, "registrar"); err != nil {
			return err
		}
		all[i] = p
	}
	r.cast.consortium.did = did.Consortium
	for _, p := range all[:r.o.Needed] {
		r.cast.consortium.signers = append(r.cast.consortium.signers, p.self.signers...)
	}
	part := func(i int) party { return all[i%len(all)] }
	r.cast.hospital, r.cast.lab, r.cast.insurer, r.cast.pharma = part(0), part(1), part(2), part(3)
	return nil
}

// existing is the actor of a key that is in the keyring.
func existing(ring *keyring.Keyring, name string) (actor, error) {
	entry, err := ring.Lookup(name)
	if err != nil {
		return actor{}, err
	}
	signer, err := ring.Signer(name)
	if err != nil {
		return actor{}, err
	}
	return actor{did: entry.DID, signers: []tx.Signer{client.Signer(entry.KeyURL, signer)}, key: name}, nil
}

const firstKey = "key-1"

// newcomer makes a key in the party's keyring and the message that registers its
// holder. An id of "" is a person's random one.
func (r *run) newcomer(p party, name, id string, kind identityv1.Kind, t keys.Type) (actor, *identityv1.RegisterIdentity, error) {
	if id == "" {
		id = randomID()
	}
	who := p.Organisation + ":" + id
	name, err := freeName(p.Keyring, name)
	if err != nil {
		return actor{}, nil, err
	}
	if _, err := p.Keyring.Create(name, t); err != nil {
		return actor{}, nil, err
	}
	if err := p.Keyring.Bind(name, who, did.URL(who, firstKey)); err != nil {
		return actor{}, nil, err
	}
	signer, err := p.Keyring.Signer(name)
	if err != nil {
		return actor{}, nil, err
	}
	key, err := identity.Possess(r.o.ChainID, who, firstKey, signer, identityv1.Purpose_PURPOSE_AUTHENTICATION)
	if err != nil {
		return actor{}, nil, err
	}
	return actor{did: who, signers: []tx.Signer{client.Signer(did.URL(who, firstKey), signer)}, key: name},
		&identityv1.RegisterIdentity{Identity: &identityv1.NewIdentity{Did: who, Kind: kind, Keys: []*identityv1.NewKey{key}}}, nil
}

// freeName is the name, or the name with the first number that nobody has: the
// demonstration may run again on the same network.
func freeName(ring *keyring.Keyring, name string) (string, error) {
	for i, try := 2, name; ; i++ {
		_, err := ring.Lookup(try)
		switch {
		case errors.Is(err, keyring.ErrNotFound):
			return try, nil
		case err != nil:
			return "", err
		}
		try = fmt.Sprintf("%s-%d", name, i)
	}
}

// do submits a transaction and waits for its block.
func (r *run) do(ctx context.Context, as actor, messages ...proto.Message) (*chainv1.TxResult, error) {
	result, err := r.c.Do(ctx, as.did, as.signers, messages...)
	if result != nil {
		r.facts.latest = max(r.facts.latest, result.Height)
	}
	return result, err
}

// ask submits one message and reads its response.
func (r *run) ask(ctx context.Context, as actor, message, response proto.Message) (*chainv1.TxResult, error) {
	result, err := r.do(ctx, as, message)
	if err != nil {
		return result, err
	}
	return result, chain.ResponseOf(result, 0, response)
}

// refusal is the code of an error that the network returned, or an error when there
// is none or it is another than wanted.
func refusal(err error, want *errs.Error) (string, error) {
	var e *errs.Error
	switch {
	case err == nil:
		return "", fmt.Errorf("it was accepted; it should have been refused with %s/%d", want.Module, want.Code)
	case !errors.As(err, &e):
		return "", err
	case !errors.Is(err, want):
		return "", fmt.Errorf("it should have been refused with %s/%d, and was with %s/%d: %w", want.Module, want.Code, e.Module, e.Code, err)
	}
	return fmt.Sprintf("%s/%d", e.Module, e.Code), nil
}

// randomID is 26 characters of base32: a person's id, or part of a name that was
// never used.
func randomID() string {
	raw := make([]byte, 16)
	rand.Read(raw) // never fails: it ends the process instead
	return strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(raw))
}

// slug is the last part of an organisation's DID.
func slug(organisation string) string {
	return organisation[strings.LastIndexByte(organisation, ':')+1:]
}
