package siptrunk

import (
	"bytes"
	"io"
	"mime"
	"mime/multipart"
	"slices"
	"strings"

	"github.com/emiago/sipgo/sip"
)

// The limits of what is read of a multipart body.
const (
	maxParts    = 8
	maxPart     = 64 << 10
	maxNestings = 2
)

// contentType returns a message's media type, in lower case and without its
// parameters, and the boundary between the parts of a multipart one.
func contentType(msg sip.Message) (kind, boundary string) {
	return mediaType(headerValues(msg, "content-type"))
}

func mediaType(value string) (kind, boundary string) {
	kind, params, err := mime.ParseMediaType(value)
	if err != nil { // parameters that nobody can read are no reason to lose a call
		kind, _, _ = strings.Cut(value, ";")
		return strings.ToLower(strings.TrimSpace(kind)), ""
	}
	return kind, params["boundary"]
}

// bodyOf returns the body of a message that is of one of the given types, or the
// first part of it that is (RFC 5621), whatever stands beside it; nil when there
// is none. A body without a type is taken for the first of them.
func bodyOf(msg sip.Message, types ...string) (body []byte, kind string) {
	encoding := strings.ToLower(strings.TrimSpace(headerValues(msg, "content-encoding")))
	if len(msg.Body()) == 0 || encoding != "" && encoding != "identity" {
		return nil, ""
	}
	kind, boundary := contentType(msg)
	if kind == "" {
		return msg.Body(), types[0]
	}
	return partOf(msg.Body(), kind, boundary, types, 0)
}

func partOf(body []byte, kind, boundary string, types []string, depth int) ([]byte, string) {
	if slices.Contains(types, kind) {
		return body, kind
	}
	if !strings.HasPrefix(kind, "multipart/") || boundary == "" || depth == maxNestings {
		return nil, ""
	}
	parts := multipart.NewReader(bytes.NewReader(body), boundary)
	for range maxParts {
		part, err := parts.NextPart()
		if err != nil {
			return nil, ""
		}
		kind, boundary := mediaType(part.Header.Get("Content-Type"))
		data, err := io.ReadAll(io.LimitReader(part, maxPart))
		if err != nil {
			return nil, ""
		}
		if found, of := partOf(data, kind, boundary, types, depth+1); found != nil {
			return found, of
		}
	}
	return nil, ""
}

// sdpOf returns the message's SDP, or nil.
func sdpOf(msg sip.Message) []byte {
	body, _ := bodyOf(msg, "application/sdp")
	return body
}

// setSDP makes SDP the body of a message.
func setSDP(msg sip.Message, sdp []byte) { setBody(msg, "application/sdp", sdp) }

func setBody(msg sip.Message, kind string, body []byte) {
	contentType := sip.ContentTypeHeader(kind)
	msg.AppendHeader(&contentType)
	msg.SetBody(body)
}
