package api

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/go-chi/chi/v5"

	"dialer"
)

// repeatable are the routes that create something and honour Idempotency-Key:
// the same request again gets the first answer again. Left out are those that
// answer with a secret, which must not be kept, and uploads, which are told
// apart by the numbers inside.
var repeatable = map[string]bool{
	"/v1/users":            true,
	"/v1/trunks":           true,
	"/v1/campaigns":        true,
	"/v1/lists":            true,
	"/v1/lists/{id}/leads": true,
	"/v1/agents":           true,
	"/v1/dnc":              true,
	"/v1/simulations":      true,
}

const maxReplayKey = 200

// idempotent answers a repeated request from memory.
func (s *Server) idempotent(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		key := r.Header.Get("Idempotency-Key")
		if key == "" || r.Method != http.MethodPost || !repeatable[chi.RouteContext(r.Context()).RoutePattern()] {
			next.ServeHTTP(w, r)
			return
		}
		if len(key) > maxReplayKey {
			writeProblem(w, r, refuse(http.StatusUnprocessableEntity, "header.Idempotency-Key: is longer than %d bytes", maxReplayKey))
			return
		}
		http.NewResponseController(w).SetReadDeadline(time.Now().Add(readBody))
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
		if err != nil {
			var tooLarge *http.MaxBytesError
			if errors.As(err, &tooLarge) {
				writeProblem(w, r, refuse(http.StatusRequestEntityTooLarge, "the body is larger than %d bytes", maxBody))
				return
			}
			writeProblem(w, r, refuse(http.StatusBadRequest, "the body could not be read to its end"))
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		sum := sha256.Sum256(body)
		who, route := callerOf(r.Context()).name(), r.Method+" "+r.URL.Path
		old, err := s.store.ClaimKey(r.Context(), who, key, route, sum[:], s.now())
		switch {
		case err != nil:
			s.fail(w, r, err)
			return
		case old != nil:
			replay(w, old)
			return
		}
		// The answer must be kept, or the key given back, even when the client
		// has gone meanwhile.
		ctx, done := context.WithTimeout(context.WithoutCancel(r.Context()), 10*time.Second)
		defer done()
		rec := &recorder{ResponseWriter: w, status: http.StatusOK}
		finished := false
		defer func() {
			var keep *dialer.Answer
			if finished && rec.status < 300 {
				h := w.Header()
				keep = &dialer.Answer{
					Status: rec.status, Type: h.Get("Content-Type"), Location: h.Get("Location"), ETag: h.Get("ETag"),
					Body: rec.body.Bytes(),
				}
			}
			// A refusal is not kept: what was wrong may be put right.
			if err := s.store.KeepAnswer(ctx, who, key, route, keep); err != nil {
				s.log.Error("an answer could not be kept for its Idempotency-Key", "request", requestURN(ctx), "err", err)
			}
		}()
		next.ServeHTTP(rec, r)
		finished = true
	})
}

func replay(w http.ResponseWriter, a *dialer.Answer) {
	h := w.Header()
	for name, value := range map[string]string{"Content-Type": a.Type, "Location": a.Location, "ETag": a.ETag} {
		if value != "" {
			h.Set(name, value)
		}
	}
	h.Set("Idempotency-Replayed", "true")
	w.WriteHeader(a.Status)
	w.Write(a.Body)
}

// recorder copies a response while it is sent.
type recorder struct {
	http.ResponseWriter
	status int
	body   bytes.Buffer
}

func (r *recorder) WriteHeader(status int) {
	r.status = status
	r.ResponseWriter.WriteHeader(status)
}

func (r *recorder) Write(b []byte) (int, error) {
	r.body.Write(b)
	return r.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController through.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }
