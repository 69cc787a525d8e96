package consent

import (
	"slices"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/state"
	consentv1 "github.com/chancery/chancery/proto/chancery/consent/v1"
)

// will is how a message says that a subject's will was expressed.
type will struct {
	method     consentv1.Method
	evidence   []byte
	givenAt    int64
	subjectDID string
	source     *consentv1.Source
}

// onBehalf tells whether the author says to act for the controller.
func (w will) onBehalf() bool {
	return w.method != consentv1.Method_METHOD_UNSPECIFIED && w.method != consentv1.Method_METHOD_SIGNED
}

// check is what must hold of it whatever the state. needSource says whether an
// import must name its document, needEvidence whether acting on behalf must be
// proven.
func (w will) check(needSource, needEvidence bool) error {
	switch {
	case w.method < 0 || w.method > consentv1.Method_METHOD_IMPORTED:
		return ErrInvalid.With("method is unknown")
	case w.givenAt < 0:
		return ErrInvalid.With("given_at is not a time in Unix milliseconds")
	case !w.onBehalf() && (w.givenAt != 0 || len(w.evidence) != 0):
		return ErrInvalid.With("given_at and evidence_hash are for a method other than SIGNED")
	case w.method == consentv1.Method_METHOD_IMPORTED && w.source == nil && needSource:
		return ErrInvalid.With("source is missing, and method is IMPORTED")
	case w.onBehalf() && len(w.evidence) == 0 && w.source == nil && needEvidence:
		return ErrEvidence
	case w.onBehalf() && len(w.evidence) == 0 && w.method != consentv1.Method_METHOD_IMPORTED && needEvidence:
		return ErrEvidence
	}
	for _, err := range []error{
		checkOptionalHash("evidence_hash", w.evidence),
		checkPerson("subject_did", w.subjectDID),
		checkSource(w.source),
	} {
		if err != nil {
			return err
		}
	}
	return nil
}

// checkPerson accepts nothing, or a DID whose id carries no name: 26 characters of
// lower-case base32.
func checkPerson(field, did string) error {
	if err := checkOptionalDID(field, did); err != nil || did == "" {
		return err
	}
	organisation, id := splitDID(did)
	if organisation == did || len(id) != 26 || !every(id, func(c byte) bool { return isLower(c) || c >= '2' && c <= '7' }) {
		return ErrInvalid.With("%s is not a person's DID, whose id is 26 characters of base32", field)
	}
	return nil
}

// expressed is a will that the author was entitled to express.
type expressed struct {
	method   consentv1.Method
	evidence []byte
	givenAt  int64
	bind     string // the DID that the commitment is bound to, or empty
}

// entitle decides whether the author may express a subject's will towards a
// controller: as the subject, as a delegate with one of the scopes, or as an
// officer of the controller. d is nil when there is no dossier; then a person who
// acts for nobody else takes the commitment as its own.
func (m *Module) entitle(r chain.ReadCtx, d *consentv1.Dossier, subject []byte, controller string, w will, scopes ...consentv1.Scope) (expressed, error) {
	x := expressed{method: w.method, evidence: w.evidence, givenAt: w.givenAt, bind: d.GetSubjectDid()}
	if x.givenAt == 0 {
		x.givenAt = r.Time()
	}
	if w.onBehalf() {
		switch {
		case !m.isOfficer(r, controller):
			return x, ErrNotAuthorised.With("only an officer of the controller may record on a subject's behalf")
		case x.givenAt > r.Time():
			return x, ErrTime.With("given_at is after block time")
		}
		if len(x.evidence) == 0 && w.source != nil {
			x.evidence = w.source.Hash
		}
		return x, x.bindTo(w.subjectDID)
	}
	x.method = consentv1.Method_METHOD_SIGNED
	switch {
	case m.isSubject(r, d) || m.isDelegate(r, subject, controller, scopes...):
		return x, x.bindTo(w.subjectDID)
	case d == nil && m.isPerson(r, r.Author()):
		if w.subjectDID != "" && w.subjectDID != r.Author() {
			return x, ErrNotAuthorised.With("subject_did is not the author")
		}
		x.bind = r.Author()
		return x, nil
	case d.GetSubjectDid() != "" && m.isPerson(r, r.Author()):
		return x, ErrSubjectBound
	}
	return x, ErrNotAuthorised
}

func (x *expressed) bindTo(did string) error {
	switch {
	case did == "" || did == x.bind:
	case x.bind == "":
		x.bind = did
	default:
		return ErrSubjectBound
	}
	return nil
}

// mayEnd decides whether the author may end or narrow what the subject gave: the
// subject, a delegate with one of the scopes, or an officer of the controller.
func (m *Module) mayEnd(r chain.ReadCtx, d *consentv1.Dossier, subject []byte, controller string, scopes ...consentv1.Scope) error {
	if m.isSubject(r, d) || m.isDelegate(r, subject, controller, scopes...) || m.isOfficer(r, controller) {
		return nil
	}
	return ErrNotAuthorised
}

func (m *Module) isSubject(r chain.ReadCtx, d *consentv1.Dossier) bool {
	return d.GetSubjectDid() != "" && d.SubjectDid == r.Author()
}

func (m *Module) isDelegate(r chain.ReadCtx, subject []byte, controller string, scopes ...consentv1.Scope) bool {
	d, ok := m.delegations.Lookup(r, state.Join3(subject, controller, r.Author()))
	return ok && !passed(d.Until, r.Time()) &&
		slices.ContainsFunc(d.Scopes, func(s consentv1.Scope) bool { return slices.Contains(scopes, s) })
}

func (m *Module) isOfficer(r chain.ReadCtx, controller string) bool {
	switch {
	case r.Author() == controller:
		return true
	case r.Organisation() != controller:
		return false
	}
	return contains(m.identity.Roles(r, r.Author()), Role) || m.identity.IsAdministrator(r, controller, r.Author())
}

func (m *Module) isPerson(r chain.ReadCtx, did string) bool {
	kind, ok := m.identity.Kind(r, did)
	return ok && kind == "person"
}

func (m *Module) checkController(r chain.ReadCtx, controller string) error {
	if kind, ok := m.identity.Kind(r, controller); !ok || kind != "organisation" || !m.identity.Active(r, controller) {
		return ErrController.With("%s", controller)
	}
	return nil
}
