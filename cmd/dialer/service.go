package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"dialer"
	"dialer/agents"
	"dialer/api"
	"dialer/campaign"
	"dialer/compliance"
	"dialer/postgres"
	"dialer/simulation"
	"dialer/telephony"
	"dialer/telephony/ladder"
	"dialer/telephony/recording"
	"dialer/telephony/siptrunk"
)

// service is the whole dialer in one process, wired.
type service struct {
	cfg       Config
	log       *slog.Logger
	db        *database
	sip       *siptrunk.Endpoint
	registry  *agents.Registry
	scheduler *campaign.Scheduler
	api       *api.Server
	recorder  *recording.Recorder
	ladders   *ladder.Recorder // nil when no SIP is kept
	listener  net.Listener
	httpAddr  string
	draining  chan struct{} // closed by the first signal
	trunks    chan struct{} // capacity 1: a trunk was changed
	trunkIDs  atomic.Pointer[[]dialer.TrunkID]
}

// openService opens the database, brings its schema up to date and takes every
// address; nothing runs before run.
func openService(ctx context.Context, cfg Config, log *slog.Logger, prepare prepareFunc) (_ *service, err error) {
	if err := compliance.ZoneSelfTest(time.Now()); err != nil {
		log.Warn("some numbers cannot be called", "why", err)
	}
	s := &service{cfg: cfg, log: log, draining: make(chan struct{}), trunks: make(chan struct{}, 1)}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	if s.db, err = openDatabase(ctx, cfg, false, prepare, log); err != nil {
		return nil, err
	}
	if err := s.db.Migrate(ctx); err != nil {
		return nil, err
	}
	if err := s.db.Register(ctx, cfg.Node); err != nil {
		return nil, err
	}
	if err := s.openTelephony(ctx); err != nil {
		return nil, err
	}
	if s.recorder, err = recording.NewRecorder(cfg.recordings(), log); err != nil {
		return nil, fmt.Errorf("recordings: %w", err)
	}
	s.registry = agents.NewRegistry(agents.Config{Stations: s.sip, Saver: s.db, Log: log})
	s.scheduler = campaign.NewScheduler(campaign.Config{
		Store: s.db, Agents: s.registry, Carrier: s.sip, Reaper: s.sip, Record: s.record, Keep: s.keep, Version: version(), Log: log,
	})
	if err := s.openAPI(); err != nil {
		return nil, err
	}
	return s, nil
}

func (s *service) openTelephony(ctx context.Context) error {
	listen, err := listenAddr(s.cfg.SIP.Listen)
	if err != nil {
		return err
	}
	low, high, err := portRange(s.cfg.SIP.RTPPorts)
	if err != nil {
		return err
	}
	c := siptrunk.DefaultConfig()
	c.Listen, c.RTPLow, c.RTPHigh, c.Realm, c.Log = listen, low, high, s.cfg.SIP.Realm, s.log
	c.NoResponse, c.MediaTimeout = s.cfg.SIP.NoResponse, s.cfg.SIP.MediaTimeout
	c.SIPMark, c.RTPMark = s.cfg.SIP.DSCP, s.cfg.SIP.RTPDSCP
	c.TCP, c.TLSCert, c.TLSKey = s.cfg.SIP.TCP, s.cfg.SIP.TLS.Cert, s.cfg.SIP.TLS.Key
	if c.TLSListen, err = listenAddr(s.cfg.SIP.TLS.Listen); err != nil {
		return err
	}
	if s.cfg.SIP.External != "" {
		if c.External, err = netip.ParseAddr(s.cfg.SIP.External); err != nil {
			return err
		}
	}
	if c.Key, err = s.db.CallKey(ctx); err != nil {
		return err
	}
	c.Credentials, c.Bindings = s.db.SIPCredentials, bindings{s.db.DB}
	c.OnGhost = s.db.MarkGhost // it then counts as abandoned
	if keep := s.cfg.SIP.LadderKeep; keep > 0 {
		s.ladders = ladder.New(s.db.DB, keep, s.log)
		c.OnMessage = s.ladders.Hear
	}
	if s.sip, err = siptrunk.New(c); err != nil {
		return fmt.Errorf("SIP on %s: %w", listen, err)
	}
	if err := s.declareTrunks(ctx); err != nil {
		return err
	}
	return s.loadTrunks(ctx)
}

