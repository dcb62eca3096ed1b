package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"

	"dialer/postgres"
	"dialer/postgres/private"
)

// database is an open database and the private server behind it, if any.
type database struct {
	*postgres.DB
	url    string
	server *private.Server
}

// openDatabase connects to the configured database, or to a private server in
// the data folder: one of our own or, when shared, also one that a running
// dialer has started. prepare, when not nil, is called with the server up and
// nothing open yet, and returns the URL to use.
func openDatabase(ctx context.Context, c Config, shared bool, prepare prepareFunc, log *slog.Logger) (*database, error) {
	d := &database{url: c.DatabaseURL}
	if d.url == "" {
		dir := filepath.Join(c.DataDir, "postgres")
		server, err := private.Start(ctx, private.Options{Dir: dir, Log: log})
		switch {
		case errors.Is(err, private.ErrInUse) && shared:
			if d.url, err = private.Find(dir); err != nil {
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
