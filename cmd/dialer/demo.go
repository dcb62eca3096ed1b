package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/term"

	"dialer"
	"dialer/api"
	"dialer/campaign"
	"dialer/telephony/siptrunk/siptest"
)

// demoCmd runs a whole contact centre on this machine. Only the people are
// simulated: calls go over real SIP and RTP on loopback, records into a real
// PostgreSQL, and everything is set up through the API.
type demoCmd struct {
	For     time.Duration `help:"End by itself after this long; 0 runs until Ctrl-C." default:"0s"`
	JSON    bool          `name:"json" help:"Print the result as one JSON object on the last line."`
	Agents  int           `help:"Simulated agents." default:"12"`
	Leads   int           `help:"Leads on the list." default:"2000"`
	Mode    string        `help:"preview, progressive, power or predictive." enum:"preview,progressive,power,predictive" default:"predictive"`
	AMD     bool          `name:"amd" negatable:"" help:"Detect answering machines." default:"true"`
	Speed   float64       `help:"How much faster than life people answer and talk." default:"4"`
	Seed    uint64        `help:"Of the people; 0 draws one." default:"0"`
	Listen  string        `help:"Address of the API." default:"127.0.0.1:0"`
	DataDir string        `help:"Folder for the demo's database, kept between runs; demo in the dialer's data folder when not given." placeholder:"DIR" type:"path"`
	Verbose bool          `short:"v" help:"Show the dialer's log."`
}

const (
	demoCap      = 0.03
	demoCallerID = "+12025550143"
	demoPassword = "demo-password-1" // of phones and people; listens on loopback only
)

// Run is the whole demo.
func (c *demoCmd) Run(ctx context.Context, t *terminal) error {
	if c.Seed == 0 {
		c.Seed = uint64(time.Now().UnixNano())
	}
	if c.Agents < 1 || c.Agents > 500 || c.Leads < 1 || c.Leads > 1_000_000 || !(c.Speed > 0) {
		return errors.New("agents must be 1 to 500, leads 1 to 1000000 and speed above 0")
	}
	if c.DataDir == "" {
		c.DataDir = filepath.Join(defaultDataDir(), "demo")
	}
	// With --json the result is all that stands on standard output.
	out := t.out
	if c.JSON {
		out = t.err
	}
	logFile, log, err := c.logger(t)
	if err != nil {
		return err
	}
	defer logFile.Close()
	began := time.Now()
	fmt.Fprintln(out, "Starting a private PostgreSQL, the dialer and a simulated carrier …")

	cfg := DefaultConfig()
	cfg.DataDir = c.DataDir
	cfg.HTTP.Listen, cfg.SIP.Listen = c.Listen, "127.0.0.1:0"
	cfg.SIP.RTPPorts = "20000-29999"
	svc, err := openService(ctx, cfg, log, freshDatabase)
	if err != nil {
		return err
	}
	running, end := context.WithCancel(ctx)
	defer end()
	var group sync.WaitGroup
	defer group.Wait()
	defer end()

	stop := make(chan struct{}, 2)
	ended := make(chan error, 1)
	group.Go(func() { ended <- svc.run(running, stop) })

	d := &demo{cmd: c, svc: svc, log: log, out: out, began: began}
	defer d.stopFarSide()
	if err := d.setUp(running); err != nil {
		stop <- struct{}{}
		stop <- struct{}{}
		return errors.Join(err, <-ended)
	}
	d.announce()
	err = d.watch(running, t, ended)
	if err != nil {
		return err
	}
	result, report, err := d.finish(ctx, stop, ended)
	if err != nil {
		return err
	}
	fmt.Fprintln(out, report)
	if c.JSON {
		if err := json.NewEncoder(t.out).Encode(result); err != nil {
			return err
		}
	}
	if !result.ok() {
		fmt.Fprintln(t.err, "demo: a promise was broken; see the counts above and "+logFile.Name())
		return exitError(1)
	}
	return nil
}

