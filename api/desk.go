package api

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"path"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"
	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humachi"

	"dialer"
	"dialer/agents"
)

// The bounds of an agent's websocket.
const (
	maxFrame     = 32 << 10         // bytes of a command
	maxCommands  = 20               // a second
	maxQueued    = 8                // commands that wait while one is worked on
	maxAnswers   = 64               // answers that wait for a slow reader
	pingEvery    = 15 * time.Second //
	pongWithin   = 10 * time.Second //
	frameWithin  = 10 * time.Second // a reader that takes longer is dropped
	closeTooSlow = websocket.StatusCode(4008)
	closeOver    = websocket.StatusCode(4001) // the session ended, or another desktop took over
)

// A Command is what an agent's desktop sends.
type Command struct {
	ID      string        `json:"id" doc:"Comes back in the answer"`
	Command string        `json:"command" doc:"login, ready, not_ready, hangup, dispose, machine, preview_dial, preview_skip, logout"`
	Call    dialer.CallID `json:"call_id,omitempty" doc:"Of dispose, machine and preview"`
	Reason  string        `json:"reason,omitempty" doc:"Of not_ready"`
	Dispose
	Force bool `json:"force,omitempty" doc:"Of logout: end the call with it"`
}

// A Dispose is what an agent says of a call.
type Dispose struct {
	Code     string       `json:"code,omitempty" maxLength:"100" doc:"A disposition of the campaign"`
	Note     string       `json:"note,omitempty" maxLength:"4000"`
	Callback time.Time    `json:"callback_at,omitzero" doc:"When the person is to be called again"`
	Own      bool         `json:"own,omitempty" doc:"Only this agent may make the callback"`
	Then     agents.State `json:"then,omitempty" doc:"ready or not_ready; absent is what was asked before"`
}

// An answer is ack or refused.
type answer struct {
	Kind   string `json:"kind"`
	ID     string `json:"id"`
	Code   string `json:"code,omitempty"`
	Reason string `json:"reason,omitempty"`
}

func (s *Server) routeDeskSocket() {
	route(s, huma.Operation{
		OperationID: "create-ticket", Method: http.MethodPost, Path: "/v1/agent/ticket", DefaultStatus: http.StatusCreated,
		Summary: "A ticket that opens one websocket within 30 s", Tags: []string{"desk"},
	}, func(ctx context.Context, _ *struct{}) (*bodyOf[Ticket], error) {
		who := callerOf(ctx)
		if who.user.Agent == "" {
			return nil, errNoAgent
		}
		token, err := s.sessions.issue(who, s.now())
		if err != nil {
			return nil, err
		}
		return &bodyOf[Ticket]{Ticket{Ticket: token, ExpiresAt: *stamp(s.now().Add(ticketLife))}}, nil
	})
	route(s, huma.Operation{
		OperationID: "open-desk", Method: http.MethodGet, Path: "/v1/agent/ws",
		Summary: "The agent's desktop", Tags: []string{"desk"},
		Description: "A websocket of JSON text frames. A browser passes a ticket of POST /v1/agent/ticket; other clients may send the Authorization header of an agent instead. Commands are answered with kind ack or refused and their id; everything else is pushed: state, offer (the screen pop), preview, call_ended, wrap_up_limit, machine (what talks is one; the command machine frees the agent), notice, replaced.",
		Responses:   map[string]*huma.Response{"101": {Description: "A websocket"}},
	}, func(ctx context.Context, in *struct {
		Ticket string `query:"ticket" maxLength:"100"`
	}) (*huma.StreamResponse, error) {
		return &huma.StreamResponse{Body: func(hctx huma.Context) {
			r, w := humachi.Unwrap(hctx)
			if err := s.openDesk(w, r, in.Ticket); err != nil {
				s.fail(w, r, err)
			}
		}}, nil
	})
}

