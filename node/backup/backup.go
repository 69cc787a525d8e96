// Package backup writes a node's data to one file and reads it back.
//
// A backup is a tar file: backup.json, which says what it is of; files of the home under
// their own paths; parts of databases, db/NAME/NUMBER, each of at most partSize and a bit;
// the state of a tree in memory as an image, image; with keys the validator's and the
// node's key, keys.age, encrypted; and at last manifest.json, which lists all before it
// with length and SHA-256 and is sealed itself. A part of a database is pairs in order of
// key, each the length (uvarint) and bytes of key and value.
package backup

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/chancery/chancery/node/internal/durable"
)

// Format is the version of the form of backups.
const Format = 1

const (
	partSize = 4 << 20
	// mostPart is the longest a part may be when it is read: a pair can be a whole block part
	// or a large record.
	mostPart     = 256 << 20
	mostFile     = 64 << 20
	mostManifest = 64 << 20

	headerName   = "backup.json"
	manifestName = "manifest.json"
	keysName     = "keys.age"
	imageName    = "image"
	databasePath = "db/"
)

// ErrDamaged says that a file is no whole backup.
var ErrDamaged = errors.New("it is no whole backup")

func damaged(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrDamaged, fmt.Sprintf(format, args...))
}

// Header says what a backup is of.
type Header struct {
	Format  int       `json:"format"`
	ChainID string    `json:"chain_id"`
	Height  int64     `json:"height"` // of the state
	Tree    string    `json:"tree"`   // disk or memory
	Backend string    `json:"backend"`
	Version string    `json:"version"` // of the program
	Made    time.Time `json:"made"`    // by this machine's clock
	Keys    bool      `json:"keys"`
}

