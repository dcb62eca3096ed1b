package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"dialer/postgres"
	"dialer/postgres/private"
)

// database is an open database and the private server behind it, if any.
type database struct {
	*postgres.DB
	url    string
	server *private.Server
}

// borrowed is how long a dialer that starts waits for the folder of its database.
const borrowed = 10 * time.Second

// openDatabase connects to the configured database, or to a private server in
// the data folder: one of our own or, when shared, also one that a running
// dialer has started. prepare, when not nil, is called with the server up and
// nothing open yet, and returns the URL to use.
func openDatabase(ctx context.Context, c Config, shared bool, prepare prepareFunc, log *slog.Logger) (*database, error) {
	d := &database{url: c.DatabaseURL}
	if d.url == "" {
		dir := c.postgresDir()
		server, err := private.Start(ctx, private.Options{Dir: dir, Log: log})
		// A command that borrows the folder, such as apikey, is gone in a moment.
		for began := time.Now(); errors.Is(err, private.ErrInUse) && !shared && time.Since(began) < borrowed; {
			select {
			case <-ctx.Done():
				return nil, context.Cause(ctx)
			case <-time.After(borrowed / 100):
			}
			server, err = private.Start(ctx, private.Options{Dir: dir, Log: log})
		}
		switch {
		case errors.Is(err, private.ErrInUse) && shared:
			if d.url, err = private.Find(ctx, dir); err != nil {
				return nil, err
			}
		case err != nil:
			return nil, err
		default:
			d.server, d.url = server, server.URL()
		}
	}
	err := error(nil)
	if prepare != nil {
		d.url, err = prepare(ctx, d.url)
	}
	if err == nil {
		d.DB, err = postgres.Open(ctx, d.url, log)
	}
	if err != nil {
		d.close()
		return nil, fmt.Errorf("opening the database: %w", err)
	}
	return d, nil
}

// postgresDir is the folder of the private server.
func (c Config) postgresDir() string { return filepath.Join(c.DataDir, "postgres") }

// A prepareFunc makes a server ready and returns the URL of the database to use.
type prepareFunc func(ctx context.Context, url string) (string, error)

func (d *database) close() {
	if d.DB != nil {
		d.DB.Close()
	}
	if d.server != nil {
		d.server.Stop()
	}
}
