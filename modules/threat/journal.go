package threat

import (
	"slices"

	"github.com/chancery/chancery/modules/threat/features"
	"github.com/chancery/chancery/modules/threat/stream/profile"
	threatv1 "github.com/chancery/chancery/proto/chancery/threat/v1"
)

// Subjects of traces: an actor's is its DID.
const (
	organisationSubject = "org:"
	peersSubject        = "peers:"
)

// actorKinds are the kinds of actors by their number in journals; the first stands for
// any other.
var actorKinds = [...]string{"other", "organisation", "person", "device", "service", "consortium"}

func kindNumber(kind string) uint32 { return uint32(max(slices.Index(actorKinds[:], kind), 0)) }

// peersOf is the subject of the actors of one kind in an organisation.
func peersOf(organisation string, kind uint32) string {
	return peersSubject + organisation + ":" + actorKinds[kind]
}

// deed is one transaction of a journal with the names that its indices stand for.
type deed struct {
	actor, organisation string // DIDs
	kind                uint32
	time                int64
	*threatv1.Entry
}

func (d deed) event() (e profile.Event) {
	copy(e[:], d.Event)
	return e
}

// counted is how histories count it.
func (d deed) counted() features.Deed {
	return features.Deed{
		Failed: d.Failed || d.Fate == threatv1.Fate_FATE_DENIED,
		Held:   d.Fate == threatv1.Fate_FATE_HELD,
		Fresh:  d.Fresh, Sensitive: d.Sensitive, Wander: d.Wander, Evidence: d.Evidence,
	}
}

// fate is what of it matters to training.
func (d deed) fate() profile.Fate {
	switch d.Fate {
	case threatv1.Fate_FATE_ADMITTED:
		return profile.FateAdmitted
	case threatv1.Fate_FATE_HELD:
		return profile.FateHeld
	case threatv1.Fate_FATE_DENIED:
		return profile.FateDenied
	}
	return profile.FateUnknown
}

// deedOf is the i-th transaction of a journal that passed checkJournal.
func deedOf(j *threatv1.Journal, i int) deed {
	e := j.Entries[i]
	return deed{
		actor: j.Actors[e.Actor], organisation: j.Organisations[j.Organisation[e.Actor]],
		kind: j.Kind[e.Actor], time: j.Time, Entry: e,
	}
}

// checkJournal tells what makes a journal no journal: an index that leads nowhere, a
// name twice or out of order of appearance, an event that is too long, a fate that
// there is not.
func checkJournal(j *threatv1.Journal) error {
	switch {
	case len(j.GetEntries()) == 0:
		return ErrInvalid.With("a journal has no entry")
	case len(j.Organisation) != len(j.Actors) || len(j.Kind) != len(j.Actors):
		return ErrInvalid.With("a journal has not one organisation and kind for each actor")
	}
	if err := distinct(j.Actors); err != nil {
		return err
	}
	if err := distinct(j.Organisations); err != nil {
		return err
	}
	next := uint32(0)
	for i, o := range j.Organisation {
		if o > next || int(o) >= len(j.Organisations) || int(j.Kind[i]) >= len(actorKinds) {
			return ErrInvalid.With("actor %d of a journal", i)
		}
		if o == next {
			next++
		}
	}
	if int(next) != len(j.Organisations) {
		return ErrInvalid.With("a journal has organisations without actors")
	}
	next = 0
	for i, e := range j.Entries {
		if e == nil || e.Actor > next || int(e.Actor) >= len(j.Actors) || len(e.Event) > profile.MaxFeatures ||
			e.Fate < threatv1.Fate_FATE_ADMITTED || e.Fate > threatv1.Fate_FATE_DENIED {
			return ErrInvalid.With("entry %d of a journal", i)
		}
		if e.Actor == next {
			next++
		}
	}
	if int(next) != len(j.Actors) {
		return ErrInvalid.With("a journal has actors without entries")
	}
	return nil
}

func distinct(names []string) error {
	known := make(map[string]struct{}, len(names))
	for _, n := range names {
		if _, twice := known[n]; twice || n == "" {
			return ErrInvalid.With("a journal names %q twice, or nobody", n)
		}
		known[n] = struct{}{}
	}
	return nil
}

// writer gathers the journal of a block.
type writer struct {
	journal       threatv1.Journal
	actors        map[string]uint32
	organisations map[string]uint32
}

func (w *writer) add(actor, organisation string, kind uint32, e *threatv1.Entry) {
	if w.actors == nil {
		w.actors, w.organisations = make(map[string]uint32), make(map[string]uint32)
	}
	at, ok := w.actors[actor]
	if !ok {
		at = uint32(len(w.journal.Actors))
		w.actors[actor] = at
		o, ok := w.organisations[organisation]
		if !ok {
			o = uint32(len(w.journal.Organisations))
			w.organisations[organisation] = o
			w.journal.Organisations = append(w.journal.Organisations, organisation)
		}
		w.journal.Actors = append(w.journal.Actors, actor)
		w.journal.Organisation = append(w.journal.Organisation, o)
		w.journal.Kind = append(w.journal.Kind, kind)
	}
	e.Actor = at
	w.journal.Entries = append(w.journal.Entries, e)
}
