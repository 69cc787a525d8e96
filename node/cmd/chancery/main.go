// Command chancery is the node and everything that its people run.
package main

import (
	"os"

	"github.com/chancery/chancery/node/cli"
)

// Both are set by the linker; see scripts/build.sh.
var (
	version  = "development"
	revision = "unknown"
)

func main() { os.Exit(cli.Main(version, revision)) }
