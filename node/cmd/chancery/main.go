// Command chancery is the node and everything that its people run.
package main

import (
	"os"

	"github.com/chancery/chancery/node/cli"
)

// version is set by the linker.
var version = "development"

func main() { os.Exit(cli.Main(version)) }
