package identity

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain"
	identityv1 "github.com/chancery/chancery/proto/chancery/identity/v1"
)

func (m *Module) setAuthorities() chain.Route {
	return chain.Handle(chain.Handler[*identityv1.SetAuthorities]{
		Validate: func(msg *identityv1.SetAuthorities) error {
			if len(msg.Certificates) > MaxAuthorities {
				return ErrTooMany.With("certificates: %d, at most %d", len(msg.Certificates), MaxAuthorities)
			}
			for i, der := range msg.Certificates {
				if _, err := NewAuthority(der); err != nil {
					return err
				}
				if slices.ContainsFunc(msg.Certificates[:i], func(o []byte) bool { return bytes.Equal(o, der) }) {
					return ErrTwice.With("certificates: the one at place %d", i+1)
				}
			}
			return nil
		},
		Check: func(ctx chain.ReadCtx, msg *identityv1.SetAuthorities) error {
			if _, err := m.own(ctx, identityv1.Kind_KIND_ORGANISATION); err != nil {
				return err
			}
			for i, der := range msg.Certificates {
				a, err := NewAuthority(der)
				if err != nil {
					return err
				}
				if a.ExpiresAt <= ctx.Time() {
					return ErrBadAuthority.With("the one at place %d has expired", i+1)
				}
			}
			return nil
		},
		Execute: func(ctx *chain.Ctx, msg *identityv1.SetAuthorities) (proto.Message, error) {
			before, _ := m.s.authorities.Lookup(ctx, ctx.Author())
			now := &identityv1.Authorities{Organisation: ctx.Author(), Changed: mark(ctx, 0)}
			response := &identityv1.SetAuthoritiesResponse{}
			for _, der := range msg.Certificates {
				a, err := NewAuthority(der)
				if err != nil {
					return nil, err
				}
				a.Revoked = authorityOf(before.GetAuthorities(), a.Fingerprint).GetRevoked()
				now.Authorities = append(now.Authorities, a)
				response.Fingerprints = append(response.Fingerprints, a.Fingerprint)
			}
			m.s.authorities.Put(ctx, ctx.Author(), now)
			ctx.Emit(&identityv1.AuthoritiesSet{Organisation: ctx.Author(), Fingerprints: response.Fingerprints})
			return response, nil
		},
	})
}

// authorityOf is the authority with a fingerprint, nil where there is none.
func authorityOf(list []*identityv1.Authority, fingerprint []byte) *identityv1.Authority {
	i := slices.IndexFunc(list, func(a *identityv1.Authority) bool { return bytes.Equal(a.Fingerprint, fingerprint) })
	if i < 0 {
		return nil
	}
	return list[i]
}

func (m *Module) revokeCertificate() chain.Route {
	return chain.Handle(chain.Handler[*identityv1.RevokeCertificate]{
		Validate: func(msg *identityv1.RevokeCertificate) error {
			if len(msg.Authority) != sha256.Size {
				return ErrNoAuthority.With("a fingerprint has %d bytes, this one %d", sha256.Size, len(msg.Authority))
			}
			if err := checkSerial(msg.Serial); err != nil {
				return err
			}
			return checkReason(msg.Reason)
		},
		Check: func(ctx chain.ReadCtx, msg *identityv1.RevokeCertificate) error {
			if _, err := m.own(ctx, identityv1.Kind_KIND_ORGANISATION); err != nil {
				return err
			}
			_, _, err := m.revocableCertificate(ctx, msg)
			return err
		},
		Execute: func(ctx *chain.Ctx, msg *identityv1.RevokeCertificate) (proto.Message, error) {
			all, one, err := m.revocableCertificate(ctx, msg)
			if err != nil {
				return nil, err
			}
			at, _ := slices.BinarySearchFunc(one.Revoked, msg.Serial, bytes.Compare)
			one.Revoked = slices.Insert(one.Revoked, at, msg.Serial)
			all.Changed = mark(ctx, 0)
			m.s.authorities.Put(ctx, ctx.Author(), all)
			ctx.Emit(&identityv1.CertificateRevoked{Organisation: ctx.Author(), Authority: msg.Authority, Serial: msg.Serial, Reason: msg.Reason})
			return &identityv1.RevokeCertificateResponse{}, nil
		},
	})
}

// revocableCertificate is the author's authorities and the one of them that the message names,
// which has room for one more serial number.
func (m *Module) revocableCertificate(r chain.ReadCtx, msg *identityv1.RevokeCertificate) (*identityv1.Authorities, *identityv1.Authority, error) {
	all, _ := m.s.authorities.Lookup(r, r.Author())
	one := authorityOf(all.GetAuthorities(), msg.Authority)
	if one == nil {
		return nil, nil, ErrNoAuthority.With("%s", hex.EncodeToString(msg.Authority))
	}
	if revoked(one, msg.Serial) {
		return nil, nil, ErrRevokedAlready.With("%s", hex.EncodeToString(msg.Serial))
	}
	if len(one.Revoked) >= MaxRevoked {
		return nil, nil, ErrTooManyRevoked.With("%d, at most %d", len(one.Revoked), MaxRevoked)
	}
	return all, one, nil
}

func revoked(a *identityv1.Authority, serial []byte) bool {
	_, found := slices.BinarySearchFunc(a.Revoked, serial, bytes.Compare)
	return found
}

// checkSerial checks the form of a serial number (RFC 5280, section 4.1.2.2).
func checkSerial(serial []byte) error {
	if len(serial) == 0 || len(serial) > 20 || serial[0] == 0 {
		return ErrBadSerial.With("%d bytes", len(serial))
	}
	return nil
}
