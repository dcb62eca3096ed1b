package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"dialer"
	"dialer/api"
	"dialer/campaign"
	"dialer/telephony/siptrunk/siptest"
)

// The end-to-end tests run the program as an operator does: the built binary,
// a configuration file, a private PostgreSQL, and nothing but the API and the
// wire to see what it did.

// built is the program under test. It is built once, when first asked for.
var built struct {
	once sync.Once
	path string
	err  error
}

func TestMain(m *testing.M) {
	// The phones' stack logs to a variable of its package.
	siptest.SetLibraryLogger(slog.New(slog.DiscardHandler))
	code := m.Run()
	if built.path != "" {
		os.RemoveAll(filepath.Dir(built.path))
	}
	os.Exit(code)
}

func program(t *testing.T) string {
	t.Helper()
	built.once.Do(func() {
		dir, err := os.MkdirTemp("/tmp", "dialer-bin-")
		if err != nil {
			built.err = err
			return
		}
		built.path = filepath.Join(dir, "dialer")
		cmd := exec.Command("go", "build", "-trimpath", "-o", built.path, ".")
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0") // as make build
		if out, err := cmd.CombinedOutput(); err != nil {
			built.err = fmt.Errorf("go build: %w\n%s", err, out)
		}
	})
	if built.err != nil {
		t.Fatal(built.err)
	}
	return built.path
}

// installed skips the test when a program is missing.
func installed(t *testing.T, program string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		t.Skipf("NOT TESTED: %s is not installed; `make test` installs it (scripts/setup test)", program)
	}
	return path
}

// A rig is a dialer in a process of its own.
type rig struct {
	t         *testing.T
	dir       string
	http, sip string
	rtpLow    int // the first of 1,000 ports
	token     string
	api       *apiClient
	log       *os.File
	cmd       *exec.Cmd
	ended     chan error // of cmd
}

var rigs atomic.Int64

// newRig starts a dialer. It is stopped with SIGINT at the end of the test and
// must then end well; its log is shown when the test has failed.
func newRig(t *testing.T, logLevel string) *rig {
	t.Helper()
	// PostgreSQL does not run as root: its account must get to the folder.
	dir, err := os.MkdirTemp("/tmp", "dialer-e2e-")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, dir: dir, http: freePort(t, "tcp"), sip: freePort(t, "udp")}
	if r.log, err = os.Create(filepath.Join(dir, "dialer.log")); err != nil {
		t.Fatal(err)
	}
	r.rtpLow = 20000 + 1000*int(rigs.Add(1)-1)%10_000
	config := fmt.Sprintf(`data_dir: %s
recordings: %s
drain: 5s
http: {listen: "%s"}
sip: {listen: "%s", rtp_ports: "%d-%d"}
log: {level: %s}
`, filepath.Join(dir, "data"), filepath.Join(dir, "recordings"), r.http, r.sip, r.rtpLow, r.rtpLow+999, logLevel)
	if err := os.WriteFile(r.config(), []byte(config), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		r.stop()
		r.log.Close()
		if t.Failed() {
			t.Logf("the dialer's log:\n%s", tail(r.log.Name(), 200))
		}
		os.RemoveAll(dir)
	})
	r.start()
	out, err := exec.Command(program(t), "apikey", "create", "--config", r.config(), "e2e", "--role", "admin").Output()
	if err != nil {
		t.Fatalf("dialer apikey create: %v\n%s", err, stderrOf(err))
	}
	r.token = strings.TrimSpace(string(out))
	r.api = newAPIClient(r.http, r.token)
	return r
}

func (r *rig) config() string { return filepath.Join(r.dir, "dialer.yaml") }

// start runs the program and returns when it says that it is running.
func (r *rig) start() {
	r.t.Helper()
	r.cmd = exec.Command(program(r.t), "serve", "--config", r.config())
	stderr, err := r.cmd.StderrPipe()
	if err != nil {
		r.t.Fatal(err)
	}
	if err := r.cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	running, ended := make(chan struct{}), make(chan error, 1)
	cmd := r.cmd
	r.ended = ended
	go func() {
		lines := bufio.NewReader(stderr)
		for said := false; ; {
			line, err := lines.ReadString('\n')
			io.WriteString(r.log, line)
			if !said && strings.Contains(line, `msg="dialer is running"`) {
				said = true
				close(running)
			}
			if err != nil {
				break
			}
		}
		ended <- cmd.Wait()
	}()
	select {
	case <-running:
	case err := <-ended:
		ended <- err
		r.t.Fatalf("dialer serve ended at once: %v", err)
	case <-time.After(90 * time.Second):
		r.t.Fatal("dialer serve does not say that it is running")
	}
}

