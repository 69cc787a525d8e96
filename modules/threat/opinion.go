package threat

import (
	"bytes"
	"regexp"

	"github.com/chancery/chancery/chain/errs"
	threatv1 "github.com/chancery/chancery/proto/chancery/threat/v1"
)

// Bounds of a vote extension.
const (
	maxExtensionBytes = 4 << 10
	maxAssessments    = 32
	maxSubjectBytes   = 128
)

var subjectForm = regexp.MustCompile(`^did:chancery:[a-z][a-z0-9-]{1,40}(:[a-z0-9-]{1,64})?$`)

// isSubject tells whether s has the form of a DID. It may still name nobody.
func isSubject(s string) bool { return len(s) <= maxSubjectBytes && subjectForm.MatchString(s) }

// ParseExtension reads a vote extension, of which empty is the one that says nothing.
// It looks at the bytes alone, so that whether a vote counts depends on nothing else:
// at most 4 KiB of canonical chancery.threat.v1.Assessments, at most 32, sorted by
// subject, each subject once and with the form of a DID, risk and cause known, a source
// of 32 bytes or none, until not negative. Errors are ErrInvalid.
func ParseExtension(raw []byte) (*threatv1.Assessments, error) {
	if len(raw) > maxExtensionBytes {
		return nil, ErrInvalid.With("a vote extension of %d bytes, at most %d", len(raw), maxExtensionBytes)
	}
	a := new(threatv1.Assessments)
	if err := a.UnmarshalVT(raw); err != nil {
		return nil, ErrInvalid.With("a vote extension that does not parse")
	}
	if len(a.ProtoReflect().GetUnknown()) > 0 {
		return nil, ErrInvalid.With("a vote extension with unknown fields")
	}
	if len(a.Assessments) > maxAssessments {
		return nil, ErrInvalid.With("%d assessments, at most %d", len(a.Assessments), maxAssessments)
	}
	for i, o := range a.Assessments {
		if err := checkAssessment(o); err != nil {
			return nil, ErrInvalid.With("assessment %d: %s", i, err.Detail)
		}
		if i > 0 && a.Assessments[i-1].Subject >= o.Subject {
			return nil, ErrInvalid.With("assessment %d: not sorted by subject, or twice on one", i)
		}
	}
	again, err := a.MarshalVT()
	if err != nil || !bytes.Equal(again, raw) {
		return nil, ErrInvalid.With("a vote extension that is not canonical")
	}
	return a, nil
}

func checkAssessment(o *threatv1.Assessment) *errs.Error {
	_, risk := threatv1.Risk_name[int32(o.Risk)]
	_, cause := threatv1.Cause_name[int32(o.Cause)]
	switch {
	case len(o.ProtoReflect().GetUnknown()) > 0:
		return ErrInvalid.With("unknown fields")
	case !isSubject(o.Subject):
		return ErrInvalid.With("subject is no DID")
	case !risk:
		return ErrInvalid.With("risk %d is unknown", o.Risk)
	case !cause:
		return ErrInvalid.With("cause %d is unknown", o.Cause)
	case len(o.Source) != 0 && len(o.Source) != hashSize:
		return ErrInvalid.With("source has %d bytes, want %d or none", len(o.Source), hashSize)
	case o.Until < 0:
		return ErrInvalid.With("until is negative")
	}
	return nil
}