// logger writes to a file, so that the screen stays readable.
func (c *demoCmd) logger(t *terminal) (*os.File, *slog.Logger, error) {
	if err := os.MkdirAll(c.DataDir, 0o755); err != nil {
		return nil, nil, err
	}
	f, err := os.Create(filepath.Join(c.DataDir, "dialer.log"))
	if err != nil {
		return nil, nil, err
	}
	var w io.Writer = f
	if c.Verbose {
		w = io.MultiWriter(f, t.err)
	}
	return f, newLogger(LogConfig{Level: "info"}, w), nil
}

// demo is a running demonstration.
type demo struct {
	cmd   *demoCmd
	svc   *service
	log   *slog.Logger
	out   io.Writer
	began time.Time

	key      string
	client   *apiClient
	campaign dialer.CampaignID
	carrier  *siptest.Carrier
	// firstCall is when the carrier saw the first INVITE, since began.
	firstCall atomic.Int64
	phones    []*siptest.Phone

	far     sync.WaitGroup // carrier, phones and agents
	endFar  context.CancelFunc
	endDesk context.CancelFunc
	desks   sync.WaitGroup
}

// setUp does what a manager and an administrator would do, through the API.
func (d *demo) setUp(ctx context.Context) error {
	far, endFar := context.WithCancel(context.WithoutCancel(ctx))
	d.endFar = endFar
	var err error
	if d.key, err = addAPIKey(ctx, d.svc.db.DB, "demo", dialer.RoleAdmin); err != nil {
		return err
	}
	d.client = newAPIClient(d.svc.httpAddr, d.key)
	if d.carrier, err = siptest.NewCarrier(siptest.CarrierConfig{
		Listen: "127.0.0.1:0", Seed: d.cmd.Seed, Speed: d.cmd.Speed,
		User: "demo", Password: demoPassword, Realm: "demo-carrier",
		RTP: siptest.PortRange{First: 30000, Last: 39999}, Logger: d.log,
		OnEvent: func(e siptest.Event, _ siptest.CallRecord) {
			if e == siptest.Arrived {
				d.firstCall.CompareAndSwap(0, int64(time.Since(d.began)))
			}
		},
	}); err != nil {
		return err
	}
	d.far.Go(func() { d.carrier.Run(far) })

	var trunk api.TrunkView
	if err := d.client.post(ctx, "/v1/trunks", map[string]any{
		"name": "simulated carrier", "address": d.carrier.Addr().String(),
		"username": "demo", "password": demoPassword, "realm": "demo-carrier", "channels": 20 * d.cmd.Agents, "cps": max(10, 2*d.cmd.Agents),
	}, &trunk); err != nil {
		return err
	}
	var asset api.AssetView
	if err := d.client.call(ctx, "POST", "/v1/assets?name=abandoned", "audio/wav", bytes.NewReader(demoMessage()), &asset); err != nil {
		return err
	}
	var cmp api.CampaignView
	if err := d.client.post(ctx, "/v1/campaigns", map[string]any{
		"name": "Demo", "mode": d.cmd.Mode, "trunk_id": trunk.ID, "caller_id": demoCallerID, "region": "US",
		"ring_timeout_s": 15, "abandon_cap": demoCap, "message_asset": asset.SHA256, "amd": d.cmd.AMD,
		"hours":           "Mon-Sun 00:00-24:00", // nobody real is called
		"wrap_up_limit_s": 30, "preview_limit_s": 20,
		"script": "Good day, this is the demo speaking. Is this a good moment?",
	}, &cmp); err != nil {
		return err
	}
	d.campaign = cmp.ID
	var list api.ListView
	if err := d.client.post(ctx, "/v1/lists", map[string]any{"campaign_id": cmp.ID, "name": "Demo list"}, &list); err != nil {
		return err
	}
	var csv bytes.Buffer
	if err := writeDemoLeads(&csv, d.cmd.Leads, d.cmd.Seed); err != nil {
		return err
	}
	if err := d.client.call(ctx, "POST", "/v1/lists/"+string(list.ID)+"/imports", "text/csv", &csv, nil); err != nil {
		return err
	}
	if err := d.client.post(ctx, "/v1/campaigns/"+string(cmp.ID)+"/start", nil, nil); err != nil {
		return err
	}
	return d.seatAgents(ctx, far)
}

