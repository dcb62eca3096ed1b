package siptrunk

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"dialer/telephony"
)

// say gives baresip a command with a parameter.
func (p *softphone) say(command, params string) {
	p.t.Helper()
	text := fmt.Sprintf(`{"command":%q,"params":%q}`, command, params)
	if _, err := fmt.Fprintf(p.ctrl, "%d:%s,", len(text), text); err != nil {
		p.t.Fatal(err)
	}
}

// Keys pressed on a phone are heard here, each once, and ours there.
func TestBaresipDigits(t *testing.T) {
	t.Parallel()
	e := startEndpoint(t, withPhones)
	phone := startSoftphone(t, e, "")
	leg, err := e.Ring(t.Context(), telephony.Station{Extension: "7"})
	if err != nil {
		t.Fatal(err)
	}
	hearsTone(t, leg, 10)
	pressed := ""
	for _, key := range "507*#" {
		phone.say("sndcode", string(key))
		select {
		case d := <-leg.Digits():
			pressed += string(d.Key)
		case <-time.After(patience):
			t.Fatalf("of 507*# only %q was heard", pressed)
		}
	}
	if pressed != "507*#" {
		t.Errorf("heard %q, want 507*#", pressed)
	}
	if err := leg.(telephony.KeySender).SendDigits(t.Context(), "19A"); err != nil {
		t.Fatal(err)
	}
	before := leg.Info().Media.PacketsOut
	for leg.Info().Media.PacketsOut < before+30 { // they leave its buffer when more comes
		if err := leg.WriteFrame(telephony.Frame{}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(telephony.FrameDuration) // whoever writes keeps the pace
	}
	select {
	case d := <-leg.Digits():
		t.Errorf("heard %c once more", d.Key)
	default:
	}
	leg.Hangup(telephony.CauseNormal)
	awaitDone(t, leg)
	phone.stop() // it writes its log when it ends
	text, err := os.ReadFile(filepath.Join(phone.dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range "19A" {
		if n := strings.Count(string(text), fmt.Sprintf("received event: '%c' (end=1)", key)); n != 1 {
			t.Errorf("the phone heard %c %d times", key, n)
		}
	}
}

// A phone that is told to call somebody else does, and says what came of it.
func TestBaresipTransfer(t *testing.T) {
	for _, tc := range []struct {
		name   string
		answer reply
		gone   bool // over to the other side
	}{
		{"answered", answerSDP, true},
		{"busy", reply{status: "486 Busy Here", tag: "b"}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			e := startEndpoint(t, withPhones)
			startSoftphone(t, e, "")
			leg, err := e.Ring(t.Context(), telephony.Station{Extension: "7"})
			if err != nil {
				t.Fatal(err)
			}
			hearsTone(t, leg, 10)
			other := newRawPeer(t)
			ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
			defer cancel()
			done := make(chan error, 1)
			go func() { done <- leg.(telephony.Referrer).Refer(ctx, "sip:other@"+other.addr().String()) }()
			invite := other.expect("INVITE")
			other.reply(invite, tc.answer)
			select {
			case err = <-done:
			case <-ctx.Done():
				t.Fatal("the transfer is not decided")
			}
			if !tc.gone {
				if err == nil {
					t.Error("a transfer to somebody who is busy has succeeded")
				}
				hearsTone(t, leg, 20) // as before
				leg.Hangup(telephony.CauseNormal)
				awaitDone(t, leg)
				return
			}
			if err != nil {
				t.Errorf("the transfer failed: %v", errors.Unwrap(err))
			}
			awaitDone(t, leg)
		})
	}
}
