package api

import (
	"bytes"
	stdjson "encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"dialer"
)

// maxDepth is how deep a JSON body may nest.
const maxDepth = 32

// strict reads JSON as RFC 7493 asks: a key twice, invalid UTF-8, a name in the
// wrong case and trailing data are refused.
func strict(data []byte, v any) error {
	if err := fit(data); err != nil {
		return err
	}
	return plain(json.Unmarshal(data, v, json.RejectUnknownMembers(true)))
}

// plain says what the parser found in words for people, after the place as a
// JSON pointer.
func plain(err error) error {
	var broken *jsontext.SyntacticError
	var unfit *json.SemanticError
	var why *dialer.Error
	place, what := jsontext.Pointer(""), ""
	switch {
	case err == nil:
		return nil
	case errors.As(err, &unfit) && errors.As(err, &why):
		// What a type of ours says of its own text is clearer than its wrapping.
		place, what = unfit.JSONPointer, why.Message
	case errors.As(err, &unfit) && errors.Is(err, json.ErrUnknownName):
		place, what = unfit.JSONPointer, "is not a known field"
	case errors.As(err, &unfit):
		place, what = unfit.JSONPointer, "is not "+wanted(unfit.GoType)
	case errors.Is(err, jsontext.ErrDuplicateName) && errors.As(err, &broken):
		place, what = broken.JSONPointer, "is there twice"
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		return errors.New("the JSON ends too early")
	case errors.As(err, &broken) && broken.Err != nil:
		return fmt.Errorf("no JSON at byte %d: %v", broken.ByteOffset, broken.Err)
	default:
		return errors.New("no JSON")
	}
	if place == "" {
		return fmt.Errorf("the text %s", what)
	}
	return fmt.Errorf("%s: %s", place, what)
}

// wanted names what belongs where something else was found.
func wanted(t reflect.Type) string {
	for t != nil && t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch {
	case t == nil:
		return "what belongs there"
	case t == reflect.TypeFor[time.Time]():
		return "a time as 2026-03-01T09:00:00Z"
	}
	switch t.Kind() {
	case reflect.Struct, reflect.Map:
		return "an object {…}"
	case reflect.Slice, reflect.Array:
		return "a list […]"
	case reflect.String:
		return "a text in quotes"
	case reflect.Bool:
		return "true or false"
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return "a whole number"
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return "a whole number that is not negative"
	case reflect.Float32, reflect.Float64:
		return "a number"
	}
	return "what belongs there"
}

var (
	errDeep = fmt.Errorf("nests deeper than %d", maxDepth)
	errNUL  = errors.New("has a NUL character (\\u0000), which no text may hold")
)

// fit refuses what is valid JSON and yet not for us: deep nesting, and NUL,
// which the database cannot keep. Of what is no JSON it may say anything; that
// is refused by what follows.
func fit(data []byte) error {
	depth, inString := 0, false
	for i := 0; i < len(data); i++ {
		switch c := data[i]; {
		case inString && c == '\\':
			if bytes.HasPrefix(data[i+1:], []byte("u0000")) {
				return errNUL
			}
			i++
		case c == '"':
			inString = !inString
		case inString:
		case c == '{', c == '[':
			if depth++; depth > maxDepth {
				return errDeep
			}
		case c == '}', c == ']':
			depth--
		}
	}
	return nil
}

var jsonFormat = huma.Format{
	Unmarshal: strict,
	Marshal: func(w io.Writer, v any) error {
		enc := stdjson.NewEncoder(w)
		enc.SetEscapeHTML(false)
		return enc.Encode(v)
	},
}
