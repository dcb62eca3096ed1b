package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/go-json-experiment/json"

	"dialer"
)

// A Problem is the body of every refusal (RFC 9457).
type Problem struct {
	Type     string  `json:"type" doc:"Always about:blank; code tells the kind"`
	Title    string  `json:"title" doc:"The status in words"`
	Status   int     `json:"status" doc:"The HTTP status"`
	Detail   string  `json:"detail" doc:"What was wrong and what to do"`
	Instance string  `json:"instance,omitempty" doc:"The request, for finding it in the log"`
	Code     string  `json:"code" doc:"A stable word for programs" example:"invalid"`
	Errors   []Fault `json:"errors,omitempty" doc:"Each mistake with its place"`

	retryAfter int // seconds, of the header; 0 for none
}

// A Fault is one mistake in a request.
type Fault struct {
	Location string `json:"location" doc:"Where: body.name, query.limit, header.If-Match, …"`
	Message  string `json:"message" doc:"What was wrong and what to do"`
	Value    any    `json:"value,omitempty" doc:"What was found there, unless it is a secret"`
}

func (p *Problem) Error() string { return p.Detail }

// GetStatus tells huma which status to send.
func (p *Problem) GetStatus() int { return p.Status }

// ContentType tells huma that the body is a problem.
func (p *Problem) ContentType(string) string { return "application/problem+json" }

// statusOf is the one map from a refusal's code to its status.
var statusOf = map[dialer.Code]int{
	dialer.Invalid:     http.StatusUnprocessableEntity,
	dialer.NotFound:    http.StatusNotFound,
	dialer.Conflict:    http.StatusConflict,
	dialer.Forbidden:   http.StatusForbidden,
	dialer.Unavailable: http.StatusServiceUnavailable,
}

// codeOf names the refusals that come from HTTP itself.
var codeOf = map[int]string{
	http.StatusBadRequest:            "malformed",
	http.StatusUnauthorized:          "unauthenticated",
	http.StatusForbidden:             string(dialer.Forbidden),
	http.StatusNotFound:              string(dialer.NotFound),
	http.StatusMethodNotAllowed:      "method_not_allowed",
	http.StatusNotAcceptable:         "not_acceptable",
	http.StatusRequestTimeout:        "too_slow",
	http.StatusConflict:              string(dialer.Conflict),
	http.StatusPreconditionFailed:    "version_changed",
	http.StatusRequestEntityTooLarge: "too_large",
	http.StatusUnsupportedMediaType:  "unsupported_media_type",
	http.StatusUnprocessableEntity:   string(dialer.Invalid),
	http.StatusPreconditionRequired:  "version_required",
	http.StatusTooManyRequests:       "rate_limited",
	http.StatusServiceUnavailable:    string(dialer.Unavailable),
}

// refuse makes a problem of a status and one sentence.
func refuse(status int, format string, args ...any) *Problem {
	code := codeOf[status]
	if code == "" {
		code = "internal"
	}
	return &Problem{
		Type: "about:blank", Title: http.StatusText(status), Status: status,
		Detail: fmt.Sprintf(format, args...), Code: code,
	}
}

// huma keeps the makers of its errors and two switches of its schemas in
// variables of its package; there is no other way to set them. All hold for the whole program, which has one API.
func init() {
	huma.NewError = func(status int, msg string, errs ...error) huma.StatusError {
		if msg == "cannot read request body" {
			status = http.StatusBadRequest // broken off or badly framed: not our fault
		}
		p := refuse(status, "%s", msg)
		for _, err := range errs {
			if err != nil {
				p.Errors = append(p.Errors, faultOf(err))
			}
		}
		if len(p.Errors) > 0 && p.Detail == "validation failed" {
			p.Detail = p.Errors[0].Location + ": " + p.Errors[0].Message
			if more := len(p.Errors) - 1; more > 0 {
				p.Detail += fmt.Sprintf(" (and %d more mistakes)", more)
			}
		}
		return p
	}
	huma.NewErrorWithContext = func(ctx huma.Context, status int, msg string, errs ...error) huma.StatusError {
		err := huma.NewError(status, msg, errs...)
		if p, ok := err.(*Problem); ok {
			p.Instance = requestURN(ctx.Context())
		}
		return err
	}
	huma.ValidateStrictCasing = true
	huma.DefaultArrayNullable = false
}

