package provenance

import (
	"strings"

	pb "github.com/chancery/chancery/proto/chancery/provenance/v1"
)

const (
	maxID   = 128
	maxIRI  = 256
	maxRole = 128
	didRoot = "did:chancery:"
)

// table is a set of ASCII characters.
type table [128]bool

func tableOf(chars string) (t table) {
	for i := 0; i < len(chars); i++ {
		t[chars[i]] = true
	}
	return t
}

const (
	digits  = "0123456789"
	lower   = "abcdefghijklmnopqrstuvwxyz"
	letters = lower + "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
)

var (
	idChars     = tableOf(letters + digits + "._~:/@#+=%-,;!$&*()?")
	iriChars    = tableOf(letters + digits + "._~:/@#+=%-,;!$&*()?'[]")
	schemeChars = tableOf(letters + digits + "+-.")
	slugChars   = tableOf(lower + digits + "-")
	mediaChars  = tableOf(letters + digits + "!#$&^_.+-/;= ")
	personChars = tableOf(lower + "234567")
)

func only(s string, t *table) bool {
	for i := 0; i < len(s); i++ {
		if s[i] >= 128 || !t[s[i]] {
			return false
		}
	}
	return true
}

func isID(s string) bool {
	return s != "" && len(s) <= maxID && only(s, &idChars) && isPercentEncoded(s)
}

// isPercentEncoded tells whether two hexadecimal digits follow each percent sign.
func isPercentEncoded(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && (i+2 >= len(s) || !isHexDigit(s[i+1]) || !isHexDigit(s[i+2])) {
			return false
		}
	}
	return true
}

// isIRI accepts absolute IRIs in ASCII, RFC 3986 section 4.3 with a fragment.
func isIRI(s string) bool {
	scheme, rest, ok := strings.Cut(s, ":")
	if !ok || rest == "" || len(s) > maxIRI || scheme == "" || !only(scheme, &schemeChars) || !only(rest, &iriChars) {
		return false
	}
	c := scheme[0] | 0x20
	return c >= 'a' && c <= 'z' && isPercentEncoded(rest)
}

func isHexDigit(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
}

// isOrganisation accepts DIDs of organisations: did:chancery:<slug>.
func isOrganisation(s string) bool {
	slug, ok := strings.CutPrefix(s, didRoot)
	return ok && len(slug) >= 2 && len(slug) <= 41 && slug[0] >= 'a' && slug[0] <= 'z' && only(slug, &slugChars)
}

func isRole(s string) bool { return isID(s) || len(s) <= maxRole && isIRI(s) }

func isMediaType(s string) bool {
	if s == "" {
		return true
	}
	top, sub, ok := strings.Cut(s, "/")
	return ok && len(s) <= 128 && top != "" && sub != "" && only(s, &mediaChars) && s[0] != ' ' && s[len(s)-1] != ' '
}

func checkID(id string) error {
	if !isID(id) {
		return ErrBadID.With("%.140q", id)
	}
	return nil
}

// checkRef refuses a reference that cannot lead anywhere.
func checkRef(where string, r *pb.Ref) error {
	switch {
	case r == nil:
		return ErrBadRelation.With("%s is missing", where)
	case r.External != "":
		if r.Organisation != "" || r.Id != "" || r.Version != 0 {
			return ErrBadRelation.With("%s is external and names a node too", where)
		}
		if !isIRI(r.External) {
			return ErrBadIRI.With("%s.external", where)
		}
		return nil
	case !isID(r.Id):
		return ErrBadID.With("%s.id is %.140q", where, r.Id)
	case r.Organisation != "" && !isOrganisation(r.Organisation):
		return ErrBadRelation.With("%s.organisation is not the DID of an organisation", where)
	}
	return nil
}
