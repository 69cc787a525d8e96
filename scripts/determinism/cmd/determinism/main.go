// Command determinism refuses in chain/... and modules/... whatever may differ between two validators.
//
//	determinism -test=false ./...
package main

import (
	"golang.org/x/tools/go/analysis/singlechecker"

	"github.com/chancery/chancery/scripts/determinism"
)

func main() { singlechecker.Main(determinism.Analyzer) }
