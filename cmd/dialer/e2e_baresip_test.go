package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"dialer/agents"
	"dialer/api"
	"dialer/campaign"
	"dialer/telephony"
	"dialer/telephony/siptrunk/siptest"
)

// TestE2EBaresip has baresip, a program of others, as the agent's phone: it
// registers by digest and answers by itself. The agent works through the API.
func TestE2EBaresip(t *testing.T) {
	if testing.Short() {
		t.Skip("takes ten seconds")
	}
	t.Parallel()
	baresip := installed(t, "baresip")
	r := newRig(t, "info")
	heard := make(chan struct{}, 10)
	carrier, err := siptest.NewCarrier(siptest.CarrierConfig{
		Listen: "127.0.0.1:0",
		Script: func(string, int) (siptest.Behaviour, bool) {
			return siptest.Behaviour{
				Kind: siptest.Human, Ring: 200 * time.Millisecond, Audio: "hello-1", Voice: "person-1",
				SpeakAfter: 100 * time.Millisecond, Patience: time.Minute, Talk: time.Minute,
			}, true
		},
		OnEvent: func(e siptest.Event, _ siptest.CallRecord) {
			if e == siptest.Heard {
				heard <- struct{}{}
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	background(t, "carrier", carrier.Run)
	id, list := r.campaign("baresip", r.trunk("carrier", carrier.Addr().String()), nil)
	seat := r.seat(id, false)
	r.post("/v1/lists/"+string(list)+"/leads", map[string]any{"number": "+12124567890"}, nil)
	r.post("/v1/campaigns/"+string(id)+"/start", nil, nil)
	phone := startBaresip(t, baresip, r.sip, seat.ext)

	// The phone rings once it is registered.
	agent := "/v1/agents/" + string(seat.id)
	r.until("login", 15*time.Second, func() (bool, any) {
		err := r.api.post(t.Context(), agent+"/login", nil, nil)
		return err == nil, err
	})
	state := func(what string, want func(agents.Snapshot) bool) (last agents.Snapshot) {
		t.Helper()
		r.until(what, 20*time.Second, func() (bool, any) {
			last = agents.Snapshot{}
			r.get(agent+"/state", &last)
			return want(last), last
		})
		return last
	}
	state("the phone's leg", func(s agents.Snapshot) bool { return s.Phone })
	desk(t, r, seat)
	state("the desktop", func(s agents.Snapshot) bool { return s.Desktop })
	r.post(agent+"/ready", nil, nil)
	talking := state("a talk", func(s agents.Snapshot) bool { return s.State == agents.Talking })
	select {
	case <-heard:
	case <-time.After(10 * time.Second):
		t.Error("the person did not hear the agent's phone within 10 s")
	}
	pause(t.Context(), time.Second) // they talk
	r.post(agent+"/hangup", nil, nil)
	state("the wrap-up", func(s agents.Snapshot) bool { return s.State == agents.WrapUp })
	r.post(agent+"/dispose", map[string]any{"call_id": talking.Call, "code": "SALE", "note": "by baresip", "then": agents.Ready}, nil)
	if s := state("ready again", func(s agents.Snapshot) bool { return s.State == agents.Ready }); !s.Phone {
		t.Error("the phone's leg did not stay up after the call")
	}
	var call api.CallView
	r.until("the record of the call", 10*time.Second, func() (bool, any) {
		r.get("/v1/calls/"+string(talking.Call), &call)
		return call.State == campaign.Ended && call.Disposition != "", call
	})
	if call.Outcome != campaign.OutcomeConnected || call.Disposition != "SALE" || call.Note != "by baresip" || call.EndedBy != telephony.Caller || call.Agent != seat.id {
		t.Errorf("the record says %+v", call)
	}
	r.post(agent+"/logout", nil, nil)
	phone.stop(t)
	loud := phone.loudness(t)
	voiced := 0
	for _, l := range loud {
		if l > 300 {
			voiced++
		}
	}
	if voiced < 5 {
		t.Errorf("the agent's phone heard a voice in %d tenths of a second of %d; want the person for half a second at least", voiced, len(loud))
	}
	t.Logf("the phone heard the person for %.1f s", float64(voiced)/10)
}

// desk attaches a desktop that only reads.
func desk(t *testing.T, r *rig, s *seat) {
	t.Helper()
	token, err := r.session(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	conn, _, err := websocket.Dial(t.Context(), "ws://"+r.http+"/v1/agent/ws", &websocket.DialOptions{
		HTTPHeader: map[string][]string{"Authorization": {"Bearer " + token}},
	})
	if err != nil {
		t.Fatal(err)
	}
	conn.SetReadLimit(1 << 20)
	background(t, "desktop", func(ctx context.Context) error {
		defer conn.CloseNow()
		for {
			if _, _, err := conn.Read(ctx); err != nil {
				return nil // at the end of the test, or seen by what follows
			}
		}
	})
}

// A softphone is a running baresip.
type softphone struct {
	dir  string
	cmd  *exec.Cmd
	done chan error
}

func startBaresip(t *testing.T, baresip, registrar, extension string) *softphone {
	t.Helper()
	p := &softphone{dir: t.TempDir(), done: make(chan error, 1)}
	_, port, _ := net.SplitHostPort(freePort(t, "udp"))
	config, err := os.ReadFile(filepath.Join("testdata", "e2e", "baresip", "config"))
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{
		"config":   strings.NewReplacer("DIR", p.dir, "PORT", port, "MODULES", baresipModules(t)).Replace(string(config)),
		"accounts": fmt.Sprintf("<sip:%s@%s>;auth_pass=%s;answermode=auto;regint=60;audio_codecs=pcmu\n", extension, registrar, seatPassword),
		"contacts": "",
		"tone.wav": string(wav(siptest.Tone(440, 10*time.Second))),
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(p.dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(p.dir, "sound"), 0o755); err != nil {
		t.Fatal(err)
	}
	out, err := os.Create(filepath.Join(p.dir, "baresip.log"))
	if err != nil {
		t.Fatal(err)
	}
	p.cmd = exec.Command(baresip, "-f", p.dir)
	p.cmd.Stdout, p.cmd.Stderr = out, out
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		p.done <- p.cmd.Wait()
		out.Close()
	}()
	t.Cleanup(func() {
		p.stop(t)
		if t.Failed() {
			t.Logf("baresip's log:\n%s", tail(out.Name(), 100))
		}
	})
	return p
}

// stop ends baresip, which closes its recording.
func (p *softphone) stop(t *testing.T) {
	t.Helper()
	p.cmd.Process.Signal(os.Interrupt)
	select {
	case err := <-p.done:
		p.done <- err
	case <-time.After(10 * time.Second):
		p.cmd.Process.Kill()
		t.Error("baresip did not end within 10 s of SIGINT")
		p.done <- <-p.done
	}
}

// loudness is the root mean square of each tenth of a second of the recording
// of what the phone heard.
func (p *softphone) loudness(t *testing.T) []float64 {
	t.Helper()
	found, _ := filepath.Glob(filepath.Join(p.dir, "sound", "*dec.wav"))
	if len(found) != 1 {
		t.Fatalf("recordings of what baresip heard: %v; want one", found)
	}
	data, err := os.ReadFile(found[0])
	if err != nil {
		t.Fatal(err)
	}
	const header, tenth = 44, 2 * 800
	var out []float64
	for at := header; at+tenth <= len(data); at += tenth {
		sum := 0.0
		for i := at; i < at+tenth; i += 2 {
			v := float64(int16(binary.LittleEndian.Uint16(data[i:])))
			sum += v * v
		}
		out = append(out, math.Sqrt(sum/800))
	}
	return out
}

// baresipModules finds the folder of baresip's modules.
func baresipModules(t *testing.T) string {
	t.Helper()
	for _, pattern := range []string{"/usr/lib/baresip/modules", "/usr/lib/*/baresip/modules", "/usr/local/lib/baresip/modules"} {
		if found, _ := filepath.Glob(pattern); len(found) > 0 {
			return found[0]
		}
	}
	t.Skip("NOT TESTED: baresip's modules are not where they are looked for")
	return ""
}

// wav is a WAV file of 16 bit mono at 8 kHz.
func wav(samples []int16) []byte {
	size := uint32(2 * len(samples))
	b := []byte("RIFF")
	b = binary.LittleEndian.AppendUint32(b, 36+size)
	b = append(b, "WAVEfmt "...)
	b = binary.LittleEndian.AppendUint32(b, 16)
	for _, v := range []uint16{1, 1, 8000, 0, 16000, 0, 2, 16} { // PCM, mono; rates are 32 bit
		b = binary.LittleEndian.AppendUint16(b, v)
	}
	b = append(b, "data"...)
	b = binary.LittleEndian.AppendUint32(b, size)
	for _, s := range samples {
		b = binary.LittleEndian.AppendUint16(b, uint16(s))
	}
	return b
}
