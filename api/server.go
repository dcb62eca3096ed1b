package api

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"io/fs"
	"log/slog"
	"net/http"
	"net/url"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humachi"
	"github.com/go-chi/chi/v5"

	"dialer"
	"dialer/agents"
	"dialer/telephony"
)

// The bounds of requests. Bodies of lists and assets have their own, beside
// their routes.
const (
	maxBody          = 1 << 20 // bytes of a JSON body
	maxHeader        = 16 << 10
	readHeader       = 5 * time.Second
	readBody         = 10 * time.Second // of a JSON body
	readRequest      = 30 * time.Second
	writeResponse    = 60 * time.Second
	idleConnection   = 2 * time.Minute
	wrongKeys        = 50 // API keys that are none, a second of one address, behind which a whole office may sit
	defaultRateLimit = 50 // requests a second of one key or person; twice as many at once
)

// Config is what a Server needs.
type Config struct {
	Store     Store
	Events    dialer.EventLog
	Scheduler Scheduler
	Agents    *agents.Registry
	// Recordings holds the files that calls name as their recording; nil when
	// nothing is recorded.
	Recordings fs.FS
	// Ladders are the SIP of calls; nil when none is kept.
	Ladders Ladders
	// Trunks tells what each trunk can take now; nil tells of none.
	Trunks func() map[dialer.TrunkID]telephony.Capacity
	// Peers tells how each address of a trunk is now; nil tells of none.
	Peers func(dialer.TrunkID) []telephony.PeerState
	// Draining is closed when no calls are placed any more; nil never is.
	Draining <-chan struct{}
	// Tester places test calls; nil places none.
	Tester telephony.TrunkTester
	// Checks are asked by /readyz, by name; nil is ready.
	Checks map[string]func(context.Context) error
	// SIPRealm is the realm of the registrar, with which the passwords of
	// agents' phones are hashed (RFC 7616 HA1).
	SIPRealm string
	// Origins are further hosts whose pages may open the agents' websocket;
	// our own may.
	Origins []string
	// RateLimit is the requests a second of one key or person; 0 means 50.
	RateLimit float64
	Version   string // of the program, for /livez
	Log       *slog.Logger
	Now       func() time.Time
}

// A Server answers HTTP.
type Server struct {
	store      Store
	events     dialer.EventLog
	scheduler  Scheduler
	agents     *agents.Registry
	recordings fs.FS
	ladders    Ladders
	trunksNow  func() map[dialer.TrunkID]telephony.Capacity
	peersNow   func(dialer.TrunkID) []telephony.PeerState
	tester     telephony.TrunkTester
	testing    atomic.Pointer[string] // the name of the trunk that a test call is under way over
	draining   <-chan struct{}
	checks     map[string]func(context.Context) error
	realm      string
	origins    []string
	version    string
	log        *slog.Logger
	now        func() time.Time

	cursors   cursors
	limiter   *limiter // by caller
	strangers *limiter // wrong keys, by address
	gate      *gate
	sessions  *sessions
	metrics   *metrics
	streams   chan struct{} // one for each open event stream

	router  chi.Router
	api     huma.API
	closing context.Context // ends when the HTTP server shuts down
	close   context.CancelFunc
	open    sync.WaitGroup // websockets, which the HTTP server does not know
}

// New returns a server for all routes. It starts nothing.
func New(cfg Config) (*Server, error) {
	switch {
	case cfg.Store == nil:
		return nil, errors.New("api: Config.Store is nil")
	case cfg.Events == nil:
		return nil, errors.New("api: Config.Events is nil")
	case cfg.Scheduler == nil:
		return nil, errors.New("api: Config.Scheduler is nil")
	case cfg.Agents == nil:
		return nil, errors.New("api: Config.Agents is nil")
	case cfg.SIPRealm == "":
		return nil, errors.New("api: Config.SIPRealm is empty: agents' phones could not register")
	}
	return build(cfg)
}

