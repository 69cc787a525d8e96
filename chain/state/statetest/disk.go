// Package statetest has a folder in memory for trees under test, which can fail
// and forget as a disk does.
package statetest

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"maps"
	"slices"
	"sync"

	"github.com/chancery/chancery/chain/state"
)

// ErrCrash is what every step returns once the process is taken to be dead.
var ErrCrash = errors.New("statetest: the process is dead")

// Disk is a folder in memory. It implements state.Files and outlives Close.
type Disk struct {
	mu      sync.Mutex
	now     map[string]*inode // as a process sees it
	durable map[string]*inode // as of the last Sync
	steps   int
	crash   int // the step that fails with all that follow, 0: none
	partly  bool
}

type inode struct {
	data   []byte
	synced int
}

// NewDisk is an empty folder.
func NewDisk() *Disk { return &Disk{now: map[string]*inode{}, durable: map[string]*inode{}} }

// CrashAt makes the n-th step from now that writes fail, and all after it. With
// partly that step has been done, a write up to its half.
func (d *Disk) CrashAt(n int, partly bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.steps, d.crash, d.partly = 0, n, partly
}

// Steps is how many steps have written since CrashAt, or since the beginning.
func (d *Disk) Steps() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.steps
}

// Killed is what the folder holds after the process was killed.
func (d *Disk) Killed() *Disk {
	d.mu.Lock()
	defer d.mu.Unlock()
	return left(d.now, func(i *inode) int { return len(i.data) })
}

// PowerLost is what the folder holds after a power failure: of every file what was
// synced and of the rest the part that tail says, under the names of the last Sync
// or, with names, under those of now.
func (d *Disk) PowerLost(names bool, tail func(unsynced int) int) *Disk {
	d.mu.Lock()
	defer d.mu.Unlock()
	files := d.durable
	if names {
		files = d.now
	}
	return left(files, func(i *inode) int { return i.synced + tail(len(i.data)-i.synced) })
}

func left(files map[string]*inode, size func(*inode) int) *Disk {
	out := NewDisk()
	for _, name := range slices.Sorted(maps.Keys(files)) {
		n := size(files[name])
		out.now[name] = &inode{data: bytes.Clone(files[name].data[:n]), synced: n}
	}
	out.durable = maps.Clone(out.now)
	return out
}

// Bytes is what a file holds.
func (d *Disk) Bytes(name string) []byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	if i := d.now[name]; i != nil {
		return bytes.Clone(i.data)
	}
	return nil
}

// Put makes a file with the given bytes.
func (d *Disk) Put(name string, data []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.now[name] = &inode{data: bytes.Clone(data), synced: len(data)}
	d.durable[name] = d.now[name]
}

// step does something that writes, or fails.
func (d *Disk) step(do func(whole bool) error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.steps++
	if d.crash == 0 || d.steps < d.crash {
		return do(true)
	}
	if d.steps == d.crash && d.partly {
		_ = do(false) // the process learns nothing of it
	}
	return ErrCrash
}

// List implements state.Files.
func (d *Disk) List() ([]string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Sorted(maps.Keys(d.now)), nil
}

// Open implements state.Files.
func (d *Disk) Open(name string) (io.ReadCloser, int64, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	i := d.now[name]
	if i == nil {
		return nil, 0, fs.ErrNotExist
	}
	return io.NopCloser(bytes.NewReader(bytes.Clone(i.data))), int64(len(i.data)), nil
}

// Create implements state.Files.
func (d *Disk) Create(name string) (state.File, error) {
	f := &file{disk: d, inode: &inode{}}
	return f, d.step(func(bool) error {
		d.now[name] = f.inode
		return nil
	})
}

// Truncate implements state.Files.
func (d *Disk) Truncate(name string, size int64) error {
	return d.step(func(bool) error {
		i := d.now[name]
		if i == nil || size > int64(len(i.data)) {
			return fs.ErrInvalid
		}
		i.data, i.synced = i.data[:size], int(size)
		return nil
	})
}

// Rename implements state.Files.
func (d *Disk) Rename(from, to string) error {
	return d.step(func(bool) error {
		if d.now[from] == nil {
			return fs.ErrNotExist
		}
		d.now[to] = d.now[from]
		delete(d.now, from)
		return nil
	})
}

// Remove implements state.Files.
func (d *Disk) Remove(name string) error {
	return d.step(func(bool) error {
		if d.now[name] == nil {
			return fs.ErrNotExist
		}
		delete(d.now, name)
		return nil
	})
}

// Sync implements state.Files.
func (d *Disk) Sync() error {
	return d.step(func(bool) error {
		d.durable = maps.Clone(d.now)
		return nil
	})
}

// Close implements state.Files.
func (d *Disk) Close() error { return nil }

type file struct {
	disk  *Disk
	inode *inode
}

func (f *file) Write(b []byte) (int, error) {
	err := f.disk.step(func(whole bool) error {
		n := len(b)
		if !whole {
			n /= 2
		}
		f.inode.data = append(f.inode.data, b[:n]...)
		return nil
	})
	if err != nil {
		return 0, err
	}
	return len(b), nil
}

func (f *file) Sync() error {
	return f.disk.step(func(bool) error {
		f.inode.synced = len(f.inode.data)
		return nil
	})
}

func (f *file) Close() error { return nil }

var _ state.Files = (*Disk)(nil)
