package dialer

import (
	"errors"
	"fmt"
)

// A Code says in one stable word what kind of refusal an Error is.
type Code string

// The codes. api maps each to one HTTP status.
const (
	Invalid     Code = "invalid"
	NotFound    Code = "not_found"
	Conflict    Code = "conflict"
	Forbidden   Code = "forbidden"
	Unavailable Code = "unavailable"
)

// An Error is a refusal that a user may see. Every other error is internal:
// logged once, shown as "internal error".
type Error struct {
	Code    Code
	Message string // what was wrong and what to do
	Field   string // JSON pointer or column, empty when none
}

func (e *Error) Error() string {
	if e.Field != "" {
		return e.Field + ": " + e.Message
	}
	return e.Message
}

// Errorf returns an *Error.
func Errorf(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

// Fieldf returns an Invalid *Error about one field.
func Fieldf(field, format string, args ...any) *Error {
	return &Error{Code: Invalid, Message: fmt.Sprintf(format, args...), Field: field}
}

// CodeOf returns the code of err, or "" when it is internal.
func CodeOf(err error) Code {
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	return ""
}