// build makes the server; OpenAPI does so with an empty Config.
func build(cfg Config) (*Server, error) {
	g, err := newGate()
	if err != nil {
		return nil, err
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Trunks == nil {
		cfg.Trunks = func() map[dialer.TrunkID]telephony.Capacity { return nil }
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.RateLimit <= 0 {
		cfg.RateLimit = defaultRateLimit
	}
	key := make([]byte, 32)
	rand.Read(key)
	closing, stop := context.WithCancel(context.Background())
	s := &Server{
		store: cfg.Store, events: cfg.Events, scheduler: cfg.Scheduler, agents: cfg.Agents,
		recordings: cfg.Recordings, ladders: cfg.Ladders, trunksNow: cfg.Trunks, peersNow: cfg.Peers, tester: cfg.Tester, draining: cfg.Draining,
		checks: cfg.Checks, realm: cfg.SIPRealm, origins: cfg.Origins,
		version: cfg.Version, log: cfg.Log, now: cfg.Now,
		cursors: cursors{key}, limiter: newLimiter(cfg.RateLimit), strangers: newLimiter(wrongKeys), gate: g, sessions: newSessions(),
		streams: make(chan struct{}, maxStreams),
		closing: closing, close: stop,
	}
	s.metrics = newMetrics(s)
	s.route()
	return s, nil
}

// Handler returns the handler of all routes.
func (s *Server) Handler() http.Handler { return s.router }

// HTTPServer returns a server with every bound set. Its Shutdown ends event
// streams and websockets, too.
func (s *Server) HTTPServer(addr string) *http.Server {
	srv := &http.Server{
		Addr:              addr,
		Handler:           s.router,
		ReadHeaderTimeout: readHeader,
		ReadTimeout:       readRequest, // uploads move it on as they come
		WriteTimeout:      writeResponse,
		IdleTimeout:       idleConnection,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	srv.RegisterOnShutdown(s.Close)
	return srv
}

// Close ends event streams and websockets and waits for them.
func (s *Server) Close() {
	s.close()
	s.open.Wait()
}

// Run follows the event log for the metrics until ctx ends.
func (s *Server) Run(ctx context.Context) error { return s.follow(ctx) }

func (s *Server) route() {
	r := chi.NewRouter()
	r.Use(s.identify, s.recover, s.wellFormed)
	r.NotFound(func(w http.ResponseWriter, r *http.Request) {
		writeProblem(w, r, refuse(http.StatusNotFound, "there is no %s: the routes are in /v1/openapi.yaml", clip(r.URL.Path, 100)))
	})
	r.MethodNotAllowed(func(w http.ResponseWriter, r *http.Request) {
		writeProblem(w, r, refuse(http.StatusMethodNotAllowed, "%s is not for this resource: the routes are in /v1/openapi.yaml", clip(r.Method, 20)))
	})
	s.router = r
	r.Group(func(r chi.Router) {
		r.Use(s.guard, s.idempotent)
		s.api = humachi.New(r, humaConfig())
		s.routeSessions()
		s.routeUsers()
		s.routeKeys()
		s.routeTrunks()
		s.routeTestCall()
		s.routeCampaigns()
		s.routeDecisions()
		s.routeLists()
		s.routeImports()
		s.routeAgents()
		s.routeDesk()
		s.routeDNC()
		s.routeAssets()
		s.routeCalls()
		s.routeLadders()
		s.routeReports()
		s.routeSimulations()
		s.routeEvents()
		s.routeHealth(r)
	})
}

func humaConfig() huma.Config {
	cfg := huma.DefaultConfig("Dialer", "1")
	cfg.Info.Description = "An outbound predictive dialer. Times are UTC (RFC 3339 with milliseconds), " +
		"numbers are E.164, durations carry their unit in the name, rates are fractions. " +
		"Every refusal is application/problem+json with a stable code."
	cfg.OpenAPIPath, cfg.DocsPath, cfg.SchemasPath = "", "", ""
	cfg.CreateHooks = nil // no $schema in bodies
	cfg.Formats = map[string]huma.Format{"application/json": jsonFormat, "json": jsonFormat}
	cfg.FieldsOptionalByDefault = false
	cfg.RejectUnknownQueryParameters = true
	cfg.Components.SecuritySchemes = map[string]*huma.SecurityScheme{
		"bearer": {Type: "http", Scheme: "bearer", Description: "An API key (dlr_live_…) or a session token of POST /v1/sessions"},
	}
	return cfg
}

// route registers one operation: its rule becomes its documentation, and
// whatever its handler returns as an error becomes a problem.
func route[I, O any](s *Server, op huma.Operation, handle func(context.Context, *I) (*O, error)) {
	rule := rules[op.Method+" "+op.Path]
	if rule != nil {
		op.Security = []map[string][]string{{"bearer": {}}}
		names := make([]string, len(rule))
		for i, role := range rule {
			names[i] = string(role)
		}
		op.Description = strings.TrimSpace(op.Description + "\n\nRoles: " + strings.Join(names, ", ") + ".")
	}
	if op.BodyReadTimeout == 0 {
		op.BodyReadTimeout = readBody
	}
	if op.MaxBodyBytes == 0 {
		op.MaxBodyBytes = maxBody
	}
	huma.Register(s.api, op, func(ctx context.Context, in *I) (*O, error) {
		out, err := handle(ctx, in)
		if err != nil {
			return nil, s.problem(ctx, err)
		}
		return out, nil
	})
}

// identify gives each request a name, for the log and the problem.
func (s *Server) identify(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var b [8]byte
		rand.Read(b[:])
		id := "urn:request:" + hex.EncodeToString(b[:])
		h := w.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Cache-Control", "no-store")
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), requestKey, id)))
	})
}

// wellFormed refuses addresses and keys that are not text: the database keeps
// UTF-8 without NUL.
func (s *Server) wellFormed(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		query, err := url.QueryUnescape(r.URL.RawQuery)
		for _, text := range []string{r.URL.Path, query, r.Header.Get("Idempotency-Key")} {
			if err != nil || !utf8.ValidString(text) || strings.ContainsRune(text, 0) {
				writeProblem(w, r, refuse(http.StatusBadRequest, "the address or the Idempotency-Key is not UTF-8 text without NUL"))
				return
			}
		}
		next.ServeHTTP(w, r)
	})
}

// recover turns a panic into an internal error: one bad request must not end
// the calls of everybody else.
func (s *Server) recover(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			switch v := recover(); v {
			case nil:
			case http.ErrAbortHandler:
				panic(v)
			default:
				s.log.Error("a request panicked", "request", requestURN(r.Context()), "panic", v, "stack", string(debug.Stack()))
				writeProblem(w, r, refuse(http.StatusInternalServerError, "internal error; the log has the cause"))
			}
		}()
		next.ServeHTTP(w, r)
	})
}

// OpenAPI returns the contract as OpenAPI 3.1 in YAML. It is committed as
// openapi.yaml, and a test fails when the two differ.
func OpenAPI() ([]byte, error) {
	s, err := build(Config{})
	if err != nil {
		return nil, err
	}
	return s.api.OpenAPI().YAML()
}

// clip cuts what a client sent before it is shown.
func clip(text string, n int) string {
	if len(text) > n {
		return strings.ToValidUTF8(text[:n], "") + "…"
	}
	return strings.ToValidUTF8(text, "�")
}

// stamp is a time as the API shows it: UTC with milliseconds, absent when zero.
func stamp(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC().Truncate(time.Millisecond)
	return &t
}
