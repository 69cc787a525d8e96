package governance

import (
	"crypto/sha256"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	maxTitle = 120
	maxLink  = 256
	maxDID   = 256
	// maxDigits is how many digits with nothing but separators between them are no number
	// of a person: a date has eight.
	maxDigits = 8
	// maxWord is the longest word: what is longer is a key, a token or a hash.
	maxWord = 40
)

func checkHash(field string, hash []byte) error {
	if len(hash) != sha256.Size {
		return ErrInvalid.With("%s must be the %d bytes of a SHA-256", field, sha256.Size)
	}
	return nil
}

// checkTitle refuses text that is no title, and what looks like data about a person, a way
// to reach one, or a secret. It cannot know names: those who propose must.
func checkTitle(title string) error {
	if len(title) > maxTitle || strings.TrimSpace(title) == "" || !utf8.ValidString(title) || strings.ContainsFunc(title, unicode.IsControl) {
		return ErrInvalid.With("title must have 1 to %d bytes of UTF-8 without control characters", maxTitle)
	}
	if i := strings.IndexByte(title, '@'); i >= 0 {
		return ErrPersonal.With("title: an at sign at byte %d", i)
	}
	digits, start := 0, 0
	for i, c := range title {
		switch {
		case unicode.IsDigit(c):
			if digits == 0 {
				start = i
			}
			if digits++; digits > maxDigits {
				return ErrPersonal.With("title: a long number at byte %d", start)
			}
		case !strings.ContainsRune(" -./()", c):
			digits = 0
		}
	}
	for _, word := range strings.Fields(title) {
		if len(word) > maxWord {
			return ErrPersonal.With("title: a word of %d bytes, which looks like a key or a token", len(word))
		}
	}
	return nil
}

// checkLink accepts an absolute https link in ASCII without what could carry an address or
// a token: user information and a query.
func checkLink(link string) error {
	if link == "" {
		return nil
	}
	rest, ok := strings.CutPrefix(link, "https://")
	printable := !strings.ContainsFunc(link, func(c rune) bool { return c <= 0x20 || c >= 0x7F || strings.ContainsRune("\"<>\\^`{|}", c) })
	if len(link) > maxLink || !ok || rest == "" || rest[0] == '/' || !printable {
		return ErrInvalid.With("rationale_link must be an absolute https link of at most %d bytes in ASCII", maxLink)
	}
	if strings.ContainsAny(link, "@?") {
		return ErrPersonal.With("rationale_link: it has user information or a query, which can carry an address or a token")
	}
	return nil
}
