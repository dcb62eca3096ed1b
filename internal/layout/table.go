package layout

// A folder says what the Go files of one folder may import beside the standard
// library. Entries of own name folders of this repository ("." is the root),
// entries of foreign are prefixes of third-party import paths.
type folder struct {
	own      []string
	foreign  []string
	pure     bool // no clock: every function takes now
	anything bool
}

// root is the module path and the name under which the root folder is imported.
const root = "dialer"

// Third-party modules that more than one folder may use.
const (
	sipgo      = "github.com/emiago/sipgo"
	diago      = "github.com/emiago/diago"
	pion       = "github.com/pion/"
	digest     = "github.com/icholy/digest"
	extraText  = "golang.org/x/text"
	extraCrypt = "golang.org/x/crypto"
	goExpJSON  = "github.com/go-json-experiment/json"
)

// stores is what the two implementations of the stores may import.
var stores = []string{".", "agents", "campaign", "compliance", "migrations", "report", "telephony"}

// table is the whole repository. Arrows point down only; see ARCHITECTURE.md.
var table = map[string]folder{
	".":               {},
	"pacing":          {pure: true, foreign: []string{"gonum.org/v1/gonum"}},
	"pacing/simulate": {pure: true, foreign: []string{"gonum.org/v1/gonum"}, own: []string{"pacing"}},
	"amd":             {pure: true, own: []string{"amd/ear", "amd/forest"}},
	"amd/ear":         {pure: true, own: []string{"amd/forest"}},
	"amd/forest":      {pure: true},
	"amd/train":       {pure: true, own: []string{"amd", "amd/ear", "amd/evaluate", "amd/forest"}},
	"amd/evaluate":    {pure: true, own: []string{"amd"}},
	"compliance":      {pure: true, own: []string{"."}, foreign: []string{"github.com/nyaruka/phonenumbers"}},
	"report":          {pure: true, own: []string{".", "compliance"}},

	// Conference is a thing of legs and stands at the seam; what it does to
	// samples is arithmetic, and tested as such.
	"telephony":     {own: []string{".", "telephony/mix"}},
	"telephony/mix": {pure: true},
	// x/sys: epoll and the marks of sockets, which the standard library has not.
	"telephony/media": {own: []string{".", "telephony"}, foreign: []string{pion, "golang.org/x/sys"}},
	"telephony/siptrunk": {
		own: []string{".", "telephony", "telephony/media"},
		// x/sys: how long the kernel keeps trying to deliver over a dead connection
		foreign: []string{sipgo, pion, digest, "golang.org/x/sys"},
	},
	"telephony/siptrunk/siptest": {
		own:     []string{".", "telephony", "telephony/media"},
		foreign: []string{sipgo, diago, pion, digest, "github.com/goccy/go-yaml"},
	},
	"telephony/ladder":    {own: []string{".", "telephony"}},
	"telephony/simtrunk":  {own: []string{".", "telephony"}},
	"telephony/recording": {own: []string{".", "telephony"}},

	"agents": {own: []string{".", "telephony"}},
	"campaign": {
		own:     []string{".", "agents", "amd", "compliance", "pacing", "telephony"},
		foreign: []string{extraText, goExpJSON},
	},

	// Jobs and the records of campaigns meet the simulator here, so that it stays pure.
	"simulation": {
		own:     []string{".", "agents", "campaign", "compliance", "pacing", "pacing/simulate"},
		foreign: []string{goExpJSON},
	},

	"migrations": {},
	"postgres": {
		own:     append([]string{"simulation"}, stores...),
		foreign: []string{"github.com/jackc/pgx/v5", "github.com/pressly/goose/v3", extraCrypt},
	},
	"postgres/private": {own: []string{"."}},
	"api": {
		// pacing/simulate: the scenario is the body of a request
		own: []string{".", "agents", "campaign", "compliance", "pacing/simulate", "report", "simulation", "telephony"},
		foreign: []string{
			"github.com/danielgtaylor/huma/v2", "github.com/go-chi/chi/v5", "github.com/coder/websocket",
			"github.com/prometheus/client_golang", "github.com/goccy/go-yaml", extraCrypt, goExpJSON,
		},
	},

	"internal/callbench": { // tests only: whole calls, beside those of others
		own:     []string{".", "telephony", "telephony/siptrunk"},
		foreign: []string{sipgo, diago},
	},
	"internal/layout":       {},
	"internal/memstore":     {own: stores},
	"internal/pacingtables": {own: []string{"pacing/simulate"}},
	"internal/pgtest": {
		own:     []string{"migrations", "postgres/private"},
		foreign: []string{"github.com/jackc/pgx/v5", "github.com/pressly/goose/v3"},
	},
	"internal/storetest": {
		own:     stores,
		foreign: []string{"github.com/google/go-cmp"},
	},

	"cmd/dialer": {anything: true},
}

// testOnly modules may be imported by any test.
var testOnly = []string{
	"pgregory.net/rapid", "github.com/google/go-cmp", "go.uber.org/goleak", "github.com/goccy/go-yaml",
}

// vague are words that say nothing of what a folder, file or type is for.
var vague = []string{"util", "common", "manager", "helper"}

// clock are the names of package time that read or wait for the wall clock.
var clock = []string{
	"Now", "Sleep", "After", "AfterFunc", "Since", "Until", "NewTimer", "NewTicker", "Tick",
}

// longest is the number of lines above which a file holds more than one idea.
const longest = 550
