package offline

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble"
	dbm "github.com/cosmos/cosmos-db"
)

// pebbleDB is a Pebble database that is only read. The library's wrapper for Pebble
// cannot open one so.
type pebbleDB struct{ db *pebble.DB }

func openPebble(dir string) (dbm.DB, error) {
	db, err := pebble.Open(dir, &pebble.Options{ReadOnly: true, ErrorIfNotExists: true, Logger: silent{}})
	if err != nil {
		return nil, err
	}
	return pebbleDB{db}, nil
}

type silent struct{}

func (silent) Infof(string, ...any)           {}
func (silent) Errorf(string, ...any)          {}
func (silent) Fatalf(format string, a ...any) { panic(fmt.Sprintf(format, a...)) }

func (p pebbleDB) Get(key []byte) ([]byte, error) {
	v, c, err := p.db.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	out := append([]byte{}, v...)
	return out, c.Close()
}

func (p pebbleDB) Has(key []byte) (bool, error) {
	v, err := p.Get(key)
	return v != nil, err
}

func (p pebbleDB) iterator(start, end []byte) (*pebble.Iterator, error) {
	return p.db.NewIter(&pebble.IterOptions{LowerBound: start, UpperBound: end})
}

func (p pebbleDB) Iterator(start, end []byte) (dbm.Iterator, error) {
	it, err := p.iterator(start, end)
	if err != nil {
		return nil, err
	}
	it.First()
	return &pebbleIterator{Iterator: it, start: start, end: end, next: it.Next}, nil
}

func (p pebbleDB) ReverseIterator(start, end []byte) (dbm.Iterator, error) {
	it, err := p.iterator(start, end)
	if err != nil {
		return nil, err
	}
	it.Last()
	return &pebbleIterator{Iterator: it, start: start, end: end, next: it.Prev}, nil
}

func (p pebbleDB) Close() error                 { return p.db.Close() }
func (pebbleDB) Set([]byte, []byte) error       { return errReadOnly }
func (pebbleDB) SetSync([]byte, []byte) error   { return errReadOnly }
func (pebbleDB) Delete([]byte) error            { return errReadOnly }
func (pebbleDB) DeleteSync([]byte) error        { return errReadOnly }
func (pebbleDB) NewBatch() dbm.Batch            { return noBatch{} }
func (pebbleDB) NewBatchWithSize(int) dbm.Batch { return noBatch{} }
func (pebbleDB) Print() error                   { return nil }
func (pebbleDB) Stats() map[string]string       { return nil }

type noBatch struct{}

func (noBatch) Set([]byte, []byte) error  { return errReadOnly }
func (noBatch) Delete([]byte) error       { return errReadOnly }
func (noBatch) Write() error              { return errReadOnly }
func (noBatch) WriteSync() error          { return errReadOnly }
func (noBatch) Close() error              { return nil }
func (noBatch) GetByteSize() (int, error) { return 0, nil }

type pebbleIterator struct {
	*pebble.Iterator
	start, end []byte
	next       func() bool
}

func (i *pebbleIterator) Domain() (start, end []byte) { return i.start, i.end }
func (i *pebbleIterator) Next()                       { i.next() }
func (i *pebbleIterator) Key() []byte                 { return bytes.Clone(i.Iterator.Key()) }
func (i *pebbleIterator) Value() []byte               { return append([]byte{}, i.Iterator.Value()...) }
