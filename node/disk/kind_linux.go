package disk

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// KindOf is what the file system of a path is made of.
func KindOf(path string) (Kind, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(path, &s); err != nil {
		return "", fmt.Errorf("look at the file system of %s: %w", path, err)
	}
	switch int64(s.Type) {
	case unix.TMPFS_MAGIC, unix.RAMFS_MAGIC:
		return Memory, nil
	case unix.NFS_SUPER_MAGIC, unix.SMB_SUPER_MAGIC, unix.SMB2_SUPER_MAGIC, unix.CIFS_SUPER_MAGIC, unix.FUSE_SUPER_MAGIC, unix.V9FS_MAGIC:
		return Network, nil
	case unix.OVERLAYFS_SUPER_MAGIC:
		return Layered, nil
	}
	return Local, nil
}
