package campaign

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"dialer"
)

// readNDJSON reads one JSON object a line. Values are text, numbers, true,
// false or null; a key may stand once; nothing is nested.
func readNDJSON(lines *lineReader, opt ReadOptions, yield func(Row, error) bool) error {
	j := &jsonRows{mapping: opt.Mapping, rr: rowReader{region: opt.Region}, dec: jsontext.NewDecoder(new(bytes.Reader))}
	count := 0
	for {
		b, err := lines.ReadLine()
		if errors.Is(err, io.EOF) {
			if count == 0 {
				return dialer.Errorf(dialer.Invalid, "the file is empty: upload a JSON object on each line")
			}
			return nil
		}
		if err != nil {
			return err
		}
		b = bytes.TrimSpace(b)
		if len(b) == 0 {
			continue
		}
		if count == 0 && (b[0] == '[' || string(b) == "{") {
			return atLine(lines.line, "this is one JSON document over several lines or an array: write each lead as one object on a line of its own")
		}
		count++
		if !yield(j.row(lines.line, b), nil) {
			return nil
		}
	}
}

// jsonRows is the reading of one NDJSON file.
type jsonRows struct {
	mapping map[string]string
	rr      rowReader
	dec     *jsontext.Decoder
	keys    []string // of the columns
	columns []column
	record  []string
	names   []string
}

// row makes a lead of one line.
func (j *jsonRows) row(line int, b []byte) Row {
	if reason := j.read(b); reason != "" {
		return reject(line, "", reason, string(b))
	}
	if !slices.Equal(j.keys, j.names) { // mostly the lines of a file have the same keys
		columns, mistake := columnsOf(j.names, j.mapping)
		if mistake != nil {
			return reject(line, mistake.Field, mistake.Message, string(b))
		}
		j.keys, j.columns = append(j.keys[:0], j.names...), columns
	}
	lead := Lead{State: Dialable}
	found := false
	for i, col := range j.columns {
		if reason := j.rr.put(&lead, col, j.record[i]); reason != "" {
			return reject(line, col.name, reason, string(b))
		}
		found = found || col.role == number
	}
	if !found {
		return reject(line, "number", "no key holds the phone number: name one \"number\" or map it", string(b))
	}
	return Row{Line: line, Lead: lead}
}

// read fills names and record from an object.
func (j *jsonRows) read(b []byte) (reason string) {
	j.names, j.record = j.names[:0], j.record[:0]
	j.dec.Reset(bytes.NewReader(b))
	if k := j.dec.PeekKind(); k != '{' {
		return "is not a JSON object"
	}
	if _, err := j.dec.ReadToken(); err != nil {
		return jsonReason(err)
	}
	for j.dec.PeekKind() != '}' {
		key, err := j.dec.ReadToken()
		if err != nil {
			return jsonReason(err)
		}
		name := strings.TrimSpace(key.String())
		if utf8.RuneCountInString(name) > maxName {
			return fmt.Sprintf("a key is longer than %d characters", maxName)
		}
		if len(j.names) == maxColumns {
			return fmt.Sprintf("has more than %d keys", maxColumns)
		}
		value := ""
		switch kind := j.dec.PeekKind(); kind {
		case '{', '[':
			return fmt.Sprintf("the value of %q is nested: give text or a number", name)
		default:
			token, err := j.dec.ReadToken()
			if err != nil {
				return jsonReason(err)
			}
			if kind != 'n' {
				value = token.String()
			}
		}
		if strings.IndexByte(value, 0) >= 0 || strings.IndexByte(name, 0) >= 0 {
			return fmt.Sprintf("%q holds a NUL character", name)
		}
		j.names, j.record = append(j.names, name), append(j.record, value)
	}
	if _, err := j.dec.ReadToken(); err != nil {
		return jsonReason(err)
	}
	if _, err := j.dec.ReadToken(); !errors.Is(err, io.EOF) {
		return "something follows the JSON object: write each lead on a line of its own"
	}
	return ""
}

// jsonReason says in our words what is wrong with a line.
func jsonReason(err error) string {
	if errors.Is(err, jsontext.ErrDuplicateName) {
		return "a key stands twice"
	}
	var syntax *jsontext.SyntacticError
	if errors.As(err, &syntax) && syntax.Err != nil {
		return fmt.Sprintf("is not JSON: %v at character %d", syntax.Err, syntax.ByteOffset+1)
	}
	return "is not JSON, or breaks off"
}
