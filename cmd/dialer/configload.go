package main

import (
	"encoding"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// loaded is a configuration with where each of its values came from.
type loaded struct {
	Config
	source map[string]string // path → "file", "env DIALER_…", "flag --…"; absent = default
	line   map[string]int
}

// loadConfig merges defaults, the file, DIALER_… variables and flags, in that
// order, and returns every mistake of all of them at once. A missing file is a
// mistake only when it was asked for by name.
func loadConfig(file string, env func(string) (string, bool), flags map[string]string) (loaded, []Problem) {
	l := loaded{Config: DefaultConfig(), source: map[string]string{}, line: map[string]int{}}
	var problems []Problem
	if file != "" {
		problems = append(problems, l.readFile(file)...)
	}
	for _, leaf := range leaves(reflect.ValueOf(&l.Config).Elem(), "") {
		if leaf.value.Kind() == reflect.Slice || leaf.value.Kind() == reflect.Map {
			continue // lists and maps come from the file alone
		}
		name := "DIALER_" + strings.ToUpper(strings.ReplaceAll(leaf.path, ".", "_"))
		if s, ok := env(name); ok {
			if what := setText(leaf.value, s); what != "" {
				problems = append(problems, Problem{Path: leaf.path, What: what, Hint: "correct the variable " + name})
			}
			l.source[leaf.path] = "env " + name
		}
		if s, ok := flags[leaf.path]; ok {
			if what := setText(leaf.value, s); what != "" {
				problems = append(problems, Problem{Path: leaf.path, What: what, Hint: "correct the flag"})
			}
			l.source[leaf.path] = "flag"
		}
	}
	broken := map[string]bool{}
	for _, p := range problems {
		broken[p.Path] = true
	}
	for _, p := range l.placed(l.Validate()) {
		if !broken[p.Path] {
			problems = append(problems, p)
		}
	}
	slices.SortStableFunc(problems, func(a, b Problem) int { return a.Line - b.Line })
	return l, problems
}

// placed gives problems the lines of the file they come from.
func (l *loaded) placed(problems []Problem) []Problem {
	for i := range problems {
		problems[i].Line = l.lineOf(problems[i].Path)
	}
	return problems
}

// lineOf finds the line of a path, or of the nearest thing around it.
func (l *loaded) lineOf(path string) int {
	for path != "" {
		if n, ok := l.line[path]; ok {
			if src := l.source[path]; src == "" || src == "file" {
				return n
			}
			return 0
		}
		i := strings.LastIndexAny(path, ".[")
		if i < 0 {
			return 0
		}
		path = path[:i]
	}
	return 0
}

func (l *loaded) readFile(file string) []Problem {
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return []Problem{{Path: file, What: "the file does not exist", Hint: "write one (see docs/configuration.md) or leave --config out"}}
	}
	if err != nil {
		return []Problem{{Path: file, What: err.Error(), Hint: "make it readable for this account"}}
	}
	return l.readYAML(data, reflect.ValueOf(&l.Config).Elem())
}

// readYAML sets v, a struct, from the text of a file.
func (l *loaded) readYAML(data []byte, v reflect.Value) []Problem {
	tree, err := parser.ParseBytes(data, 0)
	if err != nil {
		return []Problem{syntaxProblem(err)}
	}
	var problems []Problem
	for _, doc := range tree.Docs {
		if doc.Body != nil {
			l.read(doc.Body, v, "", &problems)
		}
	}
	return problems
}

// syntaxProblem puts what the parser says into one line.
func syntaxProblem(err error) Problem {
	p := Problem{What: "is not YAML", Hint: "write each setting as \"name: value\", those of a group indented below it with spaces"}
	var y yaml.Error
	if !errors.As(err, &y) {
		return p
	}
	p.What = "this is not YAML: " + y.GetMessage()
	if t := y.GetToken(); t != nil && t.Position != nil {
		p.Line = t.Position.Line
	}
	switch {
	case strings.Contains(p.What, "'\t'"):
		p.What, p.Hint = "this line is indented with a tab", "use spaces"
	case strings.Contains(p.What, "unexpected key name"), strings.Contains(p.What, "non-map value"):
		p.What = "this line, or the next one, is not a setting"
	case strings.Contains(p.What, "quoted"):
		p.Hint = "close the quotation marks that this line opens"
	case strings.Contains(p.What, "']'"), strings.Contains(p.What, "'}'"):
		p.Hint = "close the bracket that this line opens"
	}
	return p
}

