// Package determinism holds the analyzer that keeps the state machine reproducible.
//
// Every validator executes every block and must arrive at the same bytes. The analyzer therefore refuses, in
// chain/... and modules/..., whatever may differ from one machine, run or build to the next: floating point, clocks,
// randomness, goroutines, the order of maps, the environment, addresses, logs, and encodings that promise no stable
// bytes. Test files, generated files and packages for tests alone are left out.
//
// A map may be ranged over in one form: to collect its keys into a slice that the very next statement sorts.
//
//	for k := range m {
//		keys = append(keys, k)
//	}
//	slices.Sort(keys)
//
// At a boundary that is not consensus state, such as a cache behind a mutex, a line directive allows what stands
// before it on its line or, where it stands alone, what stands on the next line:
//
//	//determinism:allow <reason>
//
// The reason is obligatory, and a directive that suppresses nothing is refused.
package determinism

import (
	"fmt"
	"go/ast"
	"go/constant"
	"go/token"
	"go/types"
	"strings"

	"golang.org/x/tools/go/analysis"
	"golang.org/x/tools/go/analysis/passes/inspect"
	"golang.org/x/tools/go/ast/inspector"
	"golang.org/x/tools/go/types/typeutil"

	"github.com/chancery/chancery/scripts/internal/layout"
)

// Analyzer reports what could make two validators disagree.
var Analyzer = &analysis.Analyzer{
	Name:     "determinism",
	Doc:      "refuses in chain/... and modules/... whatever may differ between two validators",
	Requires: []*analysis.Analyzer{inspect.Analyzer},
	Run:      run,
}

func inScope(importPath string) bool {
	rel, ours := layout.Rel(importPath)
	return ours && (layout.Within(rel, "chain") || layout.Within(rel, "modules")) && !layout.TestSupport(rel)
}

// place identifies a finding: one rule reports once per line.
type place struct {
	file string
	line int
	rule string
}

type checker struct {
	pass       *analysis.Pass
	directives *directives
	reported   map[place]bool
	mutexes    bool // whether the package is one of mutexPackages
}

func run(pass *analysis.Pass) (any, error) {
	if !inScope(pass.Pkg.Path()) {
		return nil, nil
	}
	rel, _ := layout.Rel(pass.Pkg.Path())
	c := &checker{pass: pass, reported: map[place]bool{}, mutexes: mutexPackages[rel] != ""}

	checked := map[*ast.File]bool{}
	for _, f := range pass.Files {
		name := pass.Fset.Position(f.FileStart).Filename
		checked[f] = !strings.HasSuffix(name, "_test.go") && !ast.IsGenerated(f)
	}
	var err error
	if c.directives, err = collect(pass, checked); err != nil {
		return nil, err
	}

	root := pass.ResultOf[inspect.Analyzer].(*inspector.Inspector).Root()
	for cur := range root.Children() {
		if !checked[cur.Node().(*ast.File)] {
			continue
		}
		for cur := range cur.Preorder() {
			c.node(cur)
		}
	}
	c.directives.close(pass)
	return nil, nil
}

func (c *checker) report(n ast.Node, rule, format string, args ...any) {
	pos := c.pass.Fset.Position(n.Pos())
	at := place{pos.Filename, pos.Line, rule}
	if c.reported[at] {
		return
	}
	c.reported[at] = true
	if c.directives.allow(pos.Filename, pos.Line) {
		return
	}
	c.pass.Report(analysis.Diagnostic{Pos: n.Pos(), End: n.End(), Category: rule, Message: fmt.Sprintf(format, args...)})
}

func (c *checker) node(cur inspector.Cursor) {
	if e, ok := cur.Node().(ast.Expr); ok {
		c.float(e)
	}
	switch n := cur.Node().(type) {
	case *ast.ImportSpec:
		c.imported(n)
	case *ast.GoStmt:
		c.report(n, "concurrency", "a goroutine is refused: the order in which goroutines run differs between validators")
	case *ast.SelectStmt:
		c.report(n, "concurrency", "select is refused: it picks among ready channels at random")
	case *ast.ChanType:
		c.report(n, "concurrency", "a channel is refused: execution is one sequence of steps")
	case *ast.SendStmt:
		c.report(n, "concurrency", "a channel is refused: execution is one sequence of steps")
	case *ast.UnaryExpr:
		if n.Op == token.ARROW {
			c.report(n, "concurrency", "a channel is refused: execution is one sequence of steps")
		}
	case *ast.RangeStmt:
		c.ranged(cur, n)
	case *ast.CallExpr:
		c.call(n)
	case *ast.Ident:
		if obj := c.pass.TypesInfo.Uses[n]; obj != nil {
			c.use(cur, n, obj)
		}
	}
}

