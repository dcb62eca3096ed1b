package callbench

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/emiago/diago"
	diagomedia "github.com/emiago/diago/media"
	"github.com/emiago/sipgo"
	"github.com/emiago/sipgo/sip"

	"dialer"
	"dialer/telephony"
	"dialer/telephony/siptrunk"
)

// What is measured runs in a process of its own, so that the processor's time
// is its own too: the test binary calls itself. Parent and child speak lines.
// CALLBENCH_PROFILE names a folder for the children's profiles.

const roleVariable = "CALLBENCH_ROLE"

func TestMain(m *testing.M) {
	sip.SetDefaultLogger(slog.New(slog.DiscardHandler))
	diagomedia.SetDefaultLogger(slog.New(slog.DiscardHandler))
	role := os.Getenv(roleVariable)
	if role == "" {
		os.Exit(m.Run())
	}
	if err := serve(role, os.Getenv("CALLBENCH_FAR")); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// A sample is the state of the child.
type sample struct {
	CPU        time.Duration // user and system, since it began
	Goroutines int
	Heap       uint64 // objects and stacks, bytes; after a collection
	Mallocs    uint64
	Sockets    int
	Failed     int // calls that did not get what they wanted
	First      string
	Took       time.Duration // of the last command
}

// A stack places calls: ours, diago or plain sipgo.
type stack interface {
	dial(ctx context.Context) (hangUp func(), err error)
	bridge(ctx context.Context) error // two calls, joined until ctx ends
	run(ctx context.Context) error    // until ctx ends
}

// serve does what the lines of standard input say: "calls N RATE" places and ends
// calls, "bridge N", "ring N" leaves calls ringing, "end" ends what is up, "look"
// looks. Each is answered with a sample.
func serve(role, far string) error {
	var s stack
	var err error
	switch role {
	case "ours":
		s, err = newOurs(far)
	case "diago":
		s, err = newDiago(far)
	case "sipgo":
		s, err = newPlain(far)
	default:
		err = fmt.Errorf("unknown role %q", role)
	}
	if err != nil {
		return err
	}
	if dir := os.Getenv("CALLBENCH_PROFILE"); dir != "" {
		f, err := os.Create(filepath.Join(dir, fmt.Sprintf("%s-%d.pprof", role, os.Getpid())))
		if err != nil {
			return err
		}
		defer f.Close()
		if err := pprof.StartCPUProfile(f); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
		defer func() {
			if f, err := os.Create(filepath.Join(dir, fmt.Sprintf("%s-%d.allocs", role, os.Getpid()))); err == nil {
				_ = pprof.Lookup("allocs").WriteTo(f, 0)
				f.Close()
			}
		}()
	}
	ctx, stop := context.WithCancel(context.Background())
	var own sync.WaitGroup
	own.Go(func() { _ = s.run(ctx) })
	defer func() { stop(); own.Wait() }()

	talk, end := context.WithCancel(ctx)
	var talks sync.WaitGroup
	var mu sync.Mutex
	var failed int
	var first string
	note := func(err error) {
		mu.Lock()
		defer mu.Unlock()
		if failed++; first == "" {
			first = err.Error()
		}
	}
	in := bufio.NewScanner(os.Stdin)
	out := json.NewEncoder(os.Stdout)
	for in.Scan() {
		var verb string
		var n, rate int
		fmt.Sscan(in.Text(), &verb, &n, &rate)
		began := time.Now()
		switch verb {
		case "calls":
			var calls sync.WaitGroup
			tick := time.NewTicker(time.Second / time.Duration(rate))
			for range n {
				<-tick.C
				calls.Go(func() {
					hangUp, err := s.dial(ctx)
					if err != nil {
						note(err)
						return
					}
					hangUp()
				})
			}
			tick.Stop()
			calls.Wait()
		case "bridge", "ring":
			for range n {
				time.Sleep(5 * time.Millisecond) // 200 a second
				talks.Go(func() {
					if verb == "bridge" {
						if err := s.bridge(talk); err != nil {
							note(err)
						}
						return
					}
					if hangUp, err := s.dial(talk); err == nil {
						note(errors.New("a call that only rings was answered"))
						hangUp()
					}
				})
			}
		case "end":
			end()
			talks.Wait()
			talk, end = context.WithCancel(ctx)
		}
		now := look()
		mu.Lock()
		now.Failed, now.First, now.Took = failed, first, time.Since(began)
		mu.Unlock()
		if err := out.Encode(now); err != nil {
			break
		}
	}
	end()
	return nil
}

func look() sample {
	var use syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &use)
	s := sample{CPU: time.Duration(use.Utime.Nano() + use.Stime.Nano()), Goroutines: runtime.NumGoroutine()}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	s.Mallocs = m.Mallocs
	runtime.GC()
	runtime.GC() // the first leaves what pools keep
	runtime.ReadMemStats(&m)
	s.Heap = m.HeapAlloc + m.StackInuse
	fds, _ := os.ReadDir("/proc/self/fd")
	s.Sockets = len(fds)
	return s
}

