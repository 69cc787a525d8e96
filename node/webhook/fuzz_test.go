package webhook

import (
	"strings"
	"testing"
)

// A secret is of 24 to 64 bytes, and neither it nor an error about it is ever shown.
func FuzzParseSecret(f *testing.F) {
	f.Add("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
	f.Add("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
	f.Add("whsec_")
	f.Add("whsec_whsec_AAAA")
	f.Fuzz(func(t *testing.T, text string) {
		s, err := ParseSecret(text)
		if err != nil {
			if len(text) > 20 && strings.Contains(err.Error(), text) {
				t.Fatalf("the error shows the secret: %v", err)
			}
			return
		}
		if len(s.key) < 24 || len(s.key) > 64 {
			t.Fatalf("%d bytes are taken", len(s.key))
		}
		if raw, err := s.MarshalText(); err != nil || string(raw) != hidden {
			t.Fatalf("the secret is written as %q, %v", raw, err)
		}
	})
}
