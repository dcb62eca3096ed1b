package api

import (
	"bytes"
	stdjson "encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/danielgtaylor/huma/v2"
	"github.com/go-json-experiment/json"

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
	err := json.Unmarshal(data, v, json.RejectUnknownMembers(true))
	// What a type of ours says of its own text is clearer than its wrapping.
	var at *json.SemanticError
	var why *dialer.Error
	if errors.As(err, &at) && errors.As(err, &why) {
		return fmt.Errorf("%s: %s", at.JSONPointer, why.Message)
	}
	return err
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
