// Command alerts holds Prometheus alert rules against Prometheus' own parser: go run . RULES.
// It is a module of its own, since the parser's dependencies are many and none of them is
// the node's.
package main

import (
	"fmt"
	"log/slog"
	"os"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "alerts: want RULES")
		os.Exit(2)
	}
	groups, errs := rulefmt.ParseFile(os.Args[1], false, model.UTF8Validation, parser.NewParser(parser.Options{}), slog.New(slog.DiscardHandler))
	if len(errs) > 0 {
		fmt.Fprintln(os.Stderr, "alerts:", errs[0])
		os.Exit(1)
	}
	n := 0
	for _, g := range groups.Groups {
		n += len(g.Rules)
	}
	fmt.Printf("%d rules parse\n", n)
}
