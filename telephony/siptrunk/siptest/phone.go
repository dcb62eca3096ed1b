package siptest

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/emiago/diago"
	"github.com/emiago/diago/media"
	"github.com/emiago/sipgo"
	"github.com/emiago/sipgo/sip"
)

// PhoneConfig says whose phone it is.
type PhoneConfig struct {
	// Registrar is host:port of the registrar; "" registers nowhere, for
	// phones that are called by their address.
	Registrar string
	Extension string
	Password  string
	// Listen is the UDP address, such as "127.0.0.1:0".
	Listen string
	// Expires is the registration's life that is asked for; 0 means 2 min.
	Expires time.Duration
	// ToneHz, when set, makes the phone send that tone rather than speech, so
	// that a listener can tell phones apart.
	ToneHz float64
	// Logger defaults to none.
	Logger *slog.Logger
}

// A HeardEvent is the moment a phone hears a voice or tone after silence.
type HeardEvent struct {
	At time.Time
	// Silence is how long it had been quiet, from the answer at most.
	Silence time.Duration
}

// A PhoneState is one moment of a phone's life.
type PhoneState struct {
	Registered bool
	// Talking: a call is up. MostCalls is the most that ever were at once,
	// Refused how many were turned away with 486 because one was up.
	Talking            bool
	Calls, MostCalls   int
	Refused            int
	PacketsIn          int64
	RegistrationErrors int
}

// A Phone is an agent's SIP phone on diago's stack: it registers, answers
// every call at once, speaks, and notes what it hears. One call at a time.
type Phone struct {
	cfg    PhoneConfig
	conn   *net.UDPConn
	addr   netip.AddrPort
	ua     *sipgo.UserAgent
	server *sipgo.Server
	client *sipgo.Client
	speech []int16
	heard  chan HeardEvent
	change chan struct{}
	log    *slog.Logger

	mu     sync.Mutex
	state  PhoneState
	call   *diago.DialogServerSession // the one that is up, or nil
	hangup context.CancelFunc
	recent []int16
	loudAt time.Time
}

// NewPhone takes the phone's address; Run makes it live and must be called
// once.
func NewPhone(cfg PhoneConfig) (*Phone, error) {
	if cfg.Extension == "" {
		return nil, fmt.Errorf("phone: the extension is missing")
	}
	if cfg.Expires == 0 {
		cfg.Expires = 2 * time.Minute
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	at, err := net.ResolveUDPAddr("udp", cfg.Listen)
	if err != nil || at.IP == nil || at.IP.IsUnspecified() {
		return nil, fmt.Errorf("phone %s: listen address %q is not an IP address and port", cfg.Extension, cfg.Listen)
	}
	conn, err := net.ListenUDP("udp", at)
	if err != nil {
		return nil, fmt.Errorf("phone %s: %w", cfg.Extension, err)
	}
	local := conn.LocalAddr().(*net.UDPAddr).AddrPort()
	p := &Phone{
		cfg: cfg, conn: conn, addr: netip.AddrPortFrom(local.Addr().Unmap(), local.Port()),
		heard: make(chan HeardEvent, 256), change: make(chan struct{}), log: cfg.Logger,
	}
	p.speech = clipSamples("agent-1")
	if cfg.ToneHz > 0 {
		p.speech = Tone(cfg.ToneHz, 10*time.Second)
	}
	if err := p.build(); err != nil {
		conn.Close()
		return nil, fmt.Errorf("phone %s: %w", cfg.Extension, err)
	}
	return p, nil
}

func (p *Phone) build() error {
	var err error
	if p.ua, err = sipgo.NewUA(sipgo.WithUserAgent(p.cfg.Extension), sipgo.WithUserAgentHostname(p.addr.Addr().String())); err != nil {
		return err
	}
	if p.server, err = sipgo.NewServer(p.ua, sipgo.WithServerLogger(p.log)); err != nil {
		return err
	}
	p.client, err = sipgo.NewClient(p.ua, sipgo.WithClientConnectionAddr(p.addr.String()), sipgo.WithClientLogger(p.log))
	if err != nil {
		return err
	}
	// diago takes requests from the server it is given; the phone serves the
	// socket itself, so that the port is known before the first REGISTER.
	d := diago.NewDiago(p.ua,
		diago.WithLogger(p.log),
		diago.WithServer(p.server),
		diago.WithServerRequestMiddleware(p.guard),
		diago.WithTransport(diago.Transport{
			Transport: "udp", BindHost: p.addr.Addr().String(), BindPort: int(p.addr.Port()),
		}))
	d.HandleFunc(p.takeCall)
	return nil
}

// guard keeps diago v0.31.0 alive: it panics on an INFO without Content-Type
// and on failing requests without From or To.
func (p *Phone) guard(next sipgo.RequestHandler) sipgo.RequestHandler {
	return func(req *sip.Request, tx sip.ServerTransaction) {
		defer func() {
			if r := recover(); r != nil {
				p.log.Warn("request broke the phone's stack", "method", req.Method.String(), "panic", r)
			}
		}()
		if !complete(req) || req.Method == sip.INFO && req.ContentType() == nil {
			_ = tx.Respond(sip.NewResponseFromRequest(req, sip.StatusBadRequest, "Bad Request", nil))
			return
		}
		next(req, tx)
	}
}

// SetLibraryLogger sends what sipgo and diago log through their package
// variables to l. Call it in main, before anything else of this package.
func SetLibraryLogger(l *slog.Logger) {
	sip.SetDefaultLogger(l)
	media.SetDefaultLogger(l)
}

// Addr is the phone's own SIP address; URI the same as others dial it.
func (p *Phone) Addr() netip.AddrPort { return p.addr }

// URI is where the phone is called without a registrar.
func (p *Phone) URI() string { return fmt.Sprintf("sip:%s@%s", p.cfg.Extension, p.addr) }

// Heard delivers the moments at which a voice or tone began after at least
// 400 ms of silence. Events that nobody takes are dropped beyond 256.
func (p *Phone) Heard() <-chan HeardEvent { return p.heard }

// State returns the phone's state now.
func (p *Phone) State() PhoneState {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.state
}

// Await returns when the state satisfies ok, or with ctx's error.
func (p *Phone) Await(ctx context.Context, ok func(PhoneState) bool) error {
	for {
		p.mu.Lock()
		state, change := p.state, p.change
		p.mu.Unlock()
		if ok(state) {
			return nil
		}
		select {
		case <-change:
		case <-ctx.Done():
			return fmt.Errorf("phone %s: %w in state %+v", p.cfg.Extension, ctx.Err(), state)
		}
	}
}

// Recent returns the last second of audio heard, oldest first; Power tells
// which tones are in it.
func (p *Phone) Recent() []int16 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]int16(nil), p.recent...)
}

