package state

import "io"

// Files is the folder of a tree in memory, which holds nothing else. An
// implementation lets one process at a time have it. Methods may be called by
// several goroutines.
type Files interface {
	// List names the files, in any order.
	List() ([]string, error)
	// Open reads a file and tells its size.
	Open(name string) (io.ReadCloser, int64, error)
	// Create makes an empty file, in place of one of that name.
	Create(name string) (File, error)
	// Truncate cuts a file, durably.
	Truncate(name string, size int64) error
	// Rename puts a file in the place of another, at once.
	Rename(from, to string) error
	// Remove deletes a file.
	Remove(name string) error
	// Sync makes durable which files there are.
	Sync() error
	// Close gives the folder back.
	Close() error
}

// File is a file that is written from its start to its end.
type File interface {
	io.Writer
	// Sync makes durable what was written.
	Sync() error
	Close() error
}