// seatAgents gives each agent a phone, a login and a desk; all at once, so that
// the first is ready while others still come in.
func (d *demo) seatAgents(ctx, far context.Context) error {
	desk, endDesk := context.WithCancel(far)
	d.endDesk = endDesk
	d.phones = make([]*siptest.Phone, d.cmd.Agents)
	failed := make(chan error, d.cmd.Agents)
	for i := range d.cmd.Agents {
		go func() { failed <- d.seatAgent(ctx, far, desk, i) }()
	}
	var err error
	for range d.cmd.Agents {
		err = errors.Join(err, <-failed)
	}
	return err
}

func (d *demo) seatAgent(ctx, far, desk context.Context, i int) error {
	name, extension := fmt.Sprintf("agent%d", i+1), fmt.Sprint(1001+i)
	var a api.AgentView
	if err := d.client.post(ctx, "/v1/agents", map[string]any{
		"name": name, "extension": extension, "password": demoPassword, "campaign_ids": []dialer.CampaignID{d.campaign},
	}, &a); err != nil {
		return err
	}
	phone, err := siptest.NewPhone(siptest.PhoneConfig{
		Registrar: d.svc.sip.Addr().String(), Extension: extension, Password: demoPassword,
		Listen: "127.0.0.1:0", Logger: d.log,
	})
	if err != nil {
		return err
	}
	d.phones[i] = phone
	d.far.Go(func() { phone.Run(far) })
	if err := d.client.post(ctx, "/v1/users", map[string]any{
		"name": name, "password": demoPassword, "role": "agent", "agent_id": a.ID,
	}, nil); err != nil {
		return err
	}
	perLife := func(s float64) time.Duration { return time.Duration(s * float64(time.Second) / d.cmd.Speed) }
	sim := &simAgent{
		name: name, phone: phone, base: "ws://" + d.svc.httpAddr, log: d.log,
		talk: perLife(90), wrapUp: perLife(12), rnd: rand.New(rand.NewPCG(d.cmd.Seed, uint64(i))),
	}
	sim.login = func(ctx context.Context) (string, error) { return logIn(ctx, d.svc.httpAddr, name, demoPassword) }
	if sim.token, err = sim.login(ctx); err != nil {
		return err
	}
	d.desks.Go(func() {
		if err := sim.run(desk); err != nil {
			d.log.Error("simulated agent stopped", "agent", name, "err", err)
		}
	})
	return nil
}

// announce says where everything is.
func (d *demo) announce() {
	fmt.Fprintf(d.out, `
  API          http://%s/v1   (contract: /v1/openapi.yaml)
  API key      %s
  Agents       agent1 … agent%d, password %s
  Campaign     %s
  Diagnostics  curl -H "Authorization: Bearer %s" http://%s/v1/campaigns/%s/diagnostics
  SIP          %s (agents' phones register here), carrier on %s
  Log          %s

`, d.svc.httpAddr, d.key, d.cmd.Agents, demoPassword, d.campaign, d.key, d.svc.httpAddr, d.campaign,
		d.svc.sip.Addr(), d.carrier.Addr(), filepath.Join(d.cmd.DataDir, "dialer.log"))
}

