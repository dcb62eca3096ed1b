package siptest

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// mostMistakes bounds the mistakes that are told of one file.
const mostMistakes = 100

// A placed mistake stands on a line of the file; 0 is the file as a whole.
type placed struct {
	line int
	what string
}

// decode reads a population from YAML, with every entry that cannot be read
// among the mistakes; whole is false when nothing is left to look at further.
// The decoder ends at its first mistake, so that entry is taken out of the tree
// and the rest is decoded anew.
func decode(data []byte) (p Population, found []placed, whole bool) {
	file, err := parser.ParseBytes(data, 0)
	if err != nil {
		at, _ := where(err)
		return p, []placed{at}, false
	}
	if len(file.Docs) == 0 || file.Docs[0].Body == nil {
		return p, nil, true
	}
	body := file.Docs[0].Body
	for len(found) < mostMistakes {
		p = Population{}
		err := yaml.NodeToValue(body, &p, yaml.Strict())
		if err == nil {
			return p, found, true
		}
		at, bad := where(err)
		found = append(found, at)
		if bad == nil || !takeOut(body, bad) {
			break
		}
	}
	return p, found, false
}

// where tells what is wrong and on which line, and the token it is about.
func where(err error) (placed, *token.Token) {
	at, bad := placed{what: err.Error()}, (*token.Token)(nil)
	var y yaml.Error
	var m *misplaced
	switch {
	case errors.As(err, &m):
		at.what, bad = m.Error(), m.at
	case errors.As(err, &y):
		at.what, bad = y.GetMessage(), y.GetToken()
	}
	if bad != nil {
		at.line = bad.Position.Line
	}
	return at, bad
}

// takeOut removes the innermost entry of a mapping around a token.
func takeOut(body ast.Node, bad *token.Token) bool {
	var from *ast.MappingNode
	var entry *ast.MappingValueNode
	var look visit
	look = func(n ast.Node) bool {
		if m, ok := n.(*ast.MappingNode); ok {
			for _, v := range m.Values {
				if holds(v, bad) {
					from, entry = m, v // deeper ones come later
				}
			}
		}
		return true
	}
	ast.Walk(look, body)
	if from == nil {
		return false
	}
	from.Values = slices.DeleteFunc(from.Values, func(v *ast.MappingValueNode) bool { return v == entry })
	return true
}

// holds reports whether a token is of a node or of one below it.
func holds(n ast.Node, t *token.Token) bool {
	found := false
	ast.Walk(visit(func(n ast.Node) bool {
		own := n.GetToken()
		found = found || own == t || own != nil && own.Position != nil && own.Position.Offset == t.Position.Offset
		return !found
	}), n)
	return found
}

// visit walks a tree as long as it returns true.
type visit func(ast.Node) bool

func (v visit) Visit(n ast.Node) ast.Visitor {
	if !v(n) {
		return nil
	}
	return v
}

// report makes one error of the mistakes, in the order of the file.
func report(name string, found []placed) error {
	slices.SortStableFunc(found, func(a, b placed) int { return cmp.Compare(a.line, b.line) })
	var all []error
	for _, m := range found {
		if m.line == 0 {
			all = append(all, fmt.Errorf("%s: %s", name, m.what))
			continue
		}
		all = append(all, fmt.Errorf("%s:%d: %s", name, m.line, m.what))
	}
	return errors.Join(all...)
}