// Ticket opens one websocket.
type Ticket struct {
	Ticket    string    `json:"ticket"`
	ExpiresAt time.Time `json:"expires_at"`
}

var errNoAgent = dialer.Errorf(dialer.Forbidden, "this credential is not an agent's: log in as a user who is an agent")

// openDesk checks who comes from where, and serves the websocket until it ends.
// An error is one from before the upgrade.
func (s *Server) openDesk(w http.ResponseWriter, r *http.Request, ticket string) error {
	if !s.ownOrigin(r) {
		return refuse(http.StatusForbidden, "pages of this origin may not open the desk: add its host to the allowed origins")
	}
	var who caller
	var err error
	if ticket != "" {
		var ok bool
		if who, ok = s.sessions.redeem(ticket, s.now()); !ok {
			return refuse(http.StatusUnauthorized, "the ticket is unknown, used or older than %v: ask for a new one", ticketLife)
		}
	} else if who, err = s.authenticate(r); err != nil {
		return err
	}
	if who.user.Role != dialer.RoleAgent || who.user.Agent == "" {
		return errNoAgent
	}
	if err := s.pace(who); err != nil {
		return err
	}
	s.open.Add(1)
	defer s.open.Done()
	conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{OriginPatterns: s.origins, CompressionMode: websocket.CompressionDisabled})
	if err != nil {
		return nil // Accept has answered
	}
	conn.SetReadLimit(maxFrame)
	d := &desk{
		s: s, conn: conn, who: who, agent: who.user.Agent,
		commands: make(chan Command, maxQueued),
		answers:  make(chan any, maxAnswers),
		attached: make(chan *agents.Desktop),
	}
	d.serve(s.closing)
	return nil
}

// ownOrigin reports whether the page that asks is ours or allowed. A client
// that sends no Origin is no browser.
func (s *Server) ownOrigin(r *http.Request) bool {
	origin := r.Header.Get("Origin")
	if origin == "" {
		return true
	}
	u, err := url.Parse(origin)
	if err != nil || u.Host == "" {
		return false
	}
	if strings.EqualFold(u.Host, r.Host) {
		return true
	}
	for _, pattern := range s.origins {
		if ok, err := path.Match(strings.ToLower(pattern), strings.ToLower(u.Host)); ok && err == nil {
			return true
		}
	}
	return false
}

// A desk is one websocket. Its goroutines: one reads (so that pongs are heard),
// one works on commands in their order, one writes.
type desk struct {
	s     *Server
	conn  *websocket.Conn
	who   caller
	agent dialer.AgentID

	commands chan Command
	answers  chan any // answer, or an agents.Message from before the shift
	attached chan *agents.Desktop
}

// serve ends when the client goes, is closed, or the server shuts down.
func (d *desk) serve(closing context.Context) {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	// Cancelling a read would cut the connection before the farewell.
	defer context.AfterFunc(closing, func() {
		d.conn.Close(websocket.StatusGoingAway, "the dialer is shutting down")
		stop()
	})()
	var group sync.WaitGroup
	for _, part := range []func(context.Context){d.read, d.work, d.write} {
		group.Go(func() {
			defer stop()
			part(ctx)
		})
	}
	group.Wait()
	d.conn.CloseNow()
}

func (d *desk) read(ctx context.Context) {
	budget := newLimiter(maxCommands)
	budget.burst = maxCommands
	for {
		kind, frame, err := d.conn.Read(ctx)
		if err != nil {
			return
		}
		var c Command
		if kind != websocket.MessageText {
			d.answer(answer{Kind: "refused", Code: "malformed", Reason: "send JSON in text frames"})
			continue
		}
		if err := strict(frame, &c); err != nil {
			d.answer(answer{Kind: "refused", ID: c.ID, Code: "malformed", Reason: "not a command: " + clip(err.Error(), 300)})
			continue
		}
		c.ID = clip(c.ID, 100)
		if _, ok := budget.take("", d.s.now()); !ok {
			d.refuse(c, refuse(http.StatusTooManyRequests, "more than %d commands a second", maxCommands))
			continue
		}
		select {
		case d.commands <- c:
		default:
			d.refuse(c, refuse(http.StatusTooManyRequests, "%d commands wait already: wait for their answers", maxQueued))
		}
	}
}

