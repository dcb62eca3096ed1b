package api

import (
	"context"
	"net/http"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/go-json-experiment/json"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// checkTime is how long a check of /readyz may take.
const checkTime = 2 * time.Second

func (s *Server) routeHealth(r chi.Router) {
	r.Get("/livez", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, map[string]string{"status": "alive", "version": s.version})
	})
	r.Get("/readyz", s.ready)
	r.Method(http.MethodGet, "/metrics", s.forStaff(promhttp.HandlerFor(s.metrics.registry, promhttp.HandlerOpts{
		ErrorHandling: promhttp.ContinueOnError,
	})))
	r.Get("/v1/openapi.yaml", func(w http.ResponseWriter, r *http.Request) {
		doc, err := s.api.OpenAPI().YAML()
		if err != nil {
			s.fail(w, r, err)
			return
		}
		w.Header().Set("Content-Type", "application/yaml")
		w.Write(doc)
	})
}

// forStaff lets in staff, and without a credential whoever is on this machine:
// the figures are the business of a campaign.
func (s *Server) forStaff(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !local(r) {
			if _, err := s.admit(r, staff); err != nil {
				s.fail(w, r, err)
				return
			}
		}
		next.ServeHTTP(w, r)
	})
}

type readiness struct {
	Status string            `json:"status"`
	Checks map[string]string `json:"checks"`
}

// ready asks every check at once. The reasons are for operators: checks must
// put no secrets into their errors.
func (s *Server) ready(w http.ResponseWriter, r *http.Request) {
	ctx, stop := context.WithTimeout(r.Context(), checkTime)
	defer stop()
	type answer struct {
		name string
		err  error
	}
	answers := make(chan answer, len(s.checks))
	for name, check := range s.checks {
		go func() { answers <- answer{name, check(ctx)} }()
	}
	out := readiness{Status: "ready", Checks: map[string]string{}}
	for name := range s.checks {
		out.Checks[name] = "no answer in time"
	}
	status := http.StatusOK
	for range s.checks {
		var a answer
		select {
		case a = <-answers:
		case <-ctx.Done():
			a.err = ctx.Err()
		}
		switch {
		case a.err == nil:
			out.Checks[a.name] = "ok"
			continue
		case a.name != "":
			out.Checks[a.name] = a.err.Error()
		}
		status, out.Status = http.StatusServiceUnavailable, "not ready"
	}
	if away := out.Checks["database"]; away != "" && away != "ok" && out.Checks["dialing"] == "ok" {
		// Each call is saved before it is placed.
		out.Checks["dialing"] = "no calls are placed while the database does not answer"
	}
	if s.closing.Err() != nil {
		status, out.Status = http.StatusServiceUnavailable, "shutting down"
	}
	writeJSON(w, status, out)
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.MarshalWrite(w, v, json.Deterministic(true)) // the client is gone when this fails
}