// Entry is a line of the manifest.
type Entry struct {
	Name   string `json:"name"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
}

// Manifest lists what is in a backup.
type Manifest struct {
	Header  Header  `json:"backup"`
	Entries []Entry `json:"entries"`
}

// Size is the bytes of all entries.
func (m *Manifest) Size() int64 {
	var n int64
	for _, e := range m.Entries {
		n += e.Size
	}
	return n
}

// Pairs are a database as it was at one moment.
type Pairs interface {
	// Each gives fn every pair in order of key.
	Each(fn func(key, value []byte) error) error
}

// Database is a database and its name in a backup.
type Database struct {
	Name  string
	Pairs Pairs
}

// Source is what a backup is made of. All of it is of one moment, or of moments as a
// crash could leave them: the state of the earliest, then the records, the engine's state,
// and its blocks of the latest.
type Source struct {
	Header    Header
	Files     map[string][]byte // by path relative to the home
	Databases []Database
	// Image writes the state of a tree in memory; nil: the tree is among Databases.
	Image func(io.Writer) error
	// Keys are the encrypted keys; nil: none.
	Keys []byte
}

// Write writes a backup.
func Write(ctx context.Context, out io.Writer, s Source) (*Manifest, error) {
	s.Header.Format, s.Header.Keys = Format, s.Keys != nil
	w := &writer{ctx: ctx, tar: tar.NewWriter(out), made: s.Header.Made, manifest: &Manifest{Header: s.Header}}
	header, err := json.Marshal(s.Header)
	if err != nil {
		return nil, err
	}
	if err := w.entry(headerName, header); err != nil {
		return nil, err
	}
	for _, path := range sortedKeys(s.Files) {
		if err := w.entry(path, s.Files[path]); err != nil {
			return nil, err
		}
	}
	if s.Keys != nil {
		if err := w.entry(keysName, s.Keys); err != nil {
			return nil, err
		}
	}
	if s.Image != nil {
		p := &parts{w: w, name: imageName}
		if err := s.Image(p); err != nil {
			return nil, err
		}
		if err := p.flush(); err != nil {
			return nil, err
		}
	}
	for _, db := range s.Databases {
		if err := w.database(db); err != nil {
			return nil, fmt.Errorf("the database %s: %w", db.Name, err)
		}
	}
	manifest, err := json.Marshal(w.manifest)
	if err != nil {
		return nil, err
	}
	manifest = durable.Seal(manifest)
	if err := w.put(manifestName, manifest); err != nil {
		return nil, err
	}
	return w.manifest, w.tar.Close()
}

type writer struct {
	ctx      context.Context
	tar      *tar.Writer
	made     time.Time
	manifest *Manifest
}

func (w *writer) put(name string, raw []byte) error {
	if err := w.ctx.Err(); err != nil {
		return err
	}
	h := &tar.Header{Name: name, Mode: 0o600, Size: int64(len(raw)), ModTime: w.made.UTC().Truncate(time.Second), Format: tar.FormatPAX}
	if err := w.tar.WriteHeader(h); err != nil {
		return err
	}
	_, err := w.tar.Write(raw)
	return err
}

func (w *writer) entry(name string, raw []byte) error {
	sum := sha256.Sum256(raw)
	w.manifest.Entries = append(w.manifest.Entries, Entry{Name: name, Size: int64(len(raw)), SHA256: hex.EncodeToString(sum[:])})
	return w.put(name, raw)
}

func (w *writer) database(db Database) error {
	p := &parts{w: w, name: databasePath + db.Name}
	var b []byte
	err := db.Pairs.Each(func(key, value []byte) error {
		b = appendPair(b[:0], key, value)
		// A pair is in one part.
		if len(p.buf) > 0 && len(p.buf)+len(b) > partSize {
			if err := p.flush(); err != nil {
				return err
			}
		}
		p.buf = append(p.buf, b...)
		return nil
	})
	if err != nil {
		return err
	}
	// An empty database has one empty part, so that it is made again.
	if len(p.buf) > 0 || p.number == 0 {
		return p.flush()
	}
	return nil
}

// parts cuts what is written into entries.
type parts struct {
	w      *writer
	name   string
	number int
	buf    []byte
}

func (p *parts) Write(b []byte) (int, error) {
	for n := len(b); len(b) > 0; {
		take := min(len(b), partSize-len(p.buf))
		p.buf = append(p.buf, b[:take]...)
		if b = b[take:]; len(p.buf) >= partSize {
			if err := p.flush(); err != nil {
				return n - len(b), err
			}
		}
		if len(b) == 0 {
			return n, nil
		}
	}
	return 0, nil
}

func (p *parts) flush() error {
	p.number++
	err := p.w.entry(fmt.Sprintf("%s/%08d", p.name, p.number), p.buf)
	p.buf = p.buf[:0]
	return err
}

func appendPair(b, key, value []byte) []byte {
	b = append(binary.AppendUvarint(b, uint64(len(key))), key...)
	return append(binary.AppendUvarint(b, uint64(len(value))), value...)
}

// eachPair reads a part of a database.
func eachPair(part []byte, fn func(key, value []byte) error) error {
	take := func() ([]byte, error) {
		size, n := binary.Uvarint(part)
		if n <= 0 || size > uint64(len(part)-n) {
			return nil, damaged("a pair does not decode")
		}
		out := part[n : n+int(size)]
		part = part[n+int(size):]
		return out, nil
	}
	for len(part) > 0 {
		key, err := take()
		if err != nil {
			return err
		}
		value, err := take()
		if err != nil {
			return err
		}
		if err := fn(key, value); err != nil {
			return err
		}
	}
	return nil
}

// Read gives fn each entry of a backup, checks all against the manifest, and returns that.
// What fn was given is right only when Read succeeds. progress, which may be nil, is told of
// bytes that were read.
func Read(ctx context.Context, in io.Reader, progress func(int64), fn func(name string, raw []byte) error) (*Manifest, error) {
	t := tar.NewReader(in)
	var seen []Entry
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return nil, damaged("it ends without a manifest")
		}
		if err != nil {
			return nil, damaged("%v", err)
		}
		most := int64(mostPart)
		if h.Name == manifestName {
			most = mostManifest
		}
		if h.Typeflag != tar.TypeReg || h.Size > most {
			return nil, damaged("%q is no entry of a backup", h.Name)
		}
		raw, err := io.ReadAll(io.LimitReader(t, h.Size))
		if err != nil || int64(len(raw)) != h.Size {
			return nil, damaged("%s ends early", h.Name)
		}
		if progress != nil {
			progress(h.Size)
		}
		if h.Name == manifestName {
			return checkManifest(raw, seen)
		}
		sum := sha256.Sum256(raw)
		seen = append(seen, Entry{Name: h.Name, Size: h.Size, SHA256: hex.EncodeToString(sum[:])})
		if fn != nil {
			if err := fn(h.Name, raw); err != nil {
				return nil, err
			}
		}
	}
}

func checkManifest(raw []byte, seen []Entry) (*Manifest, error) {
	text, err := durable.Unseal(raw)
	if err != nil {
		return nil, damaged("the manifest: %v", err)
	}
	m := new(Manifest)
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(m); err != nil {
		return nil, damaged("the manifest: %v", err)
	}
	if m.Header.Format != Format {
		return nil, fmt.Errorf("the backup is of format %d, this program reads %d", m.Header.Format, Format)
	}
	if len(m.Entries) != len(seen) {
		return nil, damaged("it holds %d entries, the manifest lists %d", len(seen), len(m.Entries))
	}
	for i, e := range m.Entries {
		if e != seen[i] {
			return nil, damaged("%s is not what the manifest says", seen[i].Name)
		}
	}
	return m, nil
}