// kill ends the dialer as a power cut would.
func (r *rig) kill() {
	r.cmd.Process.Kill()
	<-r.ended
	r.cmd = nil
}

// stop ends the dialer as an operator does. A second signal ends the talks.
func (r *rig) stop() {
	if r.cmd == nil {
		return
	}
	r.cmd.Process.Signal(os.Interrupt)
	patience := time.NewTimer(60 * time.Second)
	defer patience.Stop()
	select {
	case err := <-r.ended:
		if err != nil {
			r.t.Errorf("dialer serve, after SIGINT: %v; want exit 0", err)
		}
	case <-patience.C:
		r.t.Error("dialer serve still runs 60 s after SIGINT; it is killed")
		r.cmd.Process.Signal(syscall.SIGQUIT) // shows its goroutines
		<-r.ended
	}
	r.cmd = nil
}

// of is the rig for a subtest, with a key of its own: the API holds each key to
// a rate.
func (r *rig) of(t *testing.T) *rig {
	own := *r
	own.t = t
	var key api.KeyView
	own.post("/v1/api-keys", map[string]any{"name": t.Name(), "role": "admin"}, &key)
	own.token, own.api = key.Token, newAPIClient(r.http, key.Token)
	return &own
}

// vmHWM is the most memory that the process has had, in bytes.
func (r *rig) vmHWM() int64 {
	r.t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", r.cmd.Process.Pid))
	if err != nil {
		r.t.Skipf("NOT TESTED: memory is known only on Linux: %v", err)
	}
	for line := range strings.Lines(string(data)) {
		var kb int64
		if n, _ := fmt.Sscanf(line, "VmHWM: %d kB", &kb); n == 1 {
			return kb << 10
		}
	}
	r.t.Fatal("no VmHWM in /proc")
	return 0
}

// post and get fail the test when the API refuses.
func (r *rig) post(path string, body, out any) {
	r.t.Helper()
	if err := r.api.post(r.t.Context(), path, body, out); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) get(path string, out any) {
	r.t.Helper()
	if err := r.api.get(r.t.Context(), path, out); err != nil {
		r.t.Fatal(err)
	}
}

// until looks at a condition now and when the log has new events, until it
// holds. what and the last answer are shown when it does not.
func (r *rig) until(what string, limit time.Duration, holds func() (ok bool, seen any)) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), limit)
	defer cancel()
	var after int64
	// The API allows a key 50 requests a second.
	for pace := time.Tick(100 * time.Millisecond); ; <-pace {
		ok, seen := holds()
		if ok {
			return
		}
		var page api.EventPage
		if err := r.api.get(ctx, fmt.Sprintf("/v1/events?limit=1000&wait_s=1&after=%d", after), &page); err != nil && ctx.Err() == nil {
			r.t.Fatal(err)
		}
		after = max(after, page.After)
		if ctx.Err() != nil {
			r.t.Fatalf("%s: not within %v; last seen: %+v", what, limit, seen)
		}
	}
}

// events reads the whole log.
func (r *rig) events() []dialer.Event {
	r.t.Helper()
	var all []dialer.Event
	var after int64
	for {
		var page struct {
			Items []struct {
				api.EventView
				Data rawJSON `json:"data"`
			} `json:"items"`
			After int64 `json:"after"`
		}
		r.get(fmt.Sprintf("/v1/events?limit=1000&after=%d", after), &page)
		if len(page.Items) == 0 {
			return all
		}
		for _, v := range page.Items {
			fact, err := dialer.ParseFact(v.Type, v.Data)
			if err != nil {
				r.t.Fatal(err)
			}
			all = append(all, dialer.Event{
				Seq: v.Seq, At: v.At, Campaign: v.Campaign, Lead: v.Lead, Call: v.Call, Agent: v.Agent, Fact: fact,
			})
		}
		after = page.After
	}
}

type rawJSON []byte

func (j *rawJSON) UnmarshalJSON(data []byte) error {
	*j = bytes.Clone(data)
	return nil
}

// calls reads the call records of a campaign.
func (r *rig) calls(id dialer.CampaignID) []api.CallView {
	r.t.Helper()
	return all[api.CallView](r, "/v1/calls?campaign_id="+string(id))
}

