// Package migrations holds the database schema as numbered files that go
// forward only. A released file is never edited: a change is a new file.
//
// Entry point: FS, which postgres.DB.Migrate applies.
package migrations

import "embed"

// FS holds the files, one transaction each, in goose's form.
//
//go:embed *.sql
var FS embed.FS
