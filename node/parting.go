package node

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/chancery/chancery/chain/state"
	"github.com/chancery/chancery/consensus/divergence"
	"github.com/chancery/chancery/node/config"
	"github.com/chancery/chancery/node/internal/durable"
)

const (
	maxReport  = 1 << 20 // bytes
	maxReports = 16      // in a home; the oldest go
)

// keepReport writes the report of a divergence into the data folder.
func keepReport(home config.Home, r *divergence.Report) (string, error) {
	raw, err := r.Bytes()
	if err != nil {
		return "", err
	}
	path := filepath.Join(home.Data(), divergence.FileName(r.Height))
	if err := durable.Replace(path, raw); err != nil {
		return "", err
	}
	return path, trimReports(home, path)
}

// trimReports removes the oldest reports but for the given one.
func trimReports(home config.Home, but string) error {
	paths, err := filepath.Glob(filepath.Join(home.Data(), "divergence-*.json"))
	if err != nil {
		return err
	}
	for len(paths) > maxReports {
		oldest, at := -1, int64(0)
		for i, p := range paths {
			info, err := os.Stat(p)
			if err != nil {
				return err
			}
			if t := info.ModTime().UnixNano(); p != but && (oldest < 0 || t < at) {
				oldest, at = i, t
			}
		}
		if err := os.Remove(paths[oldest]); err != nil {
			return err
		}
		paths = append(paths[:oldest], paths[oldest+1:]...)
	}
	return nil
}

// refuseParted refuses a state that a report in the home says to be wrong: the engine, which
// replays the votes that it knows, would only halt again.
func refuseParted(home config.Home, tree state.Tree) error {
	path := filepath.Join(home.Data(), divergence.FileName(tree.Version()))
	raw, err := durable.Read(path, maxReport)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	r, err := divergence.Parse(raw)
	if err != nil {
		return fmt.Errorf("%s: %w; remove it to start without", path, err)
	}
	if r.Verdict != divergence.ThisNode || r.Own.AppHash != hex.EncodeToString(tree.Root()) {
		return nil
	}
	return divergence.ErrParted.With("height %d; %s; the report is %s", r.Height, r.Summary(), path)
}
