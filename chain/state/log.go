package state

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"slices"

	"github.com/klauspost/compress/s2"
)

// The log of a tree in memory has one record for each version. A segment of it is
// a file that begins with logMagic; a record is
//
//	length of what follows the head  4 bytes, big endian
//	CRC-32C of it                    4 bytes
//	CRC-32C of the two and of the record's place in the segment (8 bytes)  4 bytes
//	body, as a block of S2: version, number of changes (uvarint); root (32 bytes);
//	      of each change the length of the key, the key, the length of the value
//	      plus one, or 0 for a removal, and the value
//
// The place is in the checksum so that no value can pass for a record. In segments that
// begin with plainMagic, as programs before this format wrote them, the body stands as it is.
const (
	logMagic     = "CHSTLOG2"
	plainMagic   = "CHSTLOG1"
	logHeader    = 12
	maxLogRecord = math.MaxInt32
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

var errRecord = errors.New("no whole record")

// record is one version in the log.
type record struct {
	version int64
	root    []byte
	changes []Change
}

// appendBody appends the body of a record.
func appendBody(dst []byte, r record) []byte {
	dst = binary.AppendUvarint(dst, uint64(r.version))
	dst = binary.AppendUvarint(dst, uint64(len(r.changes)))
	dst = append(dst, r.root...)
	for _, c := range r.changes {
		dst = binary.AppendUvarint(dst, uint64(len(c.Key)))
		dst = append(dst, c.Key...)
		if c.Value == nil {
			dst = append(dst, 0)
			continue
		}
		dst = binary.AppendUvarint(dst, uint64(len(c.Value))+1)
		dst = append(dst, c.Value...)
	}
	return dst
}

// appendRecord appends a record as it stands at place at of a segment.
func appendRecord(dst []byte, at int64, body []byte) ([]byte, error) {
	most := s2.MaxEncodedLen(len(body))
	if most < 0 || most > maxLogRecord { // negative: far too much
		return nil, fmt.Errorf("state: its changes take %d bytes, more than a record of the log can hold", len(body))
	}
	start := len(dst)
	dst = slices.Grow(dst, logHeader+most)
	head := dst[start : start+logHeader]
	rest := s2.Encode(dst[start+logHeader:cap(dst)], body)
	binary.BigEndian.PutUint32(head, uint32(len(rest)))
	binary.BigEndian.PutUint32(head[4:], crc32.Checksum(rest, castagnoli))
	binary.BigEndian.PutUint32(head[8:], headSum(head, at))
	return dst[:start+logHeader+len(rest)], nil
}

func headSum(head []byte, at int64) uint32 {
	var b [16]byte
	copy(b[:8], head)
	binary.BigEndian.PutUint64(b[8:], uint64(at))
	return crc32.Checksum(b[:], castagnoli)
}

// recordAt is what follows the head of the record at a place of a segment, and where the next
// one begins. errRecord: no whole record is there.
func recordAt(segment []byte, at int) (b []byte, next int, err error) {
	if len(segment)-at < logHeader {
		return nil, 0, errRecord
	}
	head, rest := segment[at:at+logHeader], segment[at+logHeader:]
	size := binary.BigEndian.Uint32(head)
	if binary.BigEndian.Uint32(head[8:]) != headSum(head, int64(at)) || uint64(size) > uint64(len(rest)) ||
		binary.BigEndian.Uint32(head[4:]) != crc32.Checksum(rest[:size], castagnoli) {
		return nil, 0, errRecord
	}
	return rest[:size], at + logHeader + int(size), nil
}

// parseRecord reads a body. Keys and values are copies.
func parseRecord(b []byte) (record, error) {
	bad := errors.New("a record of the log does not decode")
	number := func() uint64 {
		v, n := binary.Uvarint(b)
		if n <= 0 {
			b = nil
			return math.MaxUint64
		}
		b = b[n:]
		return v
	}
	take := func(n uint64) []byte {
		out := bytes.Clone(b[:n])
		b = b[n:]
		if out == nil {
			out = []byte{}
		}
		return out
	}
	version, count := number(), number()
	if version == 0 || version > math.MaxInt64 || len(b) < 32 || count > uint64(len(b))/2 {
		return record{}, bad
	}
	r := record{version: int64(version), root: take(32), changes: make([]Change, 0, count)}
	for range count {
		var c Change
		n := number()
		if n > uint64(len(b)) {
			return record{}, bad
		}
		c.Key = take(n)
		n = number()
		if n > uint64(len(b))+1 {
			return record{}, bad
		}
		if n > 0 {
			c.Value = take(n - 1)
		}
		r.changes = append(r.changes, c)
	}
	if len(b) != 0 {
		return record{}, bad
	}
	return r, nil
}

// expand is the body of a record.
func expand(b []byte) ([]byte, error) {
	if n, err := s2.DecodedLen(b); err != nil || n > maxLogRecord {
		return nil, errors.Join(errors.New("a record of the log does not expand"), err)
	}
	return s2.Decode(nil, b)
}

// readSegment gives fn the records of a segment in turn, each with the size of its body.
// whole is the length of what holds whole records: where it is less than the segment's,
// what follows is what a crash leaves of the last write. A fault with a whole record behind
// it is none of a crash, and an error.
func readSegment(segment []byte, fn func(r record, size int) error) (whole int, err error) {
	magic := string(segment[:min(len(segment), len(logMagic))])
	if magic != logMagic && magic != plainMagic {
		if len(magic) == len(logMagic) && magic[:7] == logMagic[:7] && magic[7] > logMagic[7] && magic[7] <= '9' {
			return 0, errors.New("the log is of a format that this program does not know; start the program that wrote it")
		}
		if at, ok := laterRecord(segment, 0); ok {
			return 0, fmt.Errorf("the log is damaged at its start, with a whole record at byte %d", at)
		}
		return 0, nil
	}
	at := len(logMagic)
	for at < len(segment) {
		b, next, err := recordAt(segment, at)
		if err != nil {
			if later, ok := laterRecord(segment, at); ok {
				return 0, fmt.Errorf("the log is damaged at byte %d, with a whole record behind it at byte %d", at, later)
			}
			return at, nil
		}
		if magic == logMagic {
			b, err = expand(b)
		}
		var r record
		if err == nil {
			r, err = parseRecord(b)
		}
		if err != nil {
			return 0, fmt.Errorf("at byte %d: %w", at, err)
		}
		if err := fn(r, len(b)); err != nil {
			return 0, fmt.Errorf("at byte %d: %w", at, err)
		}
		at = next
	}
	return at, nil
}

// laterRecord finds a whole record that begins after a place.
func laterRecord(segment []byte, at int) (int, bool) {
	for at++; len(segment)-at >= logHeader; at++ {
		if _, _, err := recordAt(segment, at); err == nil {
			return at, true
		}
	}
	return 0, false
}

// readAll reads a file.
func readAll(files Files, name string) ([]byte, error) {
	r, size, err := files.Open(name)
	if err != nil {
		return nil, err
	}
	b := make([]byte, size)
	_, err = io.ReadFull(r, b)
	return b, errors.Join(err, r.Close())
}
