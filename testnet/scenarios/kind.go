package scenarios

import (
	"fmt"
	"slices"
	"strings"
)

// Kind is a kind of attack.
type Kind uint8

// The kinds of attacks. None is normal life.
const (
	None Kind = iota
	// CredentialTheft is a stolen key, used at other hours, on other resources, in haste.
	CredentialTheft
	// InsiderSnooping is somebody with rights who looks at the wrong people's records.
	InsiderSnooping
	// BulkExfiltration is somebody with rights who takes all there is.
	BulkExfiltration
	// ConsentForgery is consents recorded for people who never gave them.
	ConsentForgery
	// PolicyTampering is rules that are opened, used and closed again.
	PolicyTampering
	// ProvenanceLaundering is a history of data that is falsified.
	ProvenanceLaundering
	// BreakGlassAbuse is emergency access without an emergency.
	BreakGlassAbuse
	// SlowDrift is an insider who goes a little further every day, for weeks.
	SlowDrift
	// Burst is many transactions within one block.
	Burst
	// Mimicry is an attacker who knows the model and the victim's habits, and keeps to them.
	Mimicry
)

var kindNames = []string{
	"none", "credential-theft", "insider-snooping", "bulk-exfiltration", "consent-forgery", "policy-tampering",
	"provenance-laundering", "break-glass-abuse", "slow-drift", "burst", "mimicry",
}

// Kinds are all kinds of attacks, without None.
func Kinds() []Kind {
	out := make([]Kind, 0, len(kindNames)-1)
	for k := CredentialTheft; k <= Mimicry; k++ {
		out = append(out, k)
	}
	return out
}

// String is the kind's name, as ParseKinds reads it.
func (k Kind) String() string {
	if int(k) >= len(kindNames) {
		return fmt.Sprintf("kind-%d", uint8(k))
	}
	return kindNames[k]
}

// ParseKinds reads "all", "none" or names with commas between them, and returns each
// kind once, in the order of the constants.
func ParseKinds(text string) ([]Kind, error) {
	switch text {
	case "all":
		return Kinds(), nil
	case "none", "":
		return nil, nil
	}
	var out []Kind
	for _, name := range strings.Split(text, ",") {
		i := slices.Index(kindNames, strings.TrimSpace(name))
		if i <= 0 {
			return nil, fmt.Errorf("no attack is named %q: want all, none, or some of %s", name, strings.Join(kindNames[1:], ", "))
		}
		out = append(out, Kind(i))
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}
