// Package bench measures what calls cost the process that carries them: its far
// ends, a farm of them, run in a process of their own, so that what getrusage
// says of this one is the dialer's alone. It holds tests and benchmarks only.
//
// Entry points: BenchmarkBridge, TestStoppedProcess; the farm is in
// farm_test.go.
package bench
