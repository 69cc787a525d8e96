package offline

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// The logs and manifests of LevelDB and Pebble are made of blocks of 32 KiB with chunks
// in them: CRC-32C (4 bytes, little endian, masked), length (2), type (1), in Pebble's
// logs also the log's number (4), and the payload. The CRC is of all from the type on.
// What does not fill a header at the end of a block is zero.
// https://github.com/google/leveldb/blob/main/doc/log_format.md
const (
	logBlock     = 32 << 10
	header       = 7
	numberedSize = 11
	fullChunk    = 1
	lastChunk    = 4
	numberedFull = 5
	numberedLast = 8
	maskDelta    = 0xa282ead8
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// CheckLogs reads every chunk of every log and manifest of a database of either kind.
// The libraries take what does not decode at the end of one for what a crash left, and
// go on without it: so does this only where nothing was written. The error names the file.
func CheckLogs(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		name, isLog := strings.CutSuffix(e.Name(), ".log")
		number, err := strconv.ParseUint(name, 10, 64)
		if isLog = isLog && err == nil; !isLog && !strings.HasPrefix(e.Name(), "MANIFEST-") {
			continue
		}
		f, err := os.Open(filepath.Join(dir, e.Name()))
		if err != nil {
			return err
		}
		if err := errors.Join(checkLog(f, uint32(number)), f.Close()); err != nil {
			return &LogError{File: e.Name(), Err: err}
		}
	}
	return nil
}

// LogError is a log or a manifest that is damaged, or that a crash left unfinished.
type LogError struct {
	File string
	Err  error
}

func (e *LogError) Error() string { return e.File + ": " + e.Err.Error() }

func (e *LogError) Unwrap() error { return e.Err }

func checkLog(in io.Reader, number uint32) error {
	block := make([]byte, logBlock)
	inside := false // a record that goes on in the next chunk
	for at := int64(0); ; at += logBlock {
		n, err := io.ReadFull(in, block)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
			return err
		}
		for i := 0; n-i >= header; {
			b := block[i:n]
			if blank(b[:header]) {
				if len(b) < numberedSize && n == logBlock {
					break // the rest of the block
				}
				if inside {
					return fmt.Errorf("a record is not finished at byte %d", at+int64(i))
				}
				return nil // room that was never written to
			}
			size, kind, front := int(binary.LittleEndian.Uint16(b[4:])), b[6], header
			if kind >= numberedFull && kind <= numberedLast {
				front = numberedSize
				if len(b) >= front && binary.LittleEndian.Uint32(b) == 0 && size == 0 && binary.LittleEndian.Uint32(b[7:]) == number+1 && !inside {
					return nil // Pebble's mark of an end
				}
			}
			switch {
			case front+size > len(b), unmask(binary.LittleEndian.Uint32(b)) != crc32.Checksum(b[6:front+size], castagnoli),
				front == numberedSize && binary.LittleEndian.Uint32(b[7:]) != number:
				return fmt.Errorf("no whole record stands at byte %d", at+int64(i))
			}
			if front == numberedSize {
				kind -= numberedFull - fullChunk
			}
			if starts := kind == fullChunk || kind == fullChunk+1; starts == inside {
				return fmt.Errorf("a part of another record stands at byte %d", at+int64(i))
			}
			inside = kind != fullChunk && kind != lastChunk
			i += front + size
			if left := n - i; n < logBlock && left > 0 && left < header {
				return fmt.Errorf("no whole record stands at byte %d", at+int64(i))
			}
		}
		if n < logBlock {
			break
		}
	}
	if inside {
		return errors.New("it ends within a record")
	}
	return nil
}

func unmask(sum uint32) uint32 {
	sum -= maskDelta
	return sum>>17 | sum<<15
}

func blank(b []byte) bool {
	for _, x := range b {
		if x != 0 {
			return false
		}
	}
	return true
}