// ours is the dialer's user agent.
type ours struct {
	e    *siptrunk.Endpoint
	once sync.Once
}

func newOurs(far string) (*ours, error) {
	cfg := siptrunk.DefaultConfig()
	cfg.Listen = netip.MustParseAddrPort("127.0.0.1:0")
	cfg.RTPLow, cfg.RTPHigh = 30000, 59999
	e, err := siptrunk.New(cfg)
	if err != nil {
		return nil, err
	}
	e.SetTrunks([]telephony.Trunk{{ID: "trk_far", Name: "far", Address: far, Channels: 20_000, CPS: 20_000, Enabled: true}})
	return &ours{e: e}, nil
}

func (o *ours) run(ctx context.Context) error { return o.e.Run(ctx) }

func (o *ours) leg(ctx context.Context) (telephony.Leg, error) {
	for range 5000 { // the bucket of calls a second starts empty
		if o.e.Capacity("trk_far").Free() > 0 && o.e.Capacity("trk_far").Tokens > 0 {
			break
		}
		time.Sleep(time.Millisecond)
	}
	return o.e.Dial(ctx, telephony.Invite{
		Call: dialer.NewCallID(), Trunk: "trk_far", To: "+4930123456", From: "+4940987654", RingTimeout: time.Minute,
	})
}

func (o *ours) dial(ctx context.Context) (func(), error) {
	leg, err := o.leg(ctx)
	if err != nil {
		return nil, err
	}
	return func() {
		leg.Hangup(telephony.CauseNormal)
		<-leg.Done()
	}, nil
}

func (o *ours) bridge(ctx context.Context) error {
	a, err := o.leg(ctx)
	if err != nil {
		return err
	}
	defer a.Hangup(telephony.CauseNormal)
	b, err := o.leg(ctx)
	if err != nil {
		return err
	}
	defer b.Hangup(telephony.CauseNormal)
	if err := telephony.Bridge(ctx, a, b); err == nil {
		return fmt.Errorf("a leg was lost: %+v, %+v", a.Info(), b.Info())
	}
	return nil
}

// theirs is diago, used as its examples do.
type theirs struct {
	ua  *sipgo.UserAgent
	d   *diago.Diago
	uri sip.Uri
}

func newDiago(far string) (*theirs, error) {
	ua, err := sipgo.NewUA()
	if err != nil {
		return nil, err
	}
	host, portText, err := net.SplitHostPort(far)
	if err != nil {
		return nil, err
	}
	port, _ := strconv.Atoi(portText)
	quiet := slog.New(slog.DiscardHandler)
	d := diago.NewDiago(ua, diago.WithLogger(quiet),
		diago.WithTransport(diago.Transport{Transport: "udp", BindHost: "127.0.0.1", BindPort: 0}))
	return &theirs{ua: ua, d: d, uri: sip.Uri{Scheme: "sip", User: "4930123456", Host: host, Port: port}}, nil
}

func (d *theirs) run(ctx context.Context) error {
	<-ctx.Done()
	return d.ua.Close()
}

