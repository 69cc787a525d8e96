package consensus

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

const (
	// logHeader is what the engine's log has before each record: its checksum and its length,
	// four bytes each, big endian.
	logHeader = 8
	// mostRecord is the longest record that the engine writes or reads.
	mostRecord = 1<<20 + 24
)

// mendLog cuts off the record that the engine's log ends in, where that is not whole, and
// returns how many bytes that were. A process that is killed leaves one behind now and then, since
// the engine writes through a buffer, and would itself write behind it: then nothing that comes later can
// be read. What the engine depends on, its own votes, it has on disk before anybody sees them. Any other damage
// is left to the engine, and so is a log that does not exist.
func mendLog(path string) (cut int64, err error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	size, r := info.Size(), bufio.NewReaderSize(f, 64<<10)
	for at := int64(0); at < size; {
		whole := size - at
		if whole >= logHeader {
			var header [logHeader]byte
			if _, err := io.ReadFull(r, header[:]); err != nil {
				return 0, err
			}
			length := int64(binary.BigEndian.Uint32(header[4:]))
			if length > mostRecord {
				return 0, nil // that is no record
			}
			if whole >= logHeader+length {
				if _, err := r.Discard(int(length)); err != nil {
					return 0, err
				}
				at += logHeader + length
				continue
			}
		}
		if err := f.Truncate(at); err != nil {
			return 0, fmt.Errorf("cut off the end of %s: %w", path, err)
		}
		return whole, f.Sync()
	}
	return 0, nil
}
