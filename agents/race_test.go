//go:build race

package agents_test

// The race detector is slow: fewer random steps suffice for it.
const stepsEach = 200