// all reads every page of a list.
func all[T any](r *rig, path string) []T {
	r.t.Helper()
	var items []T
	for cursor := ""; ; {
		var page api.Page[T]
		glue := "?"
		if strings.Contains(path, "?") {
			glue = "&"
		}
		r.get(path+glue+"limit=1000&cursor="+url.QueryEscape(cursor), &page)
		items = append(items, page.Items...)
		if cursor = page.NextCursor; cursor == "" {
			return items
		}
	}
}

// trunk makes a trunk to a SIP peer.
func (r *rig) trunk(name, address string) dialer.TrunkID {
	r.t.Helper()
	var trunk api.TrunkView
	r.post("/v1/trunks", map[string]any{
		"name": name, "address": address, "channels": 100, "cps": 100,
		"options_seconds": -1, // sipp takes each request for a call
	}, &trunk)
	return trunk.ID
}

// campaign makes a campaign with a list; more are settings beside the usual.
func (r *rig) campaign(name string, trunk dialer.TrunkID, more map[string]any) (dialer.CampaignID, dialer.ListID) {
	r.t.Helper()
	settings := map[string]any{
		"name": name, "mode": campaign.Progressive, "trunk_id": trunk, "caller_id": "+12025550143", "region": "US",
		"ring_timeout_s": 15, "hours": "Mon-Sun 00:00-24:00", // nobody real is called
		"wrap_up_limit_s": 60, "amd": false,
	}
	for k, v := range more {
		settings[k] = v
	}
	var c api.CampaignView
	r.post("/v1/campaigns", settings, &c)
	var l api.ListView
	r.post("/v1/lists", map[string]any{"campaign_id": c.ID, "name": name}, &l)
	return c.ID, l.ID
}

// A seat is an agent with a login, and a phone unless they bring their own.
type seat struct {
	id    dialer.AgentID
	name  string
	ext   string
	phone *siptest.Phone
}

const seatPassword = "a-password-of-tests"

var extensions atomic.Int64

// seat makes an agent. Without a phone the test has one of its own to register.
func (r *rig) seat(campaign dialer.CampaignID, withPhone bool) *seat {
	r.t.Helper()
	s := &seat{ext: fmt.Sprint(1000 + extensions.Add(1))}
	s.name = "agent" + s.ext
	var a api.AgentView
	r.post("/v1/agents", map[string]any{
		"name": s.name, "extension": s.ext, "password": seatPassword, "campaign_ids": []dialer.CampaignID{campaign},
	}, &a)
	s.id = a.ID
	r.post("/v1/users", map[string]any{"name": s.name, "password": seatPassword, "role": "agent", "agent_id": a.ID}, nil)
	if !withPhone {
		return s
	}
	var err error
	s.phone, err = siptest.NewPhone(siptest.PhoneConfig{
		Registrar: r.sip, Extension: s.ext, Password: seatPassword, Listen: "127.0.0.1:0",
	})
	if err != nil {
		r.t.Fatal(err)
	}
	background(r.t, "phone "+s.ext, s.phone.Run)
	return s
}

// session logs the agent's user in.
func (r *rig) session(ctx context.Context, s *seat) (token string, err error) {
	var session struct {
		Token string `json:"token"`
	}
	err = newAPIClient(r.http, "").post(ctx, "/v1/sessions", map[string]any{"name": s.name, "password": seatPassword}, &session)
	return session.Token, err
}

// work lets the agent of a seat take calls until ctx ends.
func (r *rig) work(ctx context.Context, s *seat, talk, wrapUp time.Duration, seed uint64) error {
	login := func(ctx context.Context) (string, error) { return r.session(ctx, s) }
	token, err := login(ctx)
	if err != nil {
		return err
	}
	sim := &simAgent{
		name: s.name, login: login, token: token, phone: s.phone, base: "ws://" + r.http, log: slog.New(slog.DiscardHandler),
		talk: talk, wrapUp: wrapUp, rnd: rand.New(rand.NewPCG(seed, 0)),
	}
	return sim.run(ctx)
}

// background owns a goroutine for the length of the test.
func background(t *testing.T, what string, f func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", what, err)
		}
	})
}

// freePort is a port of the loopback interface that nobody has now.
func freePort(t *testing.T, network string) string {
	t.Helper()
	if network == "tcp" {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		return l.Addr().String()
	}
	c, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	return c.LocalAddr().String()
}

// tail returns the last lines of a file.
func tail(path string, lines int) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	all := strings.Split(strings.TrimSpace(string(data)), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

func stderrOf(err error) []byte {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.Stderr
	}
	return nil
}