// read sets v from node and goes on after a mistake, so that all are found.
func (l *loaded) read(node ast.Node, v reflect.Value, path string, problems *[]Problem) {
	if a, ok := node.(*ast.AnchorNode); ok {
		node = a.Value
	}
	line := node.GetToken().Position.Line
	if path != "" {
		if _, ok := l.line[path]; !ok {
			l.line[path] = line
		}
		l.source[path] = "file"
	}
	bad := func(what, hint string) {
		*problems = append(*problems, Problem{Path: path, Line: line, What: what, Hint: hint})
	}
	if _, ok := node.(*ast.NullNode); ok {
		return // "key:" with nothing behind it keeps the default
	}
	switch v.Kind() {
	case reflect.Struct, reflect.Map:
		values, ok := mapping(node)
		if !ok {
			bad("is not a group of settings", "indent its settings below it")
			return
		}
		if v.Kind() == reflect.Map {
			v.Set(reflect.MakeMap(v.Type()))
		}
		seen := map[string]bool{}
		for _, mv := range values {
			key := mv.Key.GetToken().Value
			sub := join(path, key)
			at := mv.Key.GetToken().Position.Line
			l.line[sub] = at
			if seen[key] {
				*problems = append(*problems, Problem{Path: sub, Line: at, What: "stands twice", Hint: "keep one"})
				continue
			}
			seen[key] = true
			if v.Kind() == reflect.Map {
				value := reflect.New(v.Type().Elem()).Elem()
				l.read(mv.Value, value, sub, problems)
				v.SetMapIndex(reflect.ValueOf(key), value)
				continue
			}
			f, ok := fieldByKey(v, key)
			if !ok {
				hint := "remove it; known here: " + strings.Join(keysOf(v.Type()), ", ")
				if near := nearest(key, keysOf(v.Type())); near != "" {
					hint = fmt.Sprintf("did you mean %q?", near)
				}
				*problems = append(*problems, Problem{Path: sub, Line: at, What: "is not a setting", Hint: hint})
				continue
			}
			l.read(mv.Value, f, sub, problems)
		}
	case reflect.Slice:
		seq, ok := node.(*ast.SequenceNode)
		if !ok {
			bad("is not a list", "write each entry on a line that begins with \"- \"")
			return
		}
		out := reflect.MakeSlice(v.Type(), len(seq.Values), len(seq.Values))
		for i, n := range seq.Values {
			if t, ok := out.Index(i).Addr().Interface().(*TrunkConfig); ok {
				*t = defaultTrunk()
			}
			l.read(n, out.Index(i), fmt.Sprintf("%s[%d]", path, i), problems)
		}
		v.Set(out)
	default:
		if text, ok := node.(*ast.LiteralNode); ok {
			node = text.Value // "ca: |" and the lines below
		}
		s, ok := node.(ast.ScalarNode)
		if !ok {
			bad("is not a single value", "write "+path+": VALUE")
			return
		}
		if what := setText(v, s.GetToken().Value); what != "" {
			bad(what, "correct the value")
		}
	}
}

func mapping(node ast.Node) ([]*ast.MappingValueNode, bool) {
	switch n := node.(type) {
	case *ast.MappingNode:
		return n.Values, true
	case *ast.MappingValueNode:
		return []*ast.MappingValueNode{n}, true
	}
	return nil, false
}

// setText parses s into v and says what is wrong with it, or "".
func setText(v reflect.Value, s string) string {
	if t, ok := v.Addr().Interface().(encoding.TextUnmarshaler); ok {
		if err := t.UnmarshalText([]byte(s)); err != nil {
			return err.Error()
		}
		return ""
	}
	if v.Type() == reflect.TypeFor[time.Duration]() {
		d, err := time.ParseDuration(s)
		if err != nil {
			return fmt.Sprintf("%q is not a duration such as 30s or 5m", s)
		}
		v.SetInt(int64(d))
		return ""
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(s)
	case reflect.Bool:
		b, err := strconv.ParseBool(s)
		if err != nil {
			return fmt.Sprintf("%q is neither true nor false", s)
		}
		v.SetBool(b)
	case reflect.Int:
		n, err := strconv.Atoi(s)
		if err != nil {
			return fmt.Sprintf("%q is not a whole number", s)
		}
		v.SetInt(int64(n))
	case reflect.Float64:
		f, err := strconv.ParseFloat(s, 64)
		if err != nil {
			return fmt.Sprintf("%q is not a number", s)
		}
		v.SetFloat(f)
	}
	return ""
}

