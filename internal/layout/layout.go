// Package layout keeps the shape of the repository true: its test reads every
// Go file and compares what it imports with one table, forbids clocks in the
// pure folders, vague names, long files and SQL put together from strings.
//
// It holds no code for the program and nothing imports it. Entry point: the
// table in table.go, which a new folder must enter before it may exist.
package layout
