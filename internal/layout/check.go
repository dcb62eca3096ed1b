package layout

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// check returns what is wrong with one Go file. name is its path from the root
// of the repository, with slashes.
func check(name string, src []byte) []string {
	fset := token.NewFileSet()
	f, err := parser.ParseFile(fset, name, src, parser.SkipObjectResolution)
	if err != nil {
		return []string{"cannot be parsed: " + err.Error()}
	}
	var faults []string
	report := func(pos token.Pos, format string, args ...any) {
		faults = append(faults, fmt.Sprintf("%s: %s", fset.Position(pos), fmt.Sprintf(format, args...)))
	}
	dir := path.Dir(name)
	test := strings.HasSuffix(name, "_test.go")
	rules, known := lookup(dir)
	if !known {
		report(f.Package, "folder %q is not in the table of internal/layout/table.go: "+
			"enter it with what it may import, or move the file", dir)
		return faults
	}
	for _, imp := range f.Imports {
		target, _ := strconv.Unquote(imp.Path.Value)
		if !mayImport(dir, rules, target, test) {
			report(imp.Pos(), "%q may not import %q: the table of internal/layout/table.go does not list it", dir, target)
		}
	}
	if rules.pure {
		findClocks(f, report)
	}
	if dir == "postgres" {
		findBuiltSQL(f, report)
	}
	findVagueNames(name, f, report)
	if lines := strings.Count(string(src), "\n"); !test && lines > longest {
		report(f.Package, "the file has %d lines, more than %d: split it by idea", lines, longest)
	}
	return faults
}

// lookup finds the rules of a folder; everything below cmd is a program.
func lookup(dir string) (folder, bool) {
	if strings.HasPrefix(dir, "cmd/") {
		return table["cmd/dialer"], true
	}
	rules, known := table[dir]
	return rules, known
}

func mayImport(dir string, rules folder, target string, test bool) bool {
	own, isOwn := ownFolder(target)
	switch {
	case rules.anything:
		return true
	case isOwn && own == dir: // an external test package
		return test
	case isOwn:
		// Tests of the engine and the edges name trunks and stores of memory;
		// tests of pure folders have no need to.
		return slices.Contains(rules.own, own) || test && !rules.pure
	case standard(target):
		return true
	}
	under := func(prefix string) bool { return strings.HasPrefix(target, prefix) }
	if test && (slices.ContainsFunc(testOnly, under) || !rules.pure) {
		return true
	}
	return slices.ContainsFunc(rules.foreign, under)
}

// ownFolder returns the folder of an import of this module.
func ownFolder(target string) (string, bool) {
	if target == root {
		return ".", true
	}
	return strings.CutPrefix(target, root+"/")
}

// standard reports whether target is of the standard library, whose first
// element has no dot.
func standard(target string) bool {
	first, _, _ := strings.Cut(target, "/")
	return !strings.Contains(first, ".")
}

type reporter func(pos token.Pos, format string, args ...any)

func findClocks(f *ast.File, report reporter) {
	alias := "time"
	for _, imp := range f.Imports {
		if imp.Path.Value == `"time"` && imp.Name != nil {
			alias = imp.Name.Name
		}
	}
	if alias == "." {
		report(f.Package, "package time is imported as %q: a clock could hide", alias)
	}
	ast.Inspect(f, func(n ast.Node) bool {
		sel, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		if x, ok := sel.X.(*ast.Ident); ok && x.Name == alias && slices.Contains(clock, sel.Sel.Name) {
			report(sel.Pos(), "time.%s in a pure folder: take now as an argument", sel.Sel.Name)
		}
		return true
	})
}

// findBuiltSQL finds queries that are put together from values.
func findBuiltSQL(f *ast.File, report reporter) {
	queries := []string{"Exec", "Query", "QueryRow", "Queue", "Prepare"}
	ast.Inspect(f, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		sel, ok := call.Fun.(*ast.SelectorExpr)
		if !ok || !slices.Contains(queries, sel.Sel.Name) {
			return true
		}
		for _, arg := range call.Args {
			ast.Inspect(arg, func(n ast.Node) bool {
				inner, ok := n.(*ast.SelectorExpr)
				if !ok {
					return true
				}
				if x, ok := inner.X.(*ast.Ident); ok && x.Name == "fmt" && strings.HasPrefix(inner.Sel.Name, "Sprint") {
					report(inner.Pos(), "fmt.%s in a call of %s: pass values as parameters ($1, $2, …)", inner.Sel.Name, sel.Sel.Name)
				}
				return true
			})
		}
		return true
	})
}

// findVagueNames looks at the words of folders, files, packages and types. A
// manager may be a person who uses the program, so other names are free.
func findVagueNames(name string, f *ast.File, report reporter) {
	for _, part := range strings.Split(strings.TrimSuffix(name, ".go"), "/") {
		for _, word := range strings.FieldsFunc(part, func(r rune) bool { return !unicode.IsLetter(r) }) {
			if isVague(word) {
				report(f.Package, "the path has the word %q: name what it is for", word)
			}
		}
	}
	if isVague(f.Name.Name) {
		report(f.Name.Pos(), "package %s: name what it is for", f.Name.Name)
	}
	ast.Inspect(f, func(n ast.Node) bool {
		if spec, ok := n.(*ast.TypeSpec); ok && isVague(lastWord(spec.Name.Name)) {
			report(spec.Pos(), "type %s: name what it is for", spec.Name.Name)
		}
		return true
	})
}

func isVague(word string) bool {
	return slices.Contains(vague, strings.TrimSuffix(strings.ToLower(word), "s"))
}

// lastWord returns the last word of a name in mixed caps.
func lastWord(name string) string {
	i := strings.LastIndexFunc(name, unicode.IsUpper)
	return name[max(i, 0):]
}
