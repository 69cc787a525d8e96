package consensus

import (
	"errors"
	"fmt"
	"io"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/consensus/snapshots"
)

// restoring is a snapshot on its way into the state. The engine's snapshot connection,
// one call at a time, feeds it.
type restoring struct {
	height  int64
	of      snapshots.Description
	next    int      // index of the chunk to come
	fed     int64    // bytes of those before it
	senders []string // that gave chunks
	pipe    *io.PipeWriter
	work    *task[struct{}]
}

var errAbandoned = errors.New("the restoring of this snapshot was given up")

// restore begins. The state takes its image from a pipe, so that no more than a chunk is
// in memory.
func restore(app *chain.App, height int64, of snapshots.Description) *restoring {
	in, out := io.Pipe()
	r := &restoring{height: height, of: of, pipe: out}
	r.work = begin(func() (struct{}, error) {
		err := app.Restore(in, height, of.Root)
		_ = in.CloseWithError(errors.Join(err, io.ErrClosedPipe)) // nobody reads any more
		return struct{}{}, err
	})
	return r
}

// feed hands over the next chunk. It tells whether that was the last, and then the state
// is restored.
func (r *restoring) feed(chunk []byte) (done bool, err error) {
	if _, err := r.pipe.Write(chunk); err != nil {
		_, failed := r.work.wait()
		return false, errors.Join(failed, err)
	}
	r.next++
	r.fed += int64(len(chunk))
	if r.next < len(r.of.Chunks) {
		return false, nil
	}
	var lie error // nil: the image ends here
	if r.fed != r.of.Size {
		lie = fmt.Errorf("its chunks have %d bytes, its description says %d", r.fed, r.of.Size)
	}
	_ = r.pipe.CloseWithError(lie) // it never fails
	_, err = r.work.wait()
	return err == nil, err
}

// abandon gives up; nil may be abandoned.
func (r *restoring) abandon() {
	if r == nil {
		return
	}
	_ = r.pipe.CloseWithError(errAbandoned) // it never fails
	<-r.work.done
}
