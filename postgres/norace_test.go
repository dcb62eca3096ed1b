//go:build !race

package postgres

// raceEnabled: the race detector slows everything and takes memory.
const raceEnabled = false
