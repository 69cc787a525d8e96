// Package disk tells about file systems.
package disk

import "fmt"

// Kind is what a file system is made of, as far as it matters to databases.
type Kind string

// The kinds that are no good for a node's data.
const (
	Local   Kind = "local"
	Memory  Kind = "memory"  // gone after a restart of the machine
	Network Kind = "network" // locks and fsync may not hold
	Layered Kind = "layered" // a container's own layer, gone with the container
)

// Free is for people: bytes in GiB or MiB.
func Free(bytes uint64) string {
	if bytes >= 1<<30 {
		return fmt.Sprintf("%.1f GiB", float64(bytes)/(1<<30))
	}
	return fmt.Sprintf("%.0f MiB", float64(bytes)/(1<<20))
}
