package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"

	"dialer/agents"
	"dialer/campaign"
	"dialer/telephony/siptrunk/siptest"
)

// A simAgent is one simulated agent: a SIP phone with audio, and a person at
// the desktop's websocket who works as agents do.
type simAgent struct {
	name   string
	login  func(context.Context) (token string, err error) // with the password
	token  string                                          // of the session; empty before the first login
	phone  *siptest.Phone
	base   string        // ws://host:port
	talk   time.Duration // mean patience with one who does not hang up
	wrapUp time.Duration // mean
	log    *slog.Logger
	rnd    *rand.Rand
	tell   func(format string, args ...any) // what happens, for people; may be nil
}

func (a *simAgent) say(format string, args ...any) {
	if a.tell != nil {
		a.tell(format, args...)
	}
}

// deskMessage is what comes down the agent's websocket.
type deskMessage struct {
	agents.Message
	Pop  json.RawMessage `json:"pop"`
	ID   string          `json:"id"`
	Code string          `json:"code"`
}

// run works a shift until ctx ends.
func (a *simAgent) run(ctx context.Context) error {
	if err := a.phone.Await(ctx, func(s siptest.PhoneState) bool { return s.Registered }); err != nil {
		return quiet(ctx, fmt.Errorf("%s: phone: %w", a.name, err))
	}
	for {
		err := a.work(ctx)
		if ctx.Err() != nil {
			return nil
		}
		a.log.Warn("simulated agent reconnects", "agent", a.name, "err", err)
		if !pause(ctx, time.Second) {
			return nil
		}
	}
}

// connect opens the desktop's websocket. Sessions end with the dialer's process,
// and after 12 hours: who is refused then logs in again.
func (a *simAgent) connect(ctx context.Context) (*websocket.Conn, error) {
	if a.token == "" {
		token, err := a.login(ctx)
		if err != nil {
			return nil, fmt.Errorf("logging in: %w", err)
		}
		a.token = token
	}
	conn, resp, err := websocket.Dial(ctx, a.base+"/v1/agent/ws", &websocket.DialOptions{
		HTTPHeader: map[string][]string{"Authorization": {"Bearer " + a.token}},
	})
	if resp != nil && resp.StatusCode == http.StatusUnauthorized {
		a.token = ""
	}
	return conn, err
}

// work is one connection of the desktop.
func (a *simAgent) work(ctx context.Context) error {
	conn, err := a.connect(ctx)
	if err != nil {
		return err
	}
	defer conn.CloseNow()
	conn.SetReadLimit(1 << 20)
	var n atomic.Int64
	send := func(c map[string]any) error {
		c["id"] = fmt.Sprint(n.Add(1))
		data, err := json.Marshal(c)
		if err != nil {
			return err
		}
		return conn.Write(ctx, websocket.MessageText, data)
	}
	if err := send(map[string]any{"command": "login"}); err != nil {
		return err
	}
	var pop campaign.ScreenPop
	ready := false
	var goodbye *time.Timer
	stopGoodbye := func() {
		if goodbye != nil {
			goodbye.Stop()
		}
	}
	defer stopGoodbye()
	for {
		_, data, err := conn.Read(ctx)
		if err != nil {
			return err
		}
		var m deskMessage
		if err := json.Unmarshal(data, &m); err != nil {
			return fmt.Errorf("%s: %w", data, err)
		}
		switch m.Kind {
		case "refused":
			if !ready {
				return errors.New("refused: " + m.Reason)
			}
			a.log.Debug("refused", "agent", a.name, "reason", m.Reason)
		case "ack":
			if !ready {
				ready = true
				if err := send(map[string]any{"command": "ready"}); err != nil {
					return err
				}
			}
		case agents.Offer:
			if err := json.Unmarshal(m.Pop, &pop); err != nil {
				return fmt.Errorf("screen pop: %w", err)
			}
			a.say("screen pop: %s %v", pop.Number, pop.Fields)
		case agents.PreviewAsked:
			if err := send(map[string]any{"command": "preview_dial", "call_id": m.Call}); err != nil {
				return err
			}
		case agents.StateChanged:
			a.say("%s", strings.ReplaceAll(string(m.State), "_", " "))
			if m.State == agents.Talking {
				after := time.Duration((0.5 + a.rnd.Float64()) * float64(a.talk))
				goodbye = time.AfterFunc(after, func() { send(map[string]any{"command": "hangup"}) })
			}
		case agents.CallEnded:
			stopGoodbye()
			// The wrap-up of a person: a little different each time.
			if !pause(ctx, time.Duration((0.5+a.rnd.Float64())*float64(a.wrapUp))) {
				return nil
			}
			code := a.disposition(pop)
			a.say("call ended (%s): disposition %s", m.Reason, code)
			if err := send(map[string]any{
				"command": "dispose", "call_id": m.Call, "code": code, "then": agents.Ready,
				"note": "Spoke with " + pop.Fields["First name"],
			}); err != nil {
				return err
			}
		}
	}
}

// disposition picks what came of a call.
func (a *simAgent) disposition(pop campaign.ScreenPop) string {
	for _, d := range []struct {
		code  string
		share float64
	}{{"SALE", 0.12}, {"DNC", 0.02}} {
		if a.rnd.Float64() < d.share {
			return d.code
		}
	}
	return "NOT_INTERESTED"
}

// pause waits unless ctx ends first.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// quiet drops an error that is only ctx's end.
func quiet(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}