// refuse answers a command with a problem's words.
func (d *desk) refuse(c Command, p *Problem) {
	d.answer(answer{Kind: "refused", ID: c.ID, Code: p.Code, Reason: p.Detail})
}

// answer never waits: who lets answers pile up is dropped.
func (d *desk) answer(a any) {
	select {
	case d.answers <- a:
	default:
		d.conn.Close(closeTooSlow, "you read too slowly: connect again")
	}
}

func (d *desk) write(ctx context.Context) {
	ping := time.NewTicker(pingEvery)
	defer ping.Stop()
	var messages <-chan agents.Message
	loggedOut := false // was the last that the messages said
	for {
		var out any
		select {
		case out = <-d.answers:
		case desktop := <-d.attached:
			messages, loggedOut = desktop.Messages(), false
			continue
		case m, ok := <-messages:
			if !ok {
				messages = nil
				if !loggedOut {
					d.conn.Close(closeTooSlow, "you read too slowly: connect again")
					return
				}
				continue // logged out; a login may follow
			}
			out = m
			loggedOut = m.Kind == agents.StateChanged && m.State == agents.LoggedOut
			if m.Kind == agents.Replaced {
				d.send(ctx, out)
				d.conn.Close(closeOver, "another desktop took over")
				return
			}
		case <-ping.C:
			// Waiting for a call is work: an open desktop keeps its session alive,
			// and a credential that was taken away ends it without a command.
			if !d.s.still(ctx, d.who) {
				d.conn.Close(closeOver, "your session has ended: log in again")
				return
			}
			pong, done := context.WithTimeout(ctx, pongWithin)
			err := d.conn.Ping(pong)
			done()
			if err != nil {
				return
			}
			continue
		case <-ctx.Done():
			return
		}
		if err := d.send(ctx, out); err != nil {
			return
		}
	}
}

func (d *desk) send(ctx context.Context, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		d.s.log.Error("a desktop message cannot be written", "agent", d.agent, "err", err)
		return err
	}
	ctx, done := context.WithTimeout(ctx, frameWithin)
	defer done()
	return d.conn.Write(ctx, websocket.MessageText, data)
}

// login rings the agent's phone and starts the shift.
func (s *Server) login(ctx context.Context, id dialer.AgentID, takeOver bool) error {
	a, err := s.store.GetAgent(ctx, id)
	if err != nil {
		return err
	}
	var options []agents.LoginOption
	if takeOver {
		options = append(options, agents.TakeOver)
	}
	_, err = s.agents.Login(ctx, a, options...)
	return err
}

// command carries out everything but login, for the websocket and its REST
// twins.
func (s *Server) command(ctx context.Context, id dialer.AgentID, c Command) error {
	switch c.Command {
	case "ready":
		return s.agents.SetReady(id)
	case "not_ready":
		return s.agents.SetNotReady(id, clip(c.Reason, 200))
	case "hangup":
		return s.agents.Hangup(id)
	case "dispose":
		return s.dispose(ctx, id, c)
	case "machine":
		return s.agents.Machine(id, c.Call)
	case "preview_dial":
		return s.agents.PreviewDial(id, c.Call)
	case "preview_skip":
		return s.agents.PreviewSkip(id, c.Call)
	case "logout":
		return s.agents.Logout(id, c.Force)
	case "":
		return dialer.Fieldf("command", "is missing")
	}
	return dialer.Fieldf("command", "%q is not known: use login, ready, not_ready, hangup, dispose, machine, preview_dial, preview_skip or logout", clip(c.Command, 40))
}