// float reports an expression, name or literal of a floating or complex type.
func (c *checker) float(e ast.Expr) {
	const message = "floating point is refused: use int64 with a stated scale, and check for overflow"
	if lit, ok := e.(*ast.BasicLit); ok && (lit.Kind == token.FLOAT || lit.Kind == token.IMAG) {
		c.report(e, "float", message)
		return
	}
	t := c.pass.TypesInfo.TypeOf(e)
	if t != nil && hasFloat(t, map[types.Type]bool{}) {
		c.report(e, "float", message)
	}
}

// hasFloat reports whether a value of type t is, holds or returns a floating value. It does not look into structs,
// whose fields are reported where they are declared or used.
func hasFloat(t types.Type, seen map[types.Type]bool) bool {
	if seen[t] {
		return false
	}
	seen[t] = true
	tuple := func(vars *types.Tuple) bool {
		for v := range vars.Variables() {
			if hasFloat(v.Type(), seen) {
				return true
			}
		}
		return false
	}
	switch t := t.(type) {
	case *types.Basic:
		return t.Info()&(types.IsFloat|types.IsComplex) != 0
	case *types.Alias, *types.Named:
		return hasFloat(t.Underlying(), seen)
	case *types.Pointer:
		return hasFloat(t.Elem(), seen)
	case *types.Slice:
		return hasFloat(t.Elem(), seen)
	case *types.Array:
		return hasFloat(t.Elem(), seen)
	case *types.Chan:
		return hasFloat(t.Elem(), seen)
	case *types.Map:
		return hasFloat(t.Key(), seen) || hasFloat(t.Elem(), seen)
	case *types.Signature:
		return tuple(t.Params()) || tuple(t.Results())
	case *types.Tuple:
		return tuple(t)
	}
	return false
}

func (c *checker) imported(spec *ast.ImportSpec) {
	path := strings.Trim(spec.Path.Value, "`\"")
	if why := refusedImport(path); why != "" {
		c.report(spec, "import", "importing %s is refused: %s", path, why)
	}
}

// use reports a name that stands for something refused, whether it is called, passed on or aliased.
func (c *checker) use(cur inspector.Cursor, id *ast.Ident, obj types.Object) {
	if obj.Pkg() == nil {
		if b, ok := obj.(*types.Builtin); ok && (b.Name() == "print" || b.Name() == "println") {
			c.report(id, "use", "%s is refused: the state machine writes events, not output", b.Name())
		}
		return
	}
	pkg, name, method := obj.Pkg().Path(), obj.Name(), false
	switch o := obj.(type) {
	case *types.Func:
		recv := o.Origin().Signature().Recv()
		if recv != nil {
			method = true
			name = receiver(recv.Type()) + "." + name
			if obj.Name() == "String" && printsProto(c.receiverOf(cur)) {
				c.report(id, "proto-text", "String of a message is refused: %s", unstableText)
			}
		}
		if drawsRandomness(pkg, obj.Name()) {
			c.report(id, "use", "%s.%s is refused: it draws randomness of its own", obj.Pkg().Name(), name)
			return
		}
	case *types.Var:
		if o.IsField() {
			return
		}
	}
	if method || obj.Parent() == obj.Pkg().Scope() {
		if why := refusedUses[pkg][name]; why != "" {
			c.report(id, "use", "%s.%s is refused: %s", obj.Pkg().Name(), name, why)
		}
	}
	if method || obj.Parent() != obj.Pkg().Scope() {
		return
	}
	switch pkg {
	case "sync", "sync/atomic":
		if !c.mutexes || name != "Mutex" && name != "RWMutex" {
			c.report(id, "concurrency", "%s.%s is refused: execution is one sequence of steps", obj.Pkg().Name(), name)
		}
	case "runtime":
		if !allowedRuntime[name] {
			c.report(id, "use", "runtime.%s is refused: %s", name, machine)
		}
	case "maps":
		if (name == "Keys" || name == "Values" || name == "All") && !c.sorted(cur) {
			c.report(id, "map-order", "maps.%s is refused outside slices.Sorted or slices.SortedFunc: a map has no order", name)
		}
	case "time":
		if (name == "Unix" || name == "UnixMilli" || name == "UnixMicro") && !c.fixedZone(cur) {
			c.report(id, "use", "time.%s is refused without .UTC() directly after it: its zone is the machine's", name)
		}
	}
}