// faultOf turns one of huma's findings into a Fault.
func faultOf(err error) Fault {
	var d huma.ErrorDetailer
	if !errors.As(err, &d) {
		return Fault{Location: "body", Message: err.Error()}
	}
	detail := d.ErrorDetail()
	if field, message, ok := strings.Cut(detail.Message, ": "); ok && detail.Location == "body" && strings.HasPrefix(field, "/") {
		return Fault{Location: locate(field), Message: message}
	}
	return Fault{Location: detail.Location, Message: detail.Message, Value: shown(detail.Location, detail.Value)}
}

// shown returns what of a value may be sent back: short scalars from places
// that hold no secret. Objects are left out, as a secret may be inside.
func shown(location string, value any) any {
	last := strings.ToLower(location[strings.LastIndexByte(location, '.')+1:])
	if last == "body" {
		return nil // huma gives the whole text here
	}
	for _, word := range []string{"password", "secret", "token", "key", "authorization"} {
		if strings.Contains(last, word) {
			return nil
		}
	}
	switch v := value.(type) {
	case string:
		if len(v) > 200 {
			return strings.ToValidUTF8(v[:200], "") + "…"
		}
		return v
	case bool, float64, int, int64:
		return v
	}
	return nil
}

// locate writes the field of a *dialer.Error, a name or a JSON pointer, in the
// form of huma's locations.
func locate(field string) string {
	field = strings.ReplaceAll(strings.TrimPrefix(field, "/"), "/", ".")
	if field == "" {
		return "body"
	}
	return "body." + field
}

// problemOf turns what a handler returned into a problem: the refusals that a
// user may see with all their fields, everything else as an internal error.
// internal tells the caller to log it.
func problemOf(err error) (p *Problem, internal bool) {
	if errors.As(err, &p) {
		return p, false
	}
	refusals := collect(err, nil)
	if len(refusals) == 0 {
		if errors.Is(err, context.Canceled) {
			return refuse(http.StatusServiceUnavailable, "the request was broken off"), false
		}
		return refuse(http.StatusInternalServerError, "internal error; the log has the cause"), true
	}
	status := statusOf[refusals[0].Code]
	if status == 0 {
		status = http.StatusInternalServerError
	}
	p = refuse(status, "%s", refusals[0].Error())
	p.Code = string(refusals[0].Code)
	if more := len(refusals) - 1; more > 0 {
		p.Detail += fmt.Sprintf(" (and %d more mistakes)", more)
	}
	for _, r := range refusals {
		if r.Field != "" {
			p.Errors = append(p.Errors, Fault{Location: locate(r.Field), Message: r.Message})
		}
	}
	return p, false
}

// collect gathers the refusals of a joined error.
func collect(err error, found []*dialer.Error) []*dialer.Error {
	switch e := err.(type) {
	case nil:
		return found
	case *dialer.Error:
		return append(found, e)
	case interface{ Unwrap() []error }:
		for _, inner := range e.Unwrap() {
			found = collect(inner, found)
		}
		return found
	case interface{ Unwrap() error }:
		return collect(e.Unwrap(), found)
	}
	return found
}

// fieldError places a refusal at a field of the body.
func fieldError(field string, err error) error {
	var refusal *dialer.Error
	if !errors.As(err, &refusal) {
		return err
	}
	return &dialer.Error{Code: refusal.Code, Field: field, Message: refusal.Message}
}

// writeProblem sends p from outside of huma.
func writeProblem(w http.ResponseWriter, r *http.Request, p *Problem) {
	if p.Instance == "" {
		p.Instance = requestURN(r.Context())
	}
	w.Header().Set("Content-Type", "application/problem+json")
	if p.retryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(p.retryAfter))
	}
	w.WriteHeader(p.Status)
	json.MarshalWrite(w, p) // the client is gone when this fails
}