// watch shows the running campaign until its time is over, a signal comes, or
// the dialer ends by itself.
func (d *demo) watch(ctx context.Context, t *terminal, ended chan error) error {
	var over <-chan time.Time
	if d.cmd.For > 0 {
		timer := time.NewTimer(d.cmd.For)
		defer timer.Stop()
		over = timer.C
	}
	screen := newScreen(d.out)
	every := 5 * time.Second
	if screen.live {
		every = time.Second
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-over:
			return nil
		case <-t.stop:
			return nil
		case err := <-ended:
			ended <- nil
			return fmt.Errorf("the dialer ended: %w", err)
		case <-tick.C:
			var live campaign.Live
			if err := d.client.get(ctx, "/v1/campaigns/"+string(d.campaign)+"/live", &live); err != nil {
				d.log.Warn("live figures", "err", err)
				continue
			}
			screen.show(time.Since(d.began), live, d.carrier.Counts())
		}
	}
}

// finish stops dialing, lets talks end, and compares the books.
func (d *demo) finish(ctx context.Context, stop chan struct{}, ended chan error) (demoResult, string, error) {
	fmt.Fprintln(d.out, "\nStopping: no new calls, talks end …")
	live := campaign.Live{}
	id := url.PathEscape(string(d.campaign))
	err := d.client.get(ctx, "/v1/campaigns/"+id+"/live", &live)
	if err == nil {
		err = d.client.post(ctx, "/v1/campaigns/"+id+"/stop", nil, nil)
	}
	if err != nil {
		return demoResult{}, "", err
	}
	if err := d.awaitQuiet(ctx, 2*time.Minute); err != nil {
		return demoResult{}, "", err
	}
	calls, err := d.calls(ctx)
	if err != nil {
		return demoResult{}, "", err
	}
	var report string
	if err := d.client.get(ctx, "/v1/reports/abandon?format=text&campaign="+id, &report); err != nil {
		return demoResult{}, "", err
	}
	var phones []siptest.PhoneState
	for _, p := range d.phones {
		phones = append(phones, p.State())
	}
	result := sumUp(calls, d.carrier.Calls(), phones)
	result.AbandonCap, result.Occupancy = demoCap, live.Occupancy
	result.FirstCall = time.Duration(d.firstCall.Load()).Round(10 * time.Millisecond).Seconds()
	result.Seconds = time.Since(d.began).Round(100 * time.Millisecond).Seconds()
	d.endDesk()
	d.desks.Wait()
	stop <- struct{}{}
	return result, report, <-ended
}

// awaitQuiet returns when no call is open, neither here nor at the carrier.
func (d *demo) awaitQuiet(ctx context.Context, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	poll := time.NewTicker(200 * time.Millisecond)
	defer poll.Stop()
	for quiet := 0; quiet < 3; {
		var live campaign.Live
		if err := d.client.get(ctx, "/v1/campaigns/"+string(d.campaign)+"/live", &live); err != nil {
			return err
		}
		quiet++
		if len(live.Calls) > 0 || d.carrier.Open() > 0 {
			quiet = 0
		}
		select {
		case <-poll.C:
		case <-ctx.Done():
			return nil // what is still open is counted in the result
		}
	}
	return nil
}

// calls reads every call record of the campaign.
func (d *demo) calls(ctx context.Context) ([]api.CallView, error) {
	var all []api.CallView
	cursor := ""
	for {
		var page api.Page[api.CallView]
		path := "/v1/calls?limit=1000&campaign_id=" + string(d.campaign)
		if cursor != "" {
			path += "&cursor=" + url.QueryEscape(cursor)
		}
		if err := d.client.get(ctx, path, &page); err != nil {
			return nil, err
		}
		all = append(all, page.Items...)
		if cursor = page.NextCursor; cursor == "" {
			return all, nil
		}
	}
}

// stopFarSide ends agents, phones and carrier.
func (d *demo) stopFarSide() {
	if d.endFar != nil {
		d.endFar()
	}
	d.desks.Wait()
	d.far.Wait()
}

// isTerminal reports whether w is a terminal.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