// receiver returns the name of a method's type, without its package.
func receiver(t types.Type) string {
	if p, ok := t.(*types.Pointer); ok {
		t = p.Elem()
	}
	if n, ok := types.Unalias(t).(*types.Named); ok {
		return n.Obj().Name()
	}
	return ""
}

// receiverOf returns the type of x where cur is the name m in x.m.
func (c *checker) receiverOf(cur inspector.Cursor) types.Type {
	sel, ok := cur.Parent().Node().(*ast.SelectorExpr)
	if !ok {
		return nil
	}
	return c.pass.TypesInfo.TypeOf(sel.X)
}

// called climbs from the name of a function to its call, through the package's name, parentheses and type arguments.
func called(cur inspector.Cursor) (call inspector.Cursor, ok bool) {
	for p := cur.Parent(); ; cur, p = p, p.Parent() {
		switch n := p.Node().(type) {
		case *ast.SelectorExpr, *ast.ParenExpr, *ast.IndexExpr, *ast.IndexListExpr:
		case *ast.CallExpr:
			return p, n.Fun == cur.Node()
		default:
			return p, false
		}
	}
}

// sorted reports whether the function named at cur is called as the first argument of slices.Sorted or SortedFunc.
func (c *checker) sorted(cur inspector.Cursor) bool {
	call, ok := called(cur)
	if !ok {
		return false
	}
	outer, ok := call.Parent().Node().(*ast.CallExpr)
	if !ok || len(outer.Args) == 0 || outer.Args[0] != call.Node() {
		return false
	}
	fn := typeutil.StaticCallee(c.pass.TypesInfo, outer)
	return isFunc(fn, "slices", "Sorted", "SortedFunc")
}

// fixedZone reports whether the call of the function named at cur is directly followed by .UTC() or .In(…).
func (c *checker) fixedZone(cur inspector.Cursor) bool {
	call, ok := called(cur)
	if !ok {
		return false
	}
	sel, ok := call.Parent().Node().(*ast.SelectorExpr)
	return ok && (sel.Sel.Name == "UTC" || sel.Sel.Name == "In")
}

func isFunc(fn *types.Func, pkg string, names ...string) bool {
	if fn == nil || fn.Pkg() == nil || fn.Pkg().Path() != pkg || fn.Signature().Recv() != nil {
		return false
	}
	for _, n := range names {
		if fn.Name() == n {
			return true
		}
	}
	return false
}

func (c *checker) ranged(cur inspector.Cursor, n *ast.RangeStmt) {
	t := c.pass.TypesInfo.TypeOf(n.X)
	if t == nil {
		return
	}
	if anyTerm(t, func(t types.Type) bool { _, ok := t.(*types.Chan); return ok }) {
		c.report(n, "concurrency", "a channel is refused: execution is one sequence of steps")
	}
	if anyTerm(t, func(t types.Type) bool { _, ok := t.(*types.Map); return ok }) && !c.collectsAndSorts(cur, n) {
		c.report(n, "map-order", "ranging over a map is refused: a map has no order; range over slices.Sorted(maps.Keys(m)), or collect the keys and sort them in the next statement")
	}
}

// anyTerm reports whether is holds for the underlying type of t or, where t is a type parameter, for one of its terms.
func anyTerm(t types.Type, is func(types.Type) bool) bool {
	switch u := t.Underlying().(type) {
	case *types.Interface:
		for e := range u.EmbeddedTypes() {
			if anyTerm(e, is) {
				return true
			}
		}
		return false
	case *types.Union:
		for term := range u.Terms() {
			if anyTerm(term.Type(), is) {
				return true
			}
		}
		return false
	default:
		return is(u)
	}
}

