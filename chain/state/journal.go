package state

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// The files of a tree in memory. A segment is named after the first version that
// it may hold, an image after its version; a file that is being written has the
// suffix of temporary files until it is whole.
const (
	logPrefix   = "log-"
	imagePrefix = "image-"
	temporary   = ".tmp"
)

func fileName(prefix string, version int64) string { return fmt.Sprintf("%s%020d", prefix, version) }

func versionIn(name, prefix string) (int64, bool) {
	version, err := strconv.ParseInt(strings.TrimPrefix(name, prefix), 10, 64)
	return version, err == nil && fileName(prefix, version) == name
}

// journal keeps a tree in memory on disk.
type journal struct {
	files   Files
	options MemoryOptions

	// Of the goroutine that saves.
	segment File // nil: the next record begins one
	written int64
	body    []byte // of a record
	buf     []byte // with the record

	//determinism:allow guards the books of files, which are no state
	mu        sync.Mutex // guards what follows
	logs      []int64    // segments, ascending
	images    []int64    // ascending
	imageSize int64      // bytes of the latest, before they were compressed
	bytes     int64      // of records since the latest image, before they were compressed
	versions  int64      // since the latest image
}

// open removes what was never finished and loads the newest whole image.
func (j *journal) open(found *Recovery) (*memorySnapshot, *nodes, error) {
	names, err := j.files.List()
	if err != nil {
		return nil, nil, err
	}
	slices.Sort(names)
	for _, name := range names {
		if strings.HasSuffix(name, temporary) {
			if err := j.files.Remove(name); err != nil {
				return nil, nil, err
			}
			continue
		}
		if version, ok := versionIn(name, logPrefix); ok {
			j.logs = append(j.logs, version)
		}
		if version, ok := versionIn(name, imagePrefix); ok {
			j.images = append(j.images, version)
		}
	}
	for len(j.images) > 0 {
		version := j.images[len(j.images)-1]
		base, nodes, err := j.loadImage(version)
		if err == nil {
			found.Image = version
			return base, nodes, nil
		}
		found.Damaged = append(found.Damaged, fmt.Errorf("%s: %w", fileName(imagePrefix, version), err))
		j.images = j.images[:len(j.images)-1]
	}
	return &memorySnapshot{}, newNodes(j.options.Advise), nil
}

