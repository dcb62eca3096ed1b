package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"dialer/telephony/siptrunk/siptest"
)

// agentCmd is one simulated agent, for trials of a dialer: it registers a SIP
// phone, logs in at the desktop, takes calls, hangs up and sets dispositions.
type agentCmd struct {
	API           string        `name:"api" help:"host:port of the dialer's API." default:"127.0.0.1:8080"`
	User          string        `help:"User to log in as; their role is agent." required:""`
	Password      string        `help:"The user's password." env:"DIALER_AGENT_PASSWORD" required:""`
	Registrar     string        `help:"host:port at which the phone registers." default:"127.0.0.1:5060"`
	Extension     string        `help:"Of the phone." required:""`
	PhonePassword string        `help:"Of the phone." env:"DIALER_PHONE_PASSWORD" required:""`
	Listen        string        `help:"UDP address of the phone." default:"127.0.0.1:0"`
	Talk          time.Duration `help:"How long the agent talks with somebody who does not hang up, on average." default:"20s"`
	WrapUp        time.Duration `help:"How long the agent takes to set the disposition, on average." default:"3s"`
}

// Run works until it is interrupted.
func (c *agentCmd) Run(ctx context.Context, t *terminal) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	phone, err := siptest.NewPhone(siptest.PhoneConfig{
		Registrar: c.Registrar, Extension: c.Extension, Password: c.PhonePassword, Listen: c.Listen,
	})
	if err != nil {
		return err
	}
	login := func(ctx context.Context) (string, error) { return logIn(ctx, c.API, c.User, c.Password) }
	token, err := login(ctx) // now, so that a wrong password is told at once
	if err != nil {
		return fmt.Errorf("logging in: %w", err)
	}
	sim := &simAgent{
		name: c.User, login: login, token: token, phone: phone, base: "ws://" + c.API,
		talk: c.Talk, wrapUp: c.WrapUp, log: slog.New(slog.NewTextHandler(t.err, nil)),
		rnd: rand.New(rand.NewPCG(rand.Uint64(), 0)),
		tell: func(format string, args ...any) {
			fmt.Fprintf(t.out, "%s  %s: %s\n", time.Now().Format("15:04:05"), c.User, fmt.Sprintf(format, args...))
		},
	}
	var parts sync.WaitGroup
	defer parts.Wait()
	ended := make(chan error, 2)
	parts.Go(func() { ended <- phone.Run(ctx) })
	parts.Go(func() { ended <- sim.run(ctx) })
	defer stop()
	select {
	case <-t.stop:
		return nil
	case err := <-ended:
		return errors.Join(errors.New("the agent's shift ended by itself"), err)
	}
}