// collectsAndSorts reports whether n is `for k := range m { s = append(s, k) }` and the very next statement sorts s.
func (c *checker) collectsAndSorts(cur inspector.Cursor, n *ast.RangeStmt) bool {
	key, ok := n.Key.(*ast.Ident)
	if !ok || n.Tok != token.DEFINE || len(n.Body.List) != 1 {
		return false
	}
	if n.Value != nil && !isBlank(n.Value) {
		return false
	}
	assign, ok := n.Body.List[0].(*ast.AssignStmt)
	if !ok || assign.Tok != token.ASSIGN || len(assign.Lhs) != 1 || len(assign.Rhs) != 1 {
		return false
	}
	call, ok := assign.Rhs[0].(*ast.CallExpr)
	if !ok || len(call.Args) != 2 || call.Ellipsis.IsValid() {
		return false
	}
	if b, ok := typeutil.Callee(c.pass.TypesInfo, call).(*types.Builtin); !ok || b.Name() != "append" {
		return false
	}
	keys := c.object(assign.Lhs[0])
	if keys == nil || c.object(call.Args[0]) != keys || c.object(call.Args[1]) != c.pass.TypesInfo.Defs[key] {
		return false
	}
	next, ok := cur.NextSibling()
	if !ok {
		return false
	}
	stmt, ok := next.Node().(*ast.ExprStmt)
	if !ok {
		return false
	}
	sort, ok := stmt.X.(*ast.CallExpr)
	if !ok || len(sort.Args) == 0 {
		return false
	}
	fn := typeutil.StaticCallee(c.pass.TypesInfo, sort)
	if isFunc(fn, "slices", "Sort", "SortFunc", "SortStableFunc") ||
		isFunc(fn, "sort", "Strings", "Ints", "Slice", "SliceStable") {
		return c.object(sort.Args[0]) == keys
	}
	if isFunc(fn, "sort", "Sort", "Stable") {
		conv, ok := sort.Args[0].(*ast.CallExpr)
		return ok && len(conv.Args) == 1 && c.pass.TypesInfo.Types[conv.Fun].IsType() && c.object(conv.Args[0]) == keys
	}
	return false
}

func isBlank(e ast.Expr) bool {
	id, ok := e.(*ast.Ident)
	return ok && id.Name == "_"
}

// object returns what a plain name stands for, and nil for any other expression.
func (c *checker) object(e ast.Expr) types.Object {
	id, ok := e.(*ast.Ident)
	if !ok {
		return nil
	}
	return c.pass.TypesInfo.Uses[id]
}

func (c *checker) call(n *ast.CallExpr) {
	info := c.pass.TypesInfo
	if b, ok := typeutil.Callee(info, n).(*types.Builtin); ok && b.Name() == "make" {
		if _, ok := info.TypeOf(n).Underlying().(*types.Chan); ok {
			c.report(n, "concurrency", "a channel is refused: execution is one sequence of steps")
		}
		return
	}
	sig, ok := info.TypeOf(n.Fun).(*types.Signature)
	if !ok || !variadicAny(sig) {
		return
	}
	fixed := sig.Params().Len() - 1
	if len(n.Args) < fixed {
		return
	}
	format := fixed > 0 && types.Identical(sig.Params().At(fixed-1).Type(), types.Typ[types.String])
	if format {
		if v := info.Types[n.Args[fixed-1]].Value; v != nil && v.Kind() == constant.String && hasVerb(constant.StringVal(v), 'p') {
			c.report(n, "address", "%%p is refused: an address differs between validators")
		}
	}
	fn := typeutil.StaticCallee(info, n)
	if !format && (fn == nil || fn.Pkg() == nil || fn.Pkg().Path() != "fmt") {
		return
	}
	for _, arg := range n.Args[fixed:] {
		if printsProto(info.TypeOf(arg)) {
			c.report(arg, "proto-text", "printing a message is refused: %s", unstableText)
		}
	}
}

func variadicAny(sig *types.Signature) bool {
	if !sig.Variadic() {
		return false
	}
	s, ok := sig.Params().At(sig.Params().Len() - 1).Type().(*types.Slice)
	if !ok {
		return false
	}
	i, ok := s.Elem().Underlying().(*types.Interface)
	return ok && i.Empty()
}

// hasVerb reports whether a format of package fmt uses a verb.
func hasVerb(format string, verb byte) bool {
	for i := 0; i < len(format); i++ {
		if format[i] != '%' {
			continue
		}
		i++
		for i < len(format) && strings.IndexByte("+-# 0123456789.*[]", format[i]) >= 0 {
			i++
		}
		if i < len(format) && format[i] == verb {
			return true
		}
	}
	return false
}

// printsProto reports whether package fmt would print a value of type t as protocol buffer text.
func printsProto(t types.Type) bool {
	if t == nil {
		return false
	}
	obj, _, _ := types.LookupFieldOrMethod(t, false, nil, "ProtoReflect")
	fn, ok := obj.(*types.Func)
	return ok && fn.Signature().Recv() != nil && reflectsProto(fn.Signature())
}

func reflectsProto(sig *types.Signature) bool {
	if sig.Params().Len() != 0 || sig.Results().Len() != 1 {
		return false
	}
	n, ok := types.Unalias(sig.Results().At(0).Type()).(*types.Named)
	return ok && n.Obj().Pkg() != nil && n.Obj().Pkg().Path() == protobuf+"/reflect/protoreflect" && n.Obj().Name() == "Message"
}
