package intel

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/chancery/chancery/node/internal/durable"
)

const (
	bookFormat = 1
	// maxBookFile bounds what is read of the file: a full book has about 16 MiB.
	maxBookFile = 64 << 20
)

// The file of a book is JSON: a format, the SHA-256 of the member subjects as it
// stands there, and the subjects.
type bookFile struct {
	Format   int             `json:"format"`
	Sum      string          `json:"sha256"`
	Subjects json.RawMessage `json:"subjects"`
}

type entryFile struct {
	Subject string     `json:"subject"`
	Since   int64      `json:"since"`
	Said    []saidFile `json:"said"`
	Sent    *sentFile  `json:"sent,omitempty"`
}

type saidFile struct {
	Origin Origin `json:"origin"`
	Level  Level  `json:"level"`
	Reason Reason `json:"reason"`
	Source string `json:"source"`
	Until  int64  `json:"until"`
}

type sentFile struct {
	Level  Level  `json:"level"`
	Reason Reason `json:"reason"`
	Source string `json:"source"`
	Until  int64  `json:"until"`
	At     int64  `json:"at"`
	Height int64  `json:"height"`
	Order  int    `json:"order"`
	Again  bool   `json:"again,omitempty"`
	Reach  int64  `json:"reach,omitempty"` // 0: until
}

// Open opens the book in a file, or an empty one where there is no file, and makes
// its folder. A file that is not what Save wrote is an error that names it: a node
// that forgot what it believes would clear those it warned of.
func Open(path string, o BookOptions) (*Book, error) {
	if o.MaxLife <= 0 {
		o.MaxLife = 7 * 24 * time.Hour
	}
	if o.Metrics == nil {
		m, err := NewMetrics(nil)
		if err != nil {
			return nil, err
		}
		o.Metrics = m
	}
	b := &Book{path: path, write: durable.ReplaceSealed, maxLife: o.MaxLife.Milliseconds(), metrics: o.Metrics, subjects: map[string]*entry{}, counts: map[Origin]int{}}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("the book of opinions: %w", err)
	}
	raw, err := durable.ReadSealed(path, maxBookFile)
	if errors.Is(err, fs.ErrNotExist) {
		return b, nil
	}
	if err == nil {
		err = b.load(raw)
	}
	if err != nil {
		return nil, fmt.Errorf("the book of opinions %s cannot be used; restore it, or move it away to begin with an empty one: %w", path, err)
	}
	b.metrics.subjects.Set(float64(len(b.subjects)))
	return b, nil
}

// Save writes the book down if it changed since it was last written.
func (b *Book) Save() error {
	b.saving.Lock()
	defer b.saving.Unlock()
	b.mu.Lock()
	if !b.unsaved {
		b.mu.Unlock()
		return nil
	}
	b.unsaved = false
	list := b.entries()
	b.mu.Unlock()

	raw, err := encode(list)
	if err == nil {
		err = b.write(b.path, raw)
	}
	if err != nil {
		b.mu.Lock()
		b.unsaved = true
		b.mu.Unlock()
		return fmt.Errorf("%w in %s: %w", ErrSave, b.path, err)
	}
	return nil
}

func encode(list []entryFile) ([]byte, error) {
	subjects, err := json.Marshal(list)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(subjects)
	raw, err := json.Marshal(bookFile{Format: bookFormat, Sum: hex.EncodeToString(sum[:]), Subjects: subjects})
	return append(raw, '\n'), err
}

func (b *Book) entries() []entryFile {
	list := make([]entryFile, 0, len(b.subjects))
	for subject, e := range b.subjects {
		f := entryFile{Subject: subject, Since: e.since, Said: []saidFile{}}
		for i, s := range e.said {
			if s.until != 0 {
				f.Said = append(f.Said, saidFile{origins[i], s.level, s.reason, hex.EncodeToString(s.source[:]), s.until})
			}
		}
		if s := e.sent; s != nil {
			f.Sent = &sentFile{s.Level, s.Reason, hex.EncodeToString(s.Source[:]), s.Until, s.at, s.height, s.order, s.again, s.reach}
		}
		list = append(list, f)
	}
	slices.SortFunc(list, func(x, y entryFile) int { return cmp.Compare(x.Subject, y.Subject) })
	return list
}

func (b *Book) load(raw []byte) error {
	var f bookFile
	if err := strict(raw, &f); err != nil {
		return err
	}
	if f.Format != bookFormat {
		return fmt.Errorf("it has format %d, this version reads %d", f.Format, bookFormat)
	}
	if sum := sha256.Sum256(f.Subjects); hex.EncodeToString(sum[:]) != f.Sum {
		return errors.New("its content does not have the hash that it names")
	}
	var list []entryFile
	if err := strict(f.Subjects, &list); err != nil {
		return err
	}
	if len(list) > maxBook {
		return fmt.Errorf("it has %d subjects, at most %d", len(list), maxBook)
	}
	for _, x := range list {
		if b.subjects[x.Subject] != nil {
			return fmt.Errorf("it has %s twice", x.Subject)
		}
		e := &entry{since: x.Since}
		for _, s := range x.Said {
			i := slices.Index(origins[:], s.Origin)
			if i < 0 || e.said[i].until != 0 {
				return fmt.Errorf("%s: the origin %q is unknown or there twice", x.Subject, s.Origin)
			}
			o, err := opinion(x.Subject, s.Level, s.Reason, s.Source, s.Until)
			if err != nil {
				return err
			}
			e.said[i] = said{o.Level, o.Reason, o.Source, o.Until}
			b.counts[s.Origin]++
		}
		if s := x.Sent; s != nil {
			o, err := opinion(x.Subject, s.Level, s.Reason, s.Source, s.Until)
			if err != nil {
				return err
			}
			e.sent = &sent{Opinion: o, at: s.At, height: s.Height, order: s.Order, again: s.Again, reach: max(s.Until, s.Reach)}
		}
		if e.empty() && e.sent == nil {
			return fmt.Errorf("%s: nothing is said of it", x.Subject)
		}
		b.subjects[x.Subject] = e
	}
	for _, origin := range origins {
		if n := b.counts[origin]; n > MaxPerOrigin {
			return fmt.Errorf("it has %d subjects of origin %s, at most %d", n, origin, MaxPerOrigin)
		}
	}
	return nil
}

func opinion(subject string, level Level, reason Reason, source string, until int64) (Opinion, error) {
	raw, err := hex.DecodeString(source)
	if err != nil || len(raw) != 32 {
		return Opinion{}, fmt.Errorf("%s: the source %q is no hash of 32 bytes", subject, source)
	}
	o := Opinion{subject, level, reason, [32]byte(raw), until}
	if err := o.Check(); err != nil {
		return o, fmt.Errorf("%s: %w", subject, err)
	}
	return o, nil
}

// strict decodes JSON that has no member but those of v, and nothing after it.
func strict(raw []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return err
	}
	if d.More() {
		return errors.New("something follows its end")
	}
	return nil
}
