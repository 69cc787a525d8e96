package webhook

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/chancery/chancery/node/internal/durable"
)

// cursor is a place between two events: everything of blocks below Height, and the
// first Index events of it, are behind it.
type cursor struct {
	Format   int    `json:"format"` // 1
	Chain    string `json:"chain"`
	Endpoint string `json:"endpoint"` // SHA-256 of the URL, which may hold a secret
	Height   int64  `json:"height"`
	Index    int    `json:"index"`
}

// place is the identity and the cursor file of an endpoint.
func place(dir, url string) (id, path string) {
	sum := sha256.Sum256([]byte(url))
	id = hex.EncodeToString(sum[:])
	return id, filepath.Join(dir, "webhook-"+id[:16]+".json")
}

// loadCursor reads a cursor, and tells whether there is one. A file that is not what
// save wrote for this chain and endpoint is an error that names it.
func loadCursor(path, chain, endpoint string) (cursor, bool, error) {
	c := cursor{Format: 1, Chain: chain, Endpoint: endpoint}
	raw, err := durable.ReadSealed(path, 4096)
	if errors.Is(err, fs.ErrNotExist) {
		return c, false, nil
	}
	if err != nil {
		return c, false, fmt.Errorf("the cursor of a webhook: %w", err)
	}
	var have cursor
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	err = d.Decode(&have)
	switch {
	case err != nil:
	case have.Format != 1 || have.Endpoint != endpoint || have.Height < 1 || have.Index < 0 || d.More():
		err = errors.New("it is not one of this version and endpoint")
	case have.Chain != chain:
		err = fmt.Errorf("it is of the chain %q", have.Chain)
	}
	if err != nil {
		return c, false, fmt.Errorf("the cursor file %s of a webhook cannot be used; restore it, or move it away to begin with the next block: %w", path, err)
	}
	return have, true, nil
}

func (c cursor) save(path string) error {
	raw, err := json.Marshal(c)
	if err == nil {
		err = durable.ReplaceSealed(path, raw)
	}
	if err != nil {
		return fmt.Errorf("write the cursor of a webhook: %w", err)
	}
	return nil
}