func (j *journal) loadImage(version int64) (*memorySnapshot, *nodes, error) {
	var s *memorySnapshot
	var n *nodes
	size, err := j.readImage(fileName(imagePrefix, version), func(in io.Reader) (err error) {
		s, n, err = loadImage(in, 0, nil, j.options.Advise)
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	if s.version != version {
		return nil, nil, fmt.Errorf("it holds version %d", s.version)
	}
	j.imageSize = size
	return s, n, nil
}

// readImage gives read an image as it was before it was compressed, and returns the size that it
// had then.
func (j *journal) readImage(name string, read func(in io.Reader) error) (size int64, err error) {
	r, _, err := j.files.Open(name)
	if err != nil {
		return 0, err
	}
	in := expandImage(r)
	err = read(in)
	return in.n, errors.Join(err, r.Close())
}

// replay gives fn every version of the log after base, in order, and cuts off what
// a crash left.
func (j *journal) replay(base int64, found *Recovery, fn func(record) error) error {
	next := base + 1
	for i, first := range j.logs {
		last := i == len(j.logs)-1
		if !last && j.logs[i+1] <= next {
			continue // all of it is in the image
		}
		if first > next {
			break
		}
		name := fileName(logPrefix, first)
		segment, err := readAll(j.files, name)
		if err != nil {
			return err
		}
		expected := first
		whole, err := readSegment(segment, func(r record, size int) error {
			j.bytes += int64(size)
			if r.version != expected {
				return fmt.Errorf("version %d stands where %d should", r.version, expected)
			}
			expected++
			if r.version < next {
				return nil
			}
			next++
			found.Replayed++
			return fn(r)
		})
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if whole == len(segment) {
			continue
		}
		if !last {
			return fmt.Errorf("%s: the log is damaged at byte %d, and goes on in the next file", name, whole)
		}
		found.Cut = int64(len(segment) - whole)
		if err := j.files.Truncate(name, int64(whole)); err != nil {
			return err
		}
	}
	if n := len(j.logs); n > 0 && j.logs[n-1] > next {
		return errors.Join(fmt.Errorf("version %d is in no file, though there is a log from version %d on: restore the folder from a copy, or empty the data folder and let the node fetch the blocks again", next, j.logs[n-1]), errors.Join(found.Damaged...))
	}
	if len(found.Damaged) > 0 && next == 1 {
		return fmt.Errorf("no image can be read, and there is no log: %w", errors.Join(found.Damaged...))
	}
	j.versions = next - 1 - base
	return nil
}

// append makes a version durable.
func (j *journal) append(r record) error {
	if j.segment != nil && j.written >= j.options.SegmentBytes {
		err := j.segment.Close()
		j.segment = nil
		if err != nil {
			return err
		}
	}
	if j.segment == nil {
		if err := j.begin(r.version); err != nil {
			return err
		}
	}
	if cap(j.body) > 4<<20 {
		j.body, j.buf = nil, nil
	}
	j.body = appendBody(j.body[:0], r)
	var err error
	if j.buf, err = appendRecord(j.buf[:0], j.written, j.body); err != nil {
		return fmt.Errorf("version %d: %w", r.version, err)
	}
	if _, err := j.segment.Write(j.buf); err != nil {
		return err
	}
	if !j.options.NoSync {
		if err := j.segment.Sync(); err != nil {
			return err
		}
	}
	j.written += int64(len(j.buf))
	j.mu.Lock()
	defer j.mu.Unlock()
	j.bytes += int64(len(j.body))
	j.versions++
	return nil
}

// begin begins a segment with a version.
func (j *journal) begin(version int64) error {
	f, err := j.files.Create(fileName(logPrefix, version))
	if err != nil {
		return err
	}
	j.segment, j.written = f, int64(len(logMagic))
	if _, err := f.Write([]byte(logMagic)); err != nil {
		return err
	}
	if !j.options.NoSync {
		if err := j.files.Sync(); err != nil {
			return err
		}
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	// A segment of which a crash left no version has the same name.
	if n := len(j.logs); n == 0 || j.logs[n-1] != version {
		j.logs = append(j.logs, version)
	}
	return nil
}

// due tells whether an image is due, or so many times overdue.
func (j *journal) due(times int64) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.versions >= times*j.options.ImageVersions || j.bytes >= times*max(j.options.ImageBytes, j.imageSize/2)
}

// writeImage writes a version whole, and then removes the images beyond those that are kept
// and the log that leads to them. durable makes each part of it durable by calling
// sync.
func (j *journal) writeImage(s *memorySnapshot, durable func(sync func() error) error) error {
	j.mu.Lock()
	before, versions := j.bytes, j.versions
	exists := slices.Contains(j.images, s.version)
	j.mu.Unlock()
	if exists {
		return nil
	}
	name := fileName(imagePrefix, s.version)
	f, err := j.files.Create(name + temporary)
	if err != nil {
		return err
	}
	compressed := compressImage(&parts{File: f, durable: durable})
	err = writeImage(compressed, s)
	if err = errors.Join(err, compressed.Close()); err == nil {
		err = f.Sync()
	}
	err = errors.Join(err, f.Close())
	if err == nil && j.options.Images == 1 {
		_, err = j.readImage(name+temporary, func(in io.Reader) error {
			_, _, err := streamImage(in, s.version, s.root, func(_, _, _ *imageNode) error { return nil })
			return err
		})
	}
	if err != nil {
		return errors.Join(err, j.files.Remove(name+temporary))
	}
	if err := j.files.Rename(name+temporary, name); err != nil {
		return err
	}
	if err := j.files.Sync(); err != nil {
		return err
	}
	j.mu.Lock()
	j.images = append(j.images, s.version)
	j.imageSize = compressed.n
	j.bytes -= before
	j.versions -= versions
	old := j.outdated()
	j.mu.Unlock()
	for _, name := range old {
		if err := j.files.Remove(name); err != nil {
			return err
		}
	}
	return nil
}

// outdated takes off the books what the images that are kept make superfluous. The
// caller holds mu.
func (j *journal) outdated() []string {
	var names []string
	for len(j.images) > j.options.Images {
		names = append(names, fileName(imagePrefix, j.images[0]))
		j.images = j.images[1:]
	}
	if len(j.images) < j.options.Images {
		return names // the log from version 1 on stands in for the others
	}
	for len(j.logs) > 1 && j.logs[1] <= j.images[0]+1 {
		names = append(names, fileName(logPrefix, j.logs[0]))
		j.logs = j.logs[1:]
	}
	return names
}

func (j *journal) close() error {
	var err error
	if j.segment != nil {
		err = j.segment.Close()
		j.segment = nil
	}
	return errors.Join(err, j.files.Close())
}

// imagePart is after how many bytes of an image they are made durable. All at once at its end,
// the log's own fsync would wait for them, and with it a block: file systems write in order.
const imagePart = 1 << 20

// parts is a file that is made durable part by part.
type parts struct {
	File
	pending int64
	durable func(sync func() error) error
}

func (p *parts) Write(b []byte) (int, error) {
	n, err := p.File.Write(b)
	if p.pending += int64(n); err == nil && p.pending >= imagePart {
		p.pending, err = 0, p.durable(p.Sync)
	}
	return n, err
}
