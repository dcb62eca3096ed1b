package api

import (
	"context"
	"time"

	"dialer"
	"dialer/agents"
)

// A worker carries out a desk's commands in their order. A login takes as long
// as the agent's phone rings; the worker goes on meanwhile, so that no command
// waits for it and the agent can give it up.
type worker struct {
	*desk
	desktop *agents.Desktop // nil before the shift
	ringing *ringing        // nil unless the phone is rung
}

// ringing is a login under way. Its goroutine ends with the login, which the
// worker waits for.
type ringing struct {
	login  Command
	ended  chan error // how; has room
	cancel context.CancelFunc
	given  bool // up: the agent logged out
}

const (
	phoneRings   = "your phone is ringing: answer it"
	phoneRingsNo = "log in first: your phone is ringing"
)

func (d *desk) work(ctx context.Context) {
	w := &worker{desk: d}
	defer w.leave()
	// Someone who comes back finds their shift going on.
	if d.s.agents.State(d.agent).State != agents.LoggedOut {
		w.attach(ctx) // logged out in this instant: then there is a login to come
	}
	for {
		var loggedIn <-chan error
		if w.ringing != nil {
			loggedIn = w.ringing.ended
		}
		select {
		case c := <-d.commands:
			if !d.s.still(ctx, d.who) {
				d.conn.Close(closeOver, "your session has ended: log in again")
				return
			}
			w.do(ctx, c)
		case err := <-loggedIn:
			w.loggedIn(ctx, err)
		case <-ctx.Done():
			return
		}
	}
}

// do carries out one command, or begins a login.
func (w *worker) do(ctx context.Context, c Command) {
	switch {
	case w.ringing != nil && c.Command == "logout":
		w.ringing.given = true
		w.ringing.cancel()
		w.reply(ctx, c, nil)
	case w.ringing != nil && c.Command == "login":
		w.reply(ctx, c, dialer.Errorf(dialer.Conflict, phoneRings))
	case w.ringing != nil:
		w.reply(ctx, c, dialer.Errorf(dialer.Conflict, phoneRingsNo))
	case c.Command != "login":
		w.reply(ctx, c, w.s.command(ctx, w.agent, c))
	case w.desktop != nil && w.desktop.Attached():
		w.reply(ctx, c, nil) // to take over from oneself would close this desk
	default:
		w.ring(ctx, c)
	}
}

// ring begins a login, which rings the agent's phone unless the shift goes on.
func (w *worker) ring(ctx context.Context, c Command) {
	if w.s.agents.State(w.agent).State == agents.LoggedOut {
		w.answer(agents.Message{At: time.Now(), Kind: agents.Notice, Reason: phoneRings})
	}
	ctx, cancel := context.WithCancel(ctx)
	r := &ringing{login: c, ended: make(chan error, 1), cancel: cancel}
	w.ringing = r
	go func() { r.ended <- w.s.login(ctx, w.agent, true) }()
}

// loggedIn ends a login, one way or the other.
func (w *worker) loggedIn(ctx context.Context, err error) {
	r := w.ringing
	w.ringing = nil
	r.cancel()
	switch {
	case r.given && err == nil: // answered in the instant of giving up
		if err = w.s.agents.Logout(w.agent, false); err == nil {
			err = errGivenUp
		}
	case r.given:
		err = errGivenUp
	case err == nil:
		err = w.attach(ctx)
	}
	w.reply(ctx, r.login, err)
}

var errGivenUp = dialer.Errorf(dialer.Conflict, "you logged out while your phone was ringing")

// attach makes this the agent's desktop.
func (w *worker) attach(ctx context.Context) error {
	desktop, err := w.s.agents.Attach(w.agent)
	if err != nil {
		return err
	}
	w.desktop = desktop
	select {
	case w.attached <- desktop:
	case <-ctx.Done():
	}
	return nil
}

func (w *worker) reply(ctx context.Context, c Command, err error) {
	if err != nil {
		w.refuse(c, w.s.problem(ctx, err))
		return
	}
	w.answer(answer{Kind: "ack", ID: c.ID})
}

// leave ends what the worker has begun: the login, and the desktop.
func (w *worker) leave() {
	if w.ringing != nil {
		w.ringing.cancel()
		<-w.ringing.ended
	}
	if w.desktop != nil {
		w.desktop.Detach()
	}
}
