package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
)

// event is one line of `go test -json`; see `go doc test2json`.
type event struct {
	Action      string
	Package     string
	ImportPath  string // of build output, where Package is empty
	Test        string
	Output      string
	FailedBuild string
}

// name identifies a test. A subtest is named parent/child.
type name struct{ pkg, test string }

// summary follows the events of one run. A test that has subtests is counted through them, unless it was skipped, or
// failed while none of them did.
type summary struct {
	out     io.Writer
	output  map[name][]string // of tests that have not ended
	running map[name]bool
	parents map[name]bool // tests that have subtests
	failed  map[name]bool // tests, and with no test named, packages that failed outside of a test
	builds  map[string][]string
	skips   []string
	passed  []name
}

func newSummary(out io.Writer) *summary {
	return &summary{
		out:     out,
		output:  map[name][]string{},
		running: map[name]bool{},
		parents: map[name]bool{},
		failed:  map[name]bool{},
		builds:  map[string][]string{},
	}
}

func (s *summary) read(r io.Reader) error {
	lines := bufio.NewReader(r)
	for {
		line, err := lines.ReadString('\n')
		if line != "" {
			var e event
			if json.Unmarshal([]byte(line), &e) != nil || e.Action == "" {
				fmt.Fprint(s.out, line) // what go itself says stands between the events
			} else {
				s.event(e)
			}
		}
		if err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
	}
}

func (s *summary) event(e event) {
	if e.Test == "" {
		s.packageEvent(e)
		return
	}
	n := name{e.Package, e.Test}
	switch e.Action {
	case "run":
		s.running[n] = true
		for p, ok := n.parent(); ok; p, ok = p.parent() {
			s.parents[p] = true
		}
	case "output":
		if !strings.HasPrefix(e.Output, "=== ") { // RUN, PAUSE, CONT and NAME tell only the order of events
			s.output[n] = append(s.output[n], e.Output)
		}
	case "pass":
		s.passed = append(s.passed, n)
		s.end(n)
	case "skip":
		s.skips = append(s.skips, fmt.Sprintf("%s %s: %s", e.Package, e.Test, sentence(s.output[n])))
		s.end(n)
	case "fail":
		s.fail(n)
		s.end(n)
	}
}

func (s *summary) packageEvent(e event) {
	switch e.Action {
	case "build-output":
		s.builds[e.ImportPath] = append(s.builds[e.ImportPath], e.Output)
	case "output":
		// PASS and FAIL alone are said again, with the package's name, in the line that follows.
		if e.Output != "PASS\n" && e.Output != "FAIL\n" {
			fmt.Fprint(s.out, e.Output)
		}
	case "fail":
		s.packageFailed(e)
	}
}

func (s *summary) packageFailed(e event) {
	fmt.Fprint(s.out, strings.Join(s.builds[e.FailedBuild], ""))
	delete(s.builds, e.FailedBuild)
	// What was running when the package ended, by a time limit or an exit, failed as well.
	var cut []name
	for n := range s.running {
		if n.pkg == e.Package && !s.parents[n] {
			cut = append(cut, n)
		}
	}
	slices.SortFunc(cut, func(a, b name) int { return strings.Compare(a.test, b.test) })
	for _, n := range cut {
		fmt.Fprintf(s.out, "--- FAIL: %s did not end\n", n.test)
		s.fail(n)
	}
	for n := range s.running {
		if n.pkg == e.Package {
			s.end(n)
		}
	}
	for n := range s.failed {
		if n.pkg == e.Package {
			return
		}
	}
	s.failed[name{pkg: e.Package}] = true
	fmt.Fprintf(s.out, "FAIL\t%s failed outside of a test\n", e.Package)
}

// fail notes a failure and prints what the test wrote.
func (s *summary) fail(n name) {
	fmt.Fprint(s.out, strings.Join(s.output[n], ""))
	s.failed[n] = true
}

func (s *summary) end(n name) {
	delete(s.output, n)
	delete(s.running, n)
}

// close prints the skipped tests and the totals. A run that failed is never summed up as one without a failure.
func (s *summary) close(failed bool) {
	passed := 0
	for _, n := range s.passed {
		if !s.parents[n] {
			passed++
		}
	}
	// A parent's failure is reported before that of its subtests, so only now is it known which failed by itself.
	inherited := map[name]bool{}
	for n := range s.failed {
		for p, ok := n.parent(); ok; p, ok = p.parent() {
			inherited[p] = true
		}
	}
	nFailed := 0
	for n := range s.failed {
		if !inherited[n] {
			nFailed++
		}
	}
	if failed && nFailed == 0 {
		nFailed = 1
	}
	if len(s.skips) > 0 {
		fmt.Fprintln(s.out, "\nSkipped:")
		slices.Sort(s.skips)
		for _, line := range s.skips {
			fmt.Fprintln(s.out, "  "+line)
		}
	}
	fmt.Fprintf(s.out, "\n%d passed, %d failed, %d skipped\n", passed, nFailed, len(s.skips))
}

func (n name) parent() (name, bool) {
	i := strings.LastIndexByte(n.test, '/')
	if i < 0 {
		return name{}, false
	}
	return name{n.pkg, n.test[:i]}, true
}

// sentence finds in a skipped test's output what it gave as its reason.
func sentence(output []string) string {
	var words []string
	for line := range strings.Lines(strings.Join(output, "")) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "--- SKIP") {
			continue
		}
		words = append(words, line)
	}
	if len(words) == 0 {
		return "no reason was given"
	}
	return strings.Join(words, " ")
}
