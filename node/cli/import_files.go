package cli

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/chancery/chancery/node/importer"
)

// sources are documents, read one at a time.
type sources = iter.Seq[importer.Source]

// sources are the documents of files, of folders (files with one of the extensions,
// in order of their names), and of standard input for "-". A file of JSON lines
// holds one document a line.
func (a *app) sources(args, extensions []string) sources {
	return func(yield func(importer.Source) bool) {
		for _, arg := range args {
			if arg == "-" {
				if !documents("-", a.In, slices.Contains(extensions, ".ndjson"), yield) {
					return
				}
				continue
			}
			more := true
			err := filepath.WalkDir(arg, func(path string, d fs.DirEntry, err error) error {
				switch {
				case err != nil:
					return err
				case d.IsDir() || path != arg && (!slices.Contains(extensions, strings.ToLower(filepath.Ext(path))) || !holdsFile(path, d)):
					return nil
				}
				if more = file(path, path != arg, yield); !more {
					return fs.SkipAll
				}
				return nil
			})
			if err != nil && more {
				more = yield(importer.Source{Name: arg, Err: errFile.Wrap(err)})
			}
			if !more {
				return
			}
		}
	}
}

// holdsFile tells whether an entry of a folder is a file or a link to one. A link that
// leads nowhere counts, so that reading it says so.
func holdsFile(path string, d fs.DirEntry) bool {
	if d.Type()&fs.ModeSymlink == 0 {
		return d.Type().IsRegular()
	}
	info, err := os.Stat(path)
	return err != nil || info.Mode().IsRegular()
}

// file yields the documents of a file. Those that were found in a folder may be of
// another kind.
func file(path string, found bool, yield func(importer.Source) bool) bool {
	mark := func(s importer.Source) bool {
		s.Found = found
		return yield(s)
	}
	f, err := os.Open(path)
	if err != nil {
		return mark(importer.Source{Name: path, Err: errFile.Wrap(err)})
	}
	defer f.Close()
	ext := strings.ToLower(filepath.Ext(path))
	return documents(path, f, ext == ".ndjson" || ext == ".jsonl", mark)
}

// documents yields what a reader holds: one document, or one a line where the first
// line is JSON of its own.
func documents(name string, in io.Reader, lines bool, yield func(importer.Source) bool) bool {
	r := bufio.NewReaderSize(in, 64<<10)
	if !lines {
		raw, err := io.ReadAll(io.LimitReader(r, importer.MaxBytes+1))
		return yield(importer.Source{Name: name, Raw: raw, Err: wrapFile(err)})
	}
	for n := 1; ; n++ {
		line, err := readLine(r)
		if err != nil && !errors.Is(err, io.EOF) {
			return yield(importer.Source{Name: name, Err: wrapFile(err)})
		}
		if n == 1 && !json.Valid(line) && len(line) <= importer.MaxBytes {
			rest, failed := io.ReadAll(io.LimitReader(r, int64(importer.MaxBytes+1-len(line))))
			return yield(importer.Source{Name: name, Raw: append(line, rest...), Err: wrapFile(failed)})
		}
		if len(bytes.TrimSpace(line)) > 0 && !yield(importer.Source{Name: fmt.Sprintf("%s:%d", name, n), Raw: bytes.TrimRight(line, "\r\n")}) {
			return false
		}
		if err != nil {
			return true
		}
	}
}

// readLine reads a line; of one that is too long, as much as shows that it is.
func readLine(r *bufio.Reader) ([]byte, error) {
	var line []byte
	for {
		part, err := r.ReadSlice('\n')
		if room := importer.MaxBytes + 1 - len(line); room > 0 {
			line = append(line, part[:min(len(part), room)]...)
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return line, err
		}
	}
}

func wrapFile(err error) error {
	if err == nil {
		return nil
	}
	return errFile.Wrap(err)
}
