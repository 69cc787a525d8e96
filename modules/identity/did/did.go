// Package did reads and writes the DIDs of the method "chancery" (W3C DID Core
// 1.0, section 3) and the DID URLs that name their keys and services.
//
//	did:chancery:consortium     all members together
//	did:chancery:SLUG           an organisation; SLUG is [a-z][a-z0-9-]{1,40}
//	did:chancery:SLUG:ID        a person, device or service of it; ID is [a-z0-9-]{1,64}
//	DID#FRAGMENT                a key or service; FRAGMENT is [a-z0-9-]{1,64}
//
// The ID of a person is 26 characters of lower-case base32 (RFC 4648 without
// padding: a-z, 2-7), so that it carries no name.
package did

import (
	"errors"
	"fmt"
	"strings"
)

const (
	// Consortium stands for all member organisations together.
	Consortium = prefix + consortium
	// PersonIDSize is the length of a person's id in characters.
	PersonIDSize = 26
	// MaxSize is the length of the longest DID in bytes.
	MaxSize = len(prefix) + maxSlug + 1 + maxID

	prefix     = "did:chancery:"
	consortium = "consortium"
	maxSlug    = 41
	maxID      = 64
)

var (
	// ErrDID says that a text is no DID of this method.
	ErrDID = errors.New("not a DID of the form did:chancery:SLUG or did:chancery:SLUG:ID")
	// ErrURL says that a text is no DID URL with a fragment.
	ErrURL = errors.New("not a DID URL of the form DID#FRAGMENT")
)

// DID is a DID of this method. The zero value is none.
type DID struct {
	slug string
	id   string
}

// Parse reads a DID. The error wraps ErrDID.
func Parse(s string) (DID, error) {
	if len(s) > MaxSize {
		return DID{}, fmt.Errorf("%w: it has %d bytes, at most %d", ErrDID, len(s), MaxSize)
	}
	rest, ok := strings.CutPrefix(s, prefix)
	if !ok {
		return DID{}, fmt.Errorf("%w: %q", ErrDID, s)
	}
	slug, id, member := strings.Cut(rest, ":")
	if !IsSlug(slug) && slug != consortium || member && (!IsName(id, maxID) || slug == consortium) {
		return DID{}, fmt.Errorf("%w: %q", ErrDID, s)
	}
	return DID{slug: slug, id: id}, nil
}

// Organisation is the DID of the organisation with a slug. It is not checked.
func Organisation(slug string) string { return prefix + slug }

// Member is the DID of a member of the organisation with a slug. It is not checked.
func Member(slug, id string) string { return prefix + slug + ":" + id }

// String is the DID's text.
func (d DID) String() string {
	if d.id == "" {
		return prefix + d.slug
	}
	return prefix + d.slug + ":" + d.id
}

// Slug is the organisation's slug, or "consortium".
func (d DID) Slug() string { return d.slug }

// ID is the part after the slug, empty for an organisation and the consortium.
func (d DID) ID() string { return d.id }

// Organisation is the DID of the organisation, or the consortium's own.
func (d DID) Organisation() string { return prefix + d.slug }

// IsConsortium tells whether d stands for all members together.
func (d DID) IsConsortium() bool { return d.slug == consortium }

// IsOrganisation tells whether d stands for an organisation.
func (d DID) IsOrganisation() bool { return d.id == "" && d.slug != consortium && d.slug != "" }

// IsMember tells whether d stands for a person, device or service.
func (d DID) IsMember() bool { return d.id != "" }

// IsPersonID tells whether id has the form of a person's: 26 characters of
// lower-case base32.
func IsPersonID(id string) bool {
	if len(id) != PersonIDSize {
		return false
	}
	for i := range len(id) {
		if c := id[i]; (c < 'a' || c > 'z') && (c < '2' || c > '7') {
			return false
		}
	}
	return true
}

// IsSlug tells whether s may be an organisation's slug.
func IsSlug(s string) bool {
	return len(s) >= 2 && IsName(s, maxSlug) && s[0] >= 'a' && s[0] <= 'z' && s != consortium
}

// IsName tells whether s is 1 to limit characters of a-z, 0-9 and "-".
func IsName(s string, limit int) bool {
	if s == "" || len(s) > limit {
		return false
	}
	for i := range len(s) {
		if c := s[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return true
}

// IsFragment tells whether s may name a key or a service of a DID.
func IsFragment(s string) bool { return IsName(s, maxID) }

// URL names a key or a service: DID#FRAGMENT. It is not checked.
func URL(did, fragment string) string { return did + "#" + fragment }

// ParseURL reads the URL of a key or a service. The error wraps ErrURL or ErrDID.
func ParseURL(s string) (d DID, fragment string, err error) {
	if len(s) > MaxSize+1+maxID {
		return DID{}, "", fmt.Errorf("%w: it has %d bytes", ErrURL, len(s))
	}
	front, fragment, ok := strings.Cut(s, "#")
	if !ok || !IsFragment(fragment) {
		return DID{}, "", fmt.Errorf("%w: %q", ErrURL, s)
	}
	if d, err = Parse(front); err != nil {
		return DID{}, "", err
	}
	return d, fragment, nil
}