// A leaf is one scalar setting, a map, or a list with nothing in it.
type leaf struct {
	path   string
	value  reflect.Value
	secret bool
}

// leaves lists the settings below v in the order of the struct.
func leaves(v reflect.Value, path string) []leaf {
	var out []leaf
	for _, f := range settings(v.Type()) {
		sub, value := join(path, f.key), v.FieldByIndex(f.Index)
		switch f.Type.Kind() {
		case reflect.Struct:
			out = append(out, leaves(value, sub)...)
		case reflect.Slice:
			if value.Len() == 0 {
				out = append(out, leaf{path: sub, value: value})
			}
			for j := range value.Len() {
				e, p := value.Index(j), fmt.Sprintf("%s[%d]", sub, j)
				if e.Kind() == reflect.Struct {
					out = append(out, leaves(e, p)...)
				} else {
					out = append(out, leaf{path: p, value: e})
				}
			}
		default:
			out = append(out, leaf{sub, value, f.Tag.Get("secret") != ""})
		}
	}
	return out
}

// A setting is a field of a group, as the file calls it.
type setting struct {
	reflect.StructField
	key string
}

// settings lists the fields of a group, those of what it embeds among them; these
// have their names in JSON.
func settings(t reflect.Type) []setting {
	var out []setting
	for _, f := range reflect.VisibleFields(t) {
		if f.Anonymous {
			continue
		}
		key, ok := f.Tag.Lookup("yaml")
		if !ok {
			key, _, _ = strings.Cut(f.Tag.Get("json"), ",")
		}
		out = append(out, setting{f, key})
	}
	return out
}

func fieldByKey(v reflect.Value, key string) (reflect.Value, bool) {
	for _, f := range settings(v.Type()) {
		if f.key == key {
			return v.FieldByIndex(f.Index), true
		}
	}
	return reflect.Value{}, false
}

func keysOf(t reflect.Type) []string {
	var keys []string
	for _, f := range settings(t) {
		keys = append(keys, f.key)
	}
	return keys
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// nearest returns the word at most two letters away from key, or "".
func nearest(key string, words []string) string {
	best, at := "", 3
	for _, w := range words {
		if d := editDistance(key, w); d < at {
			best, at = w, d
		}
	}
	return best
}

// editDistance is Levenshtein's.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(row[j+1]+1, row[j]+1, diagonal+cost)
		}
	}
	return row[len(b)]
}

// flow writes a map of texts in one line.
func flow(m reflect.Value) string {
	var pairs []string
	for _, name := range m.MapKeys() {
		pairs = append(pairs, strconv.Quote(name.String())+": "+strconv.Quote(m.MapIndex(name).String()))
	}
	slices.Sort(pairs)
	return "{" + strings.Join(pairs, ", ") + "}"
}

// print writes the merged configuration as it takes effect, each value with its
// source, secrets masked, as YAML that can be used again.
func (l *loaded) print(out io.Writer) {
	w := &strings.Builder{}
	defer func() { io.WriteString(out, w.String()) }()
	indented := map[string]bool{}
	effective := l.Config
	effective.Recordings = l.recordings()
	for _, lf := range leaves(reflect.ValueOf(&effective).Elem(), "") {
		value := fmt.Sprint(lf.value.Interface())
		switch lf.value.Kind() {
		case reflect.String:
			value = strconv.Quote(value)
		case reflect.Map:
			value = flow(lf.value)
		}
		if lf.secret && lf.value.String() != "" {
			value = `"***"`
		}
		source := l.source[lf.path]
		if source == "" {
			source = "default"
		} else if n := l.line[lf.path]; source == "file" && n > 0 {
			source = fmt.Sprintf("file, line %d", n)
		}
		indent, key := "", lf.path
		for {
			group, rest, ok := strings.Cut(key, ".")
			if !ok {
				break
			}
			name, index, isList := strings.Cut(group, "[")
			full := indent + group
			if !indented[full] {
				indented[full] = true
				if !isList || index == "0]" {
					w.WriteString(indent + name + ":\n")
				}
				if isList {
					w.WriteString(indent + "  -\n")
				}
			}
			indent += "  "
			if isList {
				indent += "  "
			}
			key = rest
		}
		if name, index, ok := strings.Cut(key, "["); ok {
			if index == "0]" {
				w.WriteString(indent + name + ":\n")
			}
			fmt.Fprintf(w, "%s  - %-32s # %s\n", indent, value, source)
			continue
		}
		fmt.Fprintf(w, "%s%-38s # %s\n", indent, key+": "+value, source)
	}
}
