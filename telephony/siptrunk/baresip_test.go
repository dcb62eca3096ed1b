package siptrunk

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"dialer/telephony"
)

// A softphone is a running baresip, a program of others, that registers as
// extension 7 and answers by itself with a tone of 440 Hz.
type softphone struct {
	t    *testing.T
	dir  string
	ctrl net.Conn
	stop func()
}

// startSoftphone runs baresip with parameters of its account, ";mediaenc=…".
func startSoftphone(t *testing.T, e *Endpoint, account string) *softphone {
	t.Helper()
	program, err := exec.LookPath("baresip")
	if err != nil {
		t.Skip("NOT TESTED: baresip is not installed (apt-get install baresip-core)")
	}
	modules := ""
	for _, pattern := range []string{"/usr/lib/baresip/modules", "/usr/lib/*/baresip/modules", "/usr/local/lib/baresip/modules"} {
		for _, need := range []string{"srtp.so", "ctrl_tcp.so"} {
			if found, _ := filepath.Glob(filepath.Join(pattern, need)); len(found) > 0 {
				modules = filepath.Dir(found[0])
			}
		}
	}
	if modules == "" {
		t.Skip("NOT TESTED: baresip's modules are not where they are looked for")
	}
	p := &softphone{t: t, dir: t.TempDir()}
	control := fmt.Sprintf("127.0.0.1:%d", freeTCPPort(t))
	for name, text := range map[string]string{
		"config": strings.NewReplacer("DIR", p.dir, "MODULES", modules, "CONTROL", control, "SIP", freeUDPPort(t)).Replace(`
sip_listen SIP
rtp_ports 43000-43998
net_interface 127.0.0.1
audio_source aufile,DIR/tone.wav
rtp_stats yes
module_path MODULES
module g711.so
module srtp.so
module aufile.so
module_app account.so
module_app menu.so
module_app ctrl_tcp.so
ctrl_tcp_listen CONTROL
`),
		"accounts": fmt.Sprintf("<sip:7@%s>;auth_pass=pw;answermode=auto;regint=60;audio_codecs=pcmu%s\n", e.Addr(), account),
		"contacts": "",
		"tone.wav": string(wavOf(440, 8000*30)),
	} {
		if err := os.WriteFile(filepath.Join(p.dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	log, err := os.Create(filepath.Join(p.dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "-f", p.dir)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { _ = cmd.Wait(); log.Close(); close(ended) }()
	p.stop = func() {
		_ = cmd.Process.Signal(os.Interrupt)
		select {
		case <-ended:
		case <-time.After(patience):
			_ = cmd.Process.Kill()
			<-ended
		}
	}
	t.Cleanup(func() {
		p.stop()
		if t.Failed() {
			text, _ := os.ReadFile(log.Name())
			t.Logf("baresip's log:\n%s", text)
		}
	})
	p.await("its registration", func() bool { return e.Reachable(telephony.Station{Extension: "7"}) })
	p.await("its control port", func() bool { p.ctrl, err = net.Dial("tcp", control); return err == nil })
	t.Cleanup(func() { p.ctrl.Close() })
	go io.Copy(io.Discard, p.ctrl) //nolint:errcheck // its events are not read; ended by Close
	return p
}

// await waits for what a program of others does, which no event tells.
func (p *softphone) await(what string, come func() bool) {
	p.t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); !come(); <-tick.C {
		if time.Now().After(deadline) {
			p.t.Fatalf("baresip: %s did not come", what)
		}
	}
}

// command gives baresip a command, "hold", in its netstrings.
func (p *softphone) command(name string) {
	p.t.Helper()
	text := fmt.Sprintf(`{"command":%q}`, name)
	if _, err := fmt.Fprintf(p.ctrl, "%d:%s,", len(text), text); err != nil {
		p.t.Fatal(err)
	}
}

// heard is how many packets baresip could read, by its own count. It is known
// once baresip has been stopped.
func (p *softphone) heard() (packets int) {
	text, _ := os.ReadFile(filepath.Join(p.dir, "log"))
	_, line, _ := strings.Cut(string(text), "\npackets:")
	if _, err := fmt.Sscan(line, new(int), &packets); err != nil {
		p.t.Errorf("baresip says nothing of what it heard: %v", err)
	}
	return packets
}

func freeUDPPort(t *testing.T) string {
	c, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	return c.LocalAddr().String()
}

// wavOf is a WAV file of a tone, 16 bit mono at 8 kHz.
func wavOf(hz float64, samples int) []byte {
	size := uint32(2 * samples)
	b := binary.LittleEndian.AppendUint32([]byte("RIFF"), 36+size)
	b = binary.LittleEndian.AppendUint32(append(b, "WAVEfmt "...), 16)
	for _, v := range []uint16{1, 1} {
		b = binary.LittleEndian.AppendUint16(b, v)
	}
	b = binary.LittleEndian.AppendUint32(b, 8000)
	b = binary.LittleEndian.AppendUint32(b, 16000)
	for _, v := range []uint16{2, 16} {
		b = binary.LittleEndian.AppendUint16(b, v)
	}
	b = binary.LittleEndian.AppendUint32(append(b, "data"...), size)
	for i := range samples {
		b = binary.LittleEndian.AppendUint16(b, uint16(int16(8000*math.Sin(2*math.Pi*hz*float64(i)/8000))))
	}
	return b
}

// hearsTone waits until the leg has heard n frames of a loud tone.
func hearsTone(t *testing.T, leg telephony.Leg, n int) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for loud, all := 0, 0; loud < n; all++ {
		f, err := leg.ReadFrame(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		peak := int16(0)
		for _, s := range f.Samples {
			peak = max(peak, s)
		}
		if peak > 4000 {
			loud++
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d of %d frames were loud, want %d", loud, all, n)
		}
	}
}

// Whether the phone insists on SRTP, offers the choice, or has none: audio goes
// both ways before and after its hold, as SRTP where it can.
func TestBaresip(t *testing.T) {
	for mode, secured := range map[string]bool{";mediaenc=srtp-mand": true, ";mediaenc=srtp": true, "": false} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			e := startEndpoint(t, withPhones)
			phone := startSoftphone(t, e, mode)
			leg, err := e.Ring(t.Context(), telephony.Station{Extension: "7"})
			if err != nil {
				t.Fatal(err)
			}
			ours := leg.(*Leg)
			ctx, cancel := context.WithCancel(t.Context())
			var speaking sync.WaitGroup
			speaking.Go(func() { writeFrames(ctx, leg) })
			hearsTone(t, leg, 40)
			before := leg.Info().Media.PacketsOut
			phone.command("hold")
			phone.await("its hold", func() bool { return ours.liveSince.Load() == 0 })
			phone.command("resume")
			phone.await("its resume", func() bool { return ours.liveSince.Load() != 0 })
			hearsTone(t, leg, 40)
			cancel()
			speaking.Wait()
			info := leg.Info().Media
			if info.Secured != secured {
				t.Errorf("secured: %v, want %v", info.Secured, secured)
			}
			leg.Hangup(telephony.CauseNormal)
			awaitDone(t, leg)
			phone.stop()
			if heard := int64(phone.heard()); info.PacketsOut < before+20 || heard < info.PacketsOut-10 {
				t.Errorf("we sent %d packets before the hold, %d in all; baresip could read %d", before, info.PacketsOut, heard)
			}
		})
	}
}
