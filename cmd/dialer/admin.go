package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	"golang.org/x/term"

	"dialer"
	"dialer/api"
	"dialer/postgres"
	"dialer/postgres/private"
)

type migrateCmd struct{ configFlags }

func (c migrateCmd) Run(ctx context.Context, t *terminal) error {
	return c.with(ctx, t, true, func(*postgres.DB) error {
		fmt.Fprintln(t.out, "The database has this version's schema.")
		return nil
	})
}

// with opens the configured database, brings it up to date and calls use. Unless
// it may be made, it has to be there: a key in a database of its own opens nothing.
func (f configFlags) with(ctx context.Context, t *terminal, mayMake bool, use func(*postgres.DB) error) error {
	l, err := f.load(t, nil, false)
	if err != nil {
		return err
	}
	if dir := l.postgresDir(); l.DatabaseURL == "" && !mayMake && !private.Exists(dir) {
		fmt.Fprintf(t.err, "waiting for a dialer to start in %s …\n", l.DataDir)
		if err := private.Await(ctx, dir); err != nil {
			return fmt.Errorf("there is no dialer data in %s: start the dialer once, or give --config or --data-dir of the one that runs", l.DataDir)
		}
	}
	log := newLogger(LogConfig{Level: "warn"}, t.err)
	db, err := openDatabase(ctx, l.Config, true, nil, log)
	if err != nil {
		return err
	}
	defer db.close()
	if err := db.Migrate(ctx); err != nil {
		return err
	}
	return use(db.DB)
}

type userCmd struct {
	Add userAddCmd `cmd:"" help:"Add a person. The password is asked for, or read from standard input."`
}

type userAddCmd struct {
	configFlags
	Name  string `arg:"" help:"Name to log in with."`
	Role  string `help:"agent, supervisor, manager, compliance or admin." enum:"agent,supervisor,manager,compliance,admin" required:""`
	Agent string `help:"Id of the agent whom an agent's login stands for (agt_…)."`
}

func (c userAddCmd) Run(ctx context.Context, t *terminal) error {
	if (c.Role == string(dialer.RoleAgent)) != (c.Agent != "") {
		return errors.New("--agent ID goes with --role agent, and only with it")
	}
	password, err := readPassword(t)
	if err != nil {
		return err
	}
	hash, err := api.HashPassword(password)
	if err != nil {
		return err
	}
	return c.with(ctx, t, false, func(db *postgres.DB) error {
		u := dialer.User{ID: dialer.NewUserID(), Name: c.Name, Role: dialer.Role(c.Role), Agent: dialer.AgentID(c.Agent)}
		if err := db.CreateUser(ctx, u, hash); err != nil {
			return err
		}
		fmt.Fprintf(t.out, "%s\t%s\t%s\n", u.ID, u.Name, u.Role)
		return nil
	})
}

// readPassword asks at a terminal, twice; else it reads one line.
func readPassword(t *terminal) (string, error) {
	if f, ok := t.in.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		ask := func(prompt string) (string, error) {
			fmt.Fprint(t.err, prompt)
			p, err := term.ReadPassword(int(f.Fd()))
			fmt.Fprintln(t.err)
			return string(p), err
		}
		first, err := ask("Password: ")
		if err != nil {
			return "", err
		}
		second, err := ask("Again: ")
		if err != nil {
			return "", err
		}
		if first != second {
			return "", errors.New("the passwords differ: nothing was added")
		}
		return first, nil
	}
	line, err := bufio.NewReader(t.in).ReadString('\n')
	line = strings.TrimRight(line, "\r\n")
	if line == "" {
		return "", fmt.Errorf("no password on standard input: %w", err)
	}
	return line, nil
}

type apikeyCmd struct {
	Create apikeyCreateCmd `cmd:"" help:"Create a key; it is shown once."`
}

type apikeyCreateCmd struct {
	configFlags
	Name string `arg:"" help:"What the key is for."`
	Role string `help:"supervisor, manager, compliance or admin." enum:"supervisor,manager,compliance,admin" required:""`
}

func (c apikeyCreateCmd) Run(ctx context.Context, t *terminal) error {
	return c.with(ctx, t, false, func(db *postgres.DB) error {
		token, err := addAPIKey(ctx, db, c.Name, dialer.Role(c.Role))
		if err != nil {
			return err
		}
		fmt.Fprintln(t.out, token)
		return nil
	})
}

// addAPIKey makes a key and returns what its holder must send.
func addAPIKey(ctx context.Context, db *postgres.DB, name string, role dialer.Role) (string, error) {
	id, token, hash := api.NewAPIKey()
	k := dialer.APIKey{ID: id, Name: name, Role: role, CreatedAt: time.Now()}
	return token, db.CreateAPIKey(ctx, k, hash)
}

type serveCmd struct {
	configFlags
	HTTPListen string `name:"http-listen" help:"Address of the API." placeholder:"ADDR"`
	SIPListen  string `name:"sip-listen" help:"Address of SIP." placeholder:"ADDR"`
}

func (c serveCmd) Run(ctx context.Context, t *terminal) error {
	flags := map[string]string{}
	if c.HTTPListen != "" {
		flags["http.listen"] = c.HTTPListen
	}
	if c.SIPListen != "" {
		flags["sip.listen"] = c.SIPListen
	}
	l, err := c.load(t, flags, true)
	if err != nil {
		return err
	}
	log := newLogger(l.Log, t.err)
	slog.SetDefault(log) // for libraries that log by themselves
	s, err := openService(ctx, l.Config, log, nil)
	if err != nil {
		return err
	}
	return s.run(ctx, signals(ctx, t.stop))
}

// signals passes each signal on as a bare event.
func signals(ctx context.Context, in <-chan os.Signal) <-chan struct{} {
	out := make(chan struct{}, 4)
	go func() {
		for {
			select {
			case <-in:
				out <- struct{}{}
			case <-ctx.Done():
				return
			}
		}
	}()
	return out
}
