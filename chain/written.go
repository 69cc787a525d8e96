package chain

import (
	"sync"

	"github.com/chancery/chancery/chain/state"
)

// written is in which version something of each collection was written last, as far as this
// process saw it. Queries ask for it alone.
type written struct {
	//determinism:allow guards what queries share; no transaction and no block reads it
	mu          sync.RWMutex // guards the rest
	first, last int64        // the versions that are known of
	at          map[[2]byte]int64
}

// begin forgets what was seen: there is a state of a version, whoever wrote it.
func (w *written) begin(version int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.forget(version)
}

// see takes notice of a version that was saved, and of what changed in it. Where the one before
// it was not seen, nothing is known of what came before.
func (w *written) see(version int64, changes []state.Change) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if version != w.last+1 {
		w.forget(version)
		return
	}
	w.last = version
	for _, c := range changes {
		if len(c.Key) >= 2 {
			w.at[[2]byte(c.Key)] = version
		}
	}
}

// forget needs mu held.
func (w *written) forget(version int64) {
	w.first, w.last, w.at = version, version, make(map[[2]byte]int64)
}

// since is the version from which on a collection, of the two bytes that its keys begin with, has
// been as it is in a version; false where that is not known.
func (w *written) since(version int64, collection []byte) (int64, bool) {
	w.mu.RLock()
	defer w.mu.RUnlock()
	at := max(w.at[[2]byte(collection)], w.first)
	return at, at <= version && version <= w.last
}

// Since is from which version on the collections, each by the prefix of its keys, have been as
// they are in the committed state that a query reads. Queries of which it is the same find the
// same there, so that what one worked out of these collections alone another can use. It is not
// known of old states, nor where nothing is Kept.
func Since(r ReadCtx, collections ...[]byte) (version int64, ok bool) {
	v, is := r.(*view)
	if !is || v.kept == nil {
		return 0, false
	}
	for _, c := range collections {
		at, ok := v.kept.written.since(v.height, c)
		if !ok {
			return 0, false
		}
		version = max(version, at)
	}
	return version, true
}
