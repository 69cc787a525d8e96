package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const sample = `{"seed":4,"detector":"00112233445566778899","alarm_score":6000,"speed":1,"took_ns":60000000000,
"past":{"days":5,"clock":"22:00","midnight":"16:17 UTC","pause_ns":31000000000,"transactions":900,"normal":{"transactions":900,"held":9,"alarms":45}},
"normal":{"network":{"transactions":4,"held":1,"alarms":1},"simulated":{"transactions":4}},
"campaigns":[
 {"name":"burst/1","harmful":{"network":{"transactions":7,"held":3,"denied":1,"alarms":2},"simulated":{"transactions":7,"held":6}},
  "first":{"height":5,"after_first_ns":1500000000,"message":"access.Decide","ruling":"alarm","score":6100,"why":"a | b","simulated":{"ruling":"held","score":7700}},"executed_before_first":1,
  "first_kept":{"height":6,"after_first_ns":2500000000,"message":"access.Decide","ruling":"held","score":7600,"reasons":["one","two"]},"executed_before_first_kept":2,"executed_before_first_simulated":7},
 {"name":"mimicry/1","harmful":{"network":{"transactions":1},"simulated":{"transactions":1}},"executed_before_first":1}],
"agreement":{"validators":4,"blocks":99,"results":12,"holds":4,"receipts":4}}`

func TestTables(t *testing.T) {
	file := filepath.Join(t.TempDir(), "a.json")
	if err := os.WriteFile(file, []byte(sample), 0o600); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	if err := run([]string{file}, &out); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		"| A | 4 | 5 | 22:00, its midnight being 16:17 UTC | 31s | its own | 1m0s | 99 | 12 | 4 | 4 |",
		"| burst | A | 7 | 3 | 1 | 2 | alarm before harmful transaction 2 | 7 harmful: 6 held, 0 denied, 0 alarms; never |",
		"| mimicry | A | 1 | 0 | 0 | 0 | never | 1 harmful: 0 held, 0 denied, 0 alarms; never |",
		`| burst | alarm | 5 | 1.5 | 2 | access.Decide | 6100 | held, 7700 | a \| b |`,
		"| burst | held | 6 | 2.5 | 3 | access.Decide | 7600 | - | one; two |",
		"| mimicry | nothing | | | | | | | |",
		"| on A | 4 | 1 | 2500.0 | 1 | 2500.0 | 4: 0 held or denied, 0 alarms |",
		"| before the networks began, simulated, with everybody's first days | 900 | 9 | 100.0 | 45 | 500.0 |  |",
	} {
		if !strings.Contains(out.String(), line+"\n") {
			t.Errorf("no line %s in\n%s", line, out.String())
		}
	}
	if err := os.WriteFile(file, []byte(strings.Replace(sample, `"agreement"`, `"other"`, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := run([]string{file}, &out); err == nil {
		t.Error("a report of validators that were not compared is taken")
	}
}