// Hangup ends the call that is up, if any, with BYE.
func (p *Phone) Hangup() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.hangup != nil {
		p.hangup()
	}
}

func (p *Phone) update(change func(*PhoneState)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change(&p.state)
	close(p.change)
	p.change = make(chan struct{})
}

// Run registers and takes calls until ctx is done; then it hangs up,
// unregisters and returns nil.
func (p *Phone) Run(ctx context.Context) error {
	served := make(chan error, 1)
	socket := &signalling{PacketConn: p.conn, live: make(chan struct{})}
	go func() { served <- p.server.ServeUDP(socket) }()
	<-socket.live
	var err error
	if p.cfg.Registrar != "" {
		registered := make(chan struct{})
		go func() { defer close(registered); p.keepRegistered(ctx) }()
		defer func() { <-registered }()
	}
	select {
	case <-ctx.Done():
	case err = <-served:
		err = fmt.Errorf("phone %s: serving SIP: %w", p.cfg.Extension, err)
	}
	p.Hangup()
	done, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	_ = p.Await(done, func(s PhoneState) bool { return !s.Talking })
	if p.cfg.Registrar != "" && p.State().Registered {
		_, _ = p.register(done, 0)
	}
	p.ua.Close()
	p.conn.Close()
	return err
}

// signalling tells when sipgo has begun to read its socket. Before that its
// client does not know the socket and would bind the same port once more.
type signalling struct {
	net.PacketConn
	once sync.Once
	live chan struct{}
}

func (s *signalling) ReadFrom(b []byte) (int, net.Addr, error) {
	s.once.Do(func() { close(s.live) })
	return s.PacketConn.ReadFrom(b)
}

