//go:build !linux

package background

// lower does nothing: elsewhere priorities are of whole processes.
func lower() {}