func (d *theirs) dial(ctx context.Context) (func(), error) {
	call, err := d.d.Invite(ctx, d.uri, diago.InviteOptions{})
	if err != nil {
		return nil, err
	}
	return func() {
		_ = call.Hangup(context.Background())
		_ = call.Close()
	}, nil
}

func (d *theirs) bridge(ctx context.Context) error {
	b := diago.NewBridge()
	for range 2 {
		call, err := d.d.InviteBridge(ctx, d.uri, &b, diago.InviteOptions{})
		if err != nil {
			return err
		}
		defer call.Close()
		defer call.Hangup(context.Background())
	}
	<-ctx.Done()
	return nil
}

// plain is sipgo's own dialog with nothing beside it: no audio, no guard, no
// trunk. Nothing that stands on sipgo can cost less.
type plain struct {
	ua      *sipgo.UserAgent
	dialogs sipgo.DialogUA
	uri     sip.Uri
}

func newPlain(far string) (*plain, error) {
	ua, err := sipgo.NewUA()
	if err != nil {
		return nil, err
	}
	client, err := sipgo.NewClient(ua)
	if err != nil {
		return nil, err
	}
	at, err := netip.ParseAddrPort(far)
	if err != nil {
		return nil, err
	}
	host := at.Addr().String()
	contact := sip.ContactHeader{Address: sip.Uri{Scheme: "sip", User: "plain", Host: host, Port: 5099}}
	return &plain{
		ua: ua, dialogs: sipgo.DialogUA{Client: client, ContactHDR: contact},
		uri: sip.Uri{Scheme: "sip", User: "4930123456", Host: host, Port: int(at.Port())},
	}, nil
}

func (p *plain) run(ctx context.Context) error {
	<-ctx.Done()
	return p.ua.Close()
}

const plainOffer = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n" +
	"m=audio 9 RTP/AVP 8 0 101\r\na=rtpmap:101 telephone-event/8000\r\na=ptime:20\r\n"

func (p *plain) dial(ctx context.Context) (func(), error) {
	call, err := p.dialogs.Invite(ctx, p.uri, []byte(plainOffer), sip.NewHeader("Content-Type", "application/sdp"))
	if err == nil {
		err = call.WaitAnswer(ctx, sipgo.AnswerOptions{})
	}
	if err == nil {
		err = call.Ack(ctx)
	}
	if err != nil {
		return nil, err
	}
	return func() { _ = call.Bye(context.Background()) }, nil
}

func (p *plain) bridge(context.Context) error { return errors.New("no audio to bridge") }

// A child is a process that is measured.
type child struct {
	b   testing.TB
	cmd *exec.Cmd
	in  io.WriteCloser
	out *json.Decoder
}

func start(b testing.TB, role, far string) *child {
	b.Helper()
	c := &child{b: b, cmd: exec.Command(os.Args[0])}
	c.cmd.Env = append(os.Environ(), roleVariable+"="+role, "CALLBENCH_FAR="+far)
	c.cmd.Stderr = os.Stderr
	var err error
	if c.in, err = c.cmd.StdinPipe(); err != nil {
		b.Fatal(err)
	}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	c.out = json.NewDecoder(out)
	if err := c.cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		c.in.Close()
		ended := time.AfterFunc(20*time.Second, func() { c.cmd.Process.Kill() })
		defer ended.Stop()
		_ = c.cmd.Wait() // a peer that does not end well is not what is measured
	})
	return c
}

// do gives a command and returns the sample that answers it.
func (c *child) do(format string, args ...any) sample {
	c.b.Helper()
	fmt.Fprintf(c.in, format+"\n", args...)
	var s sample
	if err := c.out.Decode(&s); err != nil {
		c.b.Fatalf("%s: no answer: %v", fmt.Sprintf(format, args...), err)
	}
	return s
}

// stall stops the process as a hypervisor would.
func (c *child) stall(for_ time.Duration) {
	_ = c.cmd.Process.Signal(syscall.SIGSTOP)
	time.Sleep(for_)
	_ = c.cmd.Process.Signal(syscall.SIGCONT)
}