// takeCall is diago's handler of one call.
func (p *Phone) takeCall(d *diago.DialogServerSession) {
	ctx, hangup := context.WithCancel(d.Context())
	defer hangup()
	if !p.seize(d, hangup) {
		p.update(func(s *PhoneState) { s.Refused++; s.MostCalls = 2 })
		_ = d.Respond(sip.StatusBusyHere, "Busy Here", nil)
		return
	}
	defer func() {
		p.mu.Lock()
		p.call, p.hangup = nil, nil
		p.mu.Unlock()
		p.update(func(s *PhoneState) { s.Talking = false })
	}()
	if err := d.AnswerOptions(diago.AnswerOptions{
		Codecs: []media.Codec{media.CodecAudioUlaw, media.CodecAudioAlaw, media.CodecTelephoneEvent8000},
	}); err != nil {
		p.log.Warn("phone could not answer", "extension", p.cfg.Extension, "error", err)
		return
	}
	p.mu.Lock()
	p.loudAt, p.recent = time.Now(), nil
	p.mu.Unlock()
	p.update(func(s *PhoneState) {
		s.Talking = true
		s.Calls++
		s.MostCalls = max(s.MostCalls, 1)
	})
	var audio sync.WaitGroup
	audio.Go(func() { p.speak(ctx, d) })
	audio.Go(func() { p.listen(ctx, d) })
	<-ctx.Done()
	if d.Context().Err() == nil {
		bye, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
		if err := d.Hangup(bye); err != nil {
			p.log.Debug("phone could not hang up", "extension", p.cfg.Extension, "error", err)
		}
		cancel()
	}
	// The reader waits on the socket until it is closed.
	_ = d.DialogMedia.Close()
	audio.Wait()
}

// seize makes d the phone's one call, unless another is up. A call that the far
// side no longer knows, as after a crash of the dialer, gives way.
func (p *Phone) seize(d *diago.DialogServerSession, hangup context.CancelFunc) bool {
	for range 2 {
		p.mu.Lock()
		old := p.call
		if old == nil {
			p.call, p.hangup = d, hangup
		}
		p.mu.Unlock()
		if old == nil {
			return true
		}
		if !forgotten(old) {
			return false
		}
		p.log.Info("the far side forgot the phone's call", "extension", p.cfg.Extension)
		p.Hangup()
		ctx, cancel := context.WithTimeout(d.Context(), 3*time.Second)
		err := p.Await(ctx, func(s PhoneState) bool { return !s.Talking })
		cancel()
		if err != nil {
			return false
		}
	}
	return false
}

// forgotten asks the far side by OPTIONS inside the dialog (RFC 3261 11).
func forgotten(d *diago.DialogServerSession) bool {
	ctx, cancel := context.WithTimeout(d.Context(), time.Second)
	defer cancel()
	res, err := d.Do(ctx, sip.NewRequest(sip.OPTIONS, d.RemoteContact().Address))
	return err == nil && res.StatusCode == sip.StatusCallTransactionDoesNotExists
}

// speak sends the phone's speech in a loop; diago's writer keeps the pace.
func (p *Phone) speak(ctx context.Context, d *diago.DialogServerSession) {
	var props diago.MediaProps
	if _, err := d.AudioReader(diago.WithAudioReaderMediaProps(&props)); err != nil {
		return
	}
	w, err := d.AudioWriter()
	if err != nil {
		p.log.Warn("phone has no audio", "extension", p.cfg.Extension, "error", err)
		return
	}
	l := lawOf(props.Codec.PayloadType)
	payload := make([]byte, 0, frameSamples)
	for at := 0; ctx.Err() == nil; at += frameSamples {
		if at+frameSamples > len(p.speech) {
			at = 0
		}
		payload = l.encode(payload[:0], p.speech[at:at+frameSamples])
		if _, err := w.Write(payload); err != nil && ctx.Err() == nil {
			p.log.Debug("phone could not send audio", "extension", p.cfg.Extension, "error", err)
			return
		}
	}
}

func (p *Phone) listen(ctx context.Context, d *diago.DialogServerSession) {
	r, err := d.AudioReader()
	if err != nil {
		return
	}
	buf := make([]byte, media.RTPBufSize)
	samples := make([]int16, 0, frameSamples)
	for ctx.Err() == nil {
		n, err := r.Read(buf)
		if err == io.EOF || ctx.Err() != nil {
			return
		}
		pt := d.RTPPacketReader.PacketHeader.PayloadType
		if err != nil || n == 0 || pt != ulaw.pt && pt != alaw.pt {
			continue
		}
		samples = lawOf(pt).decode(samples[:0], buf[:n])
		p.hear(samples, time.Now())
	}
}

// hear takes 20 ms of audio.
func (p *Phone) hear(samples []int16, now time.Time) {
	const second, gap = 8000, 400 * time.Millisecond
	p.mu.Lock()
	defer p.mu.Unlock()
	p.state.PacketsIn++
	if len(p.recent)+len(samples) > second {
		p.recent = append(p.recent[:0], p.recent[len(p.recent)+len(samples)-second:]...)
	}
	p.recent = append(p.recent, samples...)
	if rms(samples) <= loud {
		return
	}
	if silence := now.Sub(p.loudAt); silence >= gap {
		select {
		case p.heard <- HeardEvent{At: now, Silence: silence}:
		default:
		}
	}
	p.loudAt = now
}

func lawOf(pt uint8) *law {
	if pt == alaw.pt {
		return alaw
	}
	return ulaw
}
