// Package siptest is the far side of the telephone network for tests, trials
// and the demo: a Carrier whose people, machines and faults follow a scripted
// Population over real SIP and RTP, and Phones as agents have them.
//
// It is for testing any dialer, not only this one: it shares no SIP or media
// code with siptrunk. The carrier's signalling is its own user agent server on
// sipgo's message types, so that it may break the rules where a script says so;
// the phones are diago's. It is not a PBX: it routes nothing, and its media
// never leave the host it is asked to listen on.
//
// Entry points: NewCarrier, NewPhone, ParsePopulation.
//
// Goroutines: Carrier.Run owns one reader for signalling, one pacer for the
// audio of all calls, and for each call one for its script and one that
// listens. Phone.Run owns those of its registration and of diago.
package siptest
