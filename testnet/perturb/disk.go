//go:build linux

package perturb

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/chancery/chancery/node/config"
)

// smallDisk is a file system of its own for a node's data, in memory, which can be full.
type smallDisk struct{ data string }

const (
	diskBytes = 512 << 20
	ballast   = "ballast"
)

// mountDisk puts a node's data on a small disk, before the node has run. It needs the right
// to mount.
func mountDisk(h config.Home) (*smallDisk, error) {
	signed, err := os.ReadFile(h.ValidatorStateFile())
	if err != nil {
		return nil, err
	}
	d := &smallDisk{h.Data()}
	if err := unix.Mount("tmpfs", d.data, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, fmt.Sprintf("size=%d,mode=0700", diskBytes)); err != nil {
		return nil, fmt.Errorf("mount a small disk: %w", err)
	}
	if err := os.WriteFile(h.ValidatorStateFile(), signed, 0o600); err != nil {
		return nil, errors.Join(err, d.unmount())
	}
	return d, nil
}

// fill leaves no byte free.
func (d *smallDisk) fill() error {
	f, err := os.OpenFile(filepath.Join(d.data, ballast), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	part := make([]byte, 1<<20)
	for {
		if _, err := f.Write(part); errors.Is(err, unix.ENOSPC) {
			if len(part) == 1 {
				return nil
			}
			part = part[:max(1, len(part)/16)]
		} else if err != nil && !errors.Is(err, io.ErrShortWrite) {
			return err
		}
	}
}

// empty gives back what fill took.
func (d *smallDisk) empty() error {
	err := os.Remove(filepath.Join(d.data, ballast))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

func (d *smallDisk) unmount() error { return unix.Unmount(d.data, unix.MNT_DETACH) }
