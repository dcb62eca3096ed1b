//go:build !race

package campaign_test

// raced: the race detector makes everything many times slower.
const raced = false