// declareTrunks creates the trunks of the configuration, or brings them to the
// state that it gives.
func (s *service) declareTrunks(ctx context.Context) error {
	existing, err := s.db.ListTrunks(ctx)
	if err != nil {
		return err
	}
	ids := map[string]dialer.TrunkID{}
	for _, t := range existing {
		ids[t.Name] = t.ID
	}
	for _, c := range s.cfg.Trunks {
		t, _ := c.trunk() // validated
		id, ok := ids[t.Name]
		if !ok {
			t.ID = dialer.NewTrunkID()
			if err := s.db.CreateTrunk(ctx, t); err != nil {
				return err
			}
			continue
		}
		t.ID = id
		_, version, err := s.db.GetTrunk(ctx, id)
		if err == nil {
			err = s.db.UpdateTrunk(ctx, version, t)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *service) loadTrunks(ctx context.Context) error {
	trunks, err := s.db.ListTrunks(ctx)
	if err != nil {
		return err
	}
	s.sip.SetTrunks(trunks)
	ids := make([]dialer.TrunkID, len(trunks))
	for i, t := range trunks {
		ids[i] = t.ID
	}
	s.trunkIDs.Store(&ids)
	return nil
}

// capacities tells what each trunk can take now.
func (s *service) capacities() map[dialer.TrunkID]telephony.Capacity {
	all := map[dialer.TrunkID]telephony.Capacity{}
	for _, id := range *s.trunkIDs.Load() {
		all[id] = s.sip.Capacity(id)
	}
	return all
}

// Wake is called by the API when a campaign or a trunk was changed.
func (s *service) Wake() {
	select {
	case s.trunks <- struct{}{}:
	default:
	}
	s.scheduler.Wake()
}

// followTrunks gives changes to the telephony: at once when they were made here,
// within some seconds when another process made them.
func (s *service) followTrunks(ctx context.Context) error {
	tick := time.NewTicker(5 * time.Second)
	defer tick.Stop()
	for {
		select {
		case <-s.trunks:
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
		if err := s.loadTrunks(ctx); err != nil && ctx.Err() == nil {
			s.log.Warn("trunks not reloaded", "err", err)
		}
	}
}

func (s *service) openAPI() error {
	var ladders api.Ladders // nil, and no nil *ladder.Recorder
	if s.ladders != nil {
		ladders = s.ladders
	}
	var err error
	s.api, err = api.New(api.Config{
		Ladders: ladders, Trunks: s.capacities, Peers: s.sip.Peers, Tester: s.sip, Draining: s.draining,
		Store: s.db.DB, Events: s.db, Scheduler: schedulerOf{s.scheduler, s.Wake}, Agents: s.registry,
		Recordings: os.DirFS(s.cfg.recordings()), SIPRealm: s.cfg.SIP.Realm, Origins: hosts(s.cfg.HTTP.Origins),
		Version: version(), Log: s.log,
		Checks: map[string]func(context.Context) error{
			"database": func(ctx context.Context) error {
				_, err := s.db.LastEvent(ctx)
				return err
			},
			"dialing": func(context.Context) error {
				select {
				case <-s.draining:
					return errors.New("the dialer is shutting down: no new calls")
				default:
					return nil
				}
			},
		},
	})
	if err != nil {
		return err
	}
	if s.listener, err = net.Listen("tcp", s.cfg.HTTP.Listen); err != nil {
		return fmt.Errorf("http.listen: %w", err)
	}
	s.httpAddr = s.listener.Addr().String()
	return nil
}

// schedulerOf is the scheduler with a wider Wake.
type schedulerOf struct {
	*campaign.Scheduler
	wake func()
}

func (s schedulerOf) Wake() { s.wake() }

// record begins the recording of a talk; a folder a day keeps listings short.
func (s *service) record(c campaign.Call, leg telephony.Leg) func() (string, int64, error) {
	return s.recordTo(filepath.Join(c.PlacedAt.UTC().Format("2006-01-02"), string(c.ID)+".wav"), leg)
}

// keep begins to keep the first seconds of a call, for labelling.
func (s *service) keep(c campaign.Call, leg telephony.Leg) func() (string, int64, error) {
	return s.recordTo(filepath.Join("detection", c.PlacedAt.UTC().Format("2006-01-02"), string(c.ID)+".wav"), leg)
}

func (s *service) recordTo(path string, leg telephony.Leg) func() (string, int64, error) {
	r, err := s.recorder.Start(leg, path)
	if err != nil {
		return func() (string, int64, error) { return "", 0, err }
	}
	return func() (string, int64, error) {
		n, err := r.Stop()
		return path, n, err
	}
}

// run serves until the first value on stop, lets talks end within the drain
// time, and ends. A second value, or the end of ctx, ends the talks too.
func (s *service) run(ctx context.Context, stop <-chan struct{}) error {
	defer s.close()
	// Parts end in the reverse order of their start: calls, desks, SIP, books.
	books := s.start("database", s.db.Run)
	ladders := s.start("SIP ladders", func(ctx context.Context) error {
		if s.ladders == nil {
			<-ctx.Done()
			return nil
		}
		return s.ladders.Run(ctx)
	})
	sip := s.start("sip", s.sip.Run)
	desks := s.start("agents", s.registry.Run)
	trunks := s.start("trunks", s.followTrunks)
	metrics := s.start("metrics", s.api.Run)
	calls := s.start("calls", s.scheduler.Run)
	server := s.api.HTTPServer(s.cfg.HTTP.Listen)
	simulations := s.start("simulations", simulation.NewRunner(simulation.Config{
		Store: s.db.DB, AtOnce: s.cfg.Simulations, Log: s.log,
	}).Run)
	web := s.start("http", func(ctx context.Context) error {
		unhook := context.AfterFunc(ctx, func() {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
			defer cancel()
			server.Shutdown(ctx)
		})
		defer unhook()
		if err := server.Serve(s.listener); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	})
	s.log.Info("dialer is running", "api", s.httpAddr, "sip", s.sip.Addr(), "node", s.cfg.Node, "version", version())

	var failed error
	select {
	case <-stop:
	case <-ctx.Done():
	case failed = <-firstEnd(books, ladders, sip, desks, trunks, metrics, simulations, calls, web):
	}
	close(s.draining)
	s.log.Info("shutting down: no new calls; talks go on", "drain", s.cfg.Drain)
	simulations.end() // the next start goes on with them
	s.scheduler.Drain()
	patience := time.NewTimer(s.cfg.Drain)
	defer patience.Stop()
	select {
	case <-calls.done:
	case <-stop:
		s.log.Info("second signal: ending the talks")
	case <-patience.C:
		s.log.Info("the drain time is over: ending the talks")
	case <-ctx.Done():
	}
	s.scheduler.Close(nil)
	for _, p := range []*part{calls, web, simulations, metrics, trunks, desks, sip, ladders, books} {
		p.end()
		if p.err != nil {
			failed = errors.Join(failed, fmt.Errorf("%s: %w", p.name, p.err))
		}
	}
	return failed
}

// A part is a goroutine of the service.
type part struct {
	name string
	stop context.CancelFunc
	done chan struct{}
	err  error // once done
}

func (s *service) start(name string, run func(context.Context) error) *part {
	ctx, cancel := context.WithCancel(context.Background())
	p := &part{name: name, stop: cancel, done: make(chan struct{})}
	go func() {
		defer close(p.done)
		p.err = run(ctx)
	}()
	return p
}

func (p *part) end() {
	p.stop()
	<-p.done
}

// firstEnd tells when a part ends that nobody has asked to.
func firstEnd(parts ...*part) <-chan error {
	ended := make(chan error, len(parts))
	for _, p := range parts {
		go func() {
			<-p.done
			ended <- fmt.Errorf("%s stopped by itself", p.name)
		}()
	}
	return ended
}

// close lets go of what openService took.
func (s *service) close() {
	if s.listener != nil {
		s.listener.Close()
	}
	if s.recorder != nil {
		s.recorder.Close()
		s.recorder = nil
	}
	if s.db != nil {
		s.db.close()
		s.db = nil
	}
}

// hosts are the hosts of web origins.
func hosts(origins []string) []string {
	var out []string
	for _, o := range origins {
		_, host, _ := strings.Cut(o, "://")
		out = append(out, host)
	}
	return out
}

// bindings keeps the registrations of agents' phones in the database.
type bindings struct{ db *postgres.DB }

func (b bindings) SaveBinding(ctx context.Context, v siptrunk.Binding) error {
	return b.db.SaveBinding(ctx, postgres.Binding(v))
}

func (b bindings) DeleteBinding(ctx context.Context, aor string) error {
	return b.db.DeleteBinding(ctx, aor)
}

func (b bindings) Bindings(ctx context.Context) ([]siptrunk.Binding, error) {
	all, err := b.db.Bindings(ctx)
	if err != nil {
		return nil, err
	}
	out := make([]siptrunk.Binding, len(all))
	for i, v := range all {
		out[i] = siptrunk.Binding(v)
	}
	return out, nil
}
