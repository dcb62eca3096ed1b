//go:build !race

package main

// raced: the race detector makes everything many times slower.
const raced = false
