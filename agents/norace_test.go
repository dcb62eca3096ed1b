//go:build !race

package agents_test

const stepsEach = 1000
