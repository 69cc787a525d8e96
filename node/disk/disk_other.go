//go:build !linux && !darwin

package disk

import "errors"

// Space is how many bytes may still be written where a path lies, and how large that file
// system is.
func Space(string) (free, size uint64, err error) {
	return 0, 0, errors.New("the space of a file system is not known on this system")
}
