package api

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"strings"
)

// Cursors are opaque to clients: the place after which the next page begins,
// bound by a MAC to the resource it belongs to, so that a cursor of one list
// is refused by another and nobody invents one.

const macSize = 12

// cursors makes and reads cursors. Its key lives as long as the process; a
// client that comes with a cursor from before a restart begins anew.
type cursors struct{ key []byte }

func (c cursors) mac(scope, place string) []byte {
	m := hmac.New(sha256.New, c.key)
	m.Write([]byte(scope))
	m.Write([]byte{0})
	m.Write([]byte(place))
	return m.Sum(nil)[:macSize]
}

func (c cursors) make(scope, place string) string {
	return base64.RawURLEncoding.EncodeToString(append(c.mac(scope, place), place...))
}

// read returns the place in a cursor; the empty cursor is the beginning.
func (c cursors) read(scope, cursor string) (place string, err error) {
	if cursor == "" {
		return "", nil
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(cursor)
	if err == nil && len(raw) > macSize {
		place = string(raw[macSize:])
		if hmac.Equal(raw[:macSize], c.mac(scope, place)) {
			return place, nil
		}
	}
	p := refuse(http.StatusUnprocessableEntity, "query.cursor: not a cursor of this list: take next_cursor of the page before, or leave it out")
	p.Errors = []Fault{{Location: "query.cursor", Message: "not a cursor of this list"}}
	return "", p
}

// A Page is one part of a list.
type Page[T any] struct {
	Items      []T    `json:"items" doc:"In a stable order"`
	NextCursor string `json:"next_cursor,omitempty" doc:"For the next page; absent on the last"`
}

// Paging are the query fields of every list. It is exported, as all that are
// embedded in an input: huma passes over embedded types that are not.
type Paging struct {
	Limit  int    `query:"limit" minimum:"1" maximum:"1000" doc:"Most items of the page; 100 when absent"`
	Cursor string `query:"cursor" maxLength:"512" doc:"next_cursor of the page before"`
}

func (p Paging) limit() int {
	if p.Limit == 0 {
		return 100
	}
	return p.Limit
}

// page asks fetch for one item more than the page holds, to know whether it is
// the last, and makes the cursor of the place of the page's last item.
func page[D, T any](s *Server, scope []string, in Paging, fetch func(after string, limit int) ([]D, error), place func(D) string, show func(D) T) (*bodyOf[Page[T]], error) {
	name := strings.Join(scope, "\x00")
	after, err := s.cursors.read(name, in.Cursor)
	if err != nil {
		return nil, err
	}
	limit := in.limit()
	found, err := fetch(after, limit+1)
	if err != nil {
		return nil, err
	}
	out := Page[T]{Items: make([]T, 0, min(len(found), limit))}
	if len(found) > limit {
		found = found[:limit]
		out.NextCursor = s.cursors.make(name, place(found[limit-1]))
	}
	for _, d := range found {
		out.Items = append(out.Items, show(d))
	}
	return &bodyOf[Page[T]]{Body: out}, nil
}

// bodyOf is a response that is only a body.
type bodyOf[T any] struct{ Body T }
