package determinism

import (
	"bytes"
	"go/ast"
	"go/token"
	"strings"

	"golang.org/x/tools/go/analysis"
)

const (
	namespace = "//determinism:"
	allow     = "allow"
)

// directive is one //determinism:allow comment. Behind code it covers its own line, else the next.
type directive struct {
	pos  token.Pos
	used bool
}

// directives holds the valid directives of a package by file name and covered line.
type directives struct {
	byLine map[string]map[int]*directive
	all    []*directive
}

// collect gathers the directives of the checked files and reports the malformed ones.
func collect(pass *analysis.Pass, checked map[*ast.File]bool) (*directives, error) {
	ds := &directives{byLine: map[string]map[int]*directive{}}
	for _, f := range pass.Files {
		if !checked[f] {
			continue
		}
		source, err := pass.ReadFile(pass.Fset.File(f.FileStart).Name())
		if err != nil {
			return nil, err
		}
		for _, group := range f.Comments {
			for _, comment := range group.List {
				text, ok := strings.CutPrefix(comment.Text, namespace)
				if !ok {
					continue
				}
				verb, reason, _ := strings.Cut(text, " ")
				if verb != allow {
					pass.Reportf(comment.Pos(), "unknown directive %s%s: only %sallow exists", namespace, verb, namespace)
					continue
				}
				if strings.TrimSpace(reason) == "" {
					pass.Reportf(comment.Pos(), "%sallow needs a reason: say why this is no consensus state", namespace)
					continue
				}
				pos := pass.Fset.Position(comment.Pos())
				if ds.byLine[pos.Filename] == nil {
					ds.byLine[pos.Filename] = map[int]*directive{}
				}
				covered := pos.Line
				if before := source[pos.Offset-pos.Column+1 : pos.Offset]; len(bytes.TrimSpace(before)) == 0 {
					covered++
				}
				d := &directive{pos: comment.Pos()}
				ds.byLine[pos.Filename][covered] = d
				ds.all = append(ds.all, d)
			}
		}
	}
	return ds, nil
}

// allow reports whether a finding on a line is suppressed.
func (ds *directives) allow(file string, line int) bool {
	d := ds.byLine[file][line]
	if d == nil {
		return false
	}
	d.used = true
	return true
}

// close reports the directives that suppressed nothing, so that none outlives its cause.
func (ds *directives) close(pass *analysis.Pass) {
	for _, d := range ds.all {
		if !d.used {
			pass.Reportf(d.pos, "%sallow suppresses nothing: remove it", namespace)
		}
	}
}
