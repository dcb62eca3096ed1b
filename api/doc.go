// Package api is the dialer's HTTP edge: REST under /v1 with an OpenAPI 3.1
// contract, the agents' websocket, the event stream, health and metrics.
//
// It holds no rules of dialing and no SQL: what it needs of the store, the
// engine and the agents it declares as small interfaces (seams.go), and cmd
// wires them. Entry points: New, Server.Handler, Server.HTTPServer, Server.Run,
// OpenAPI. The table of who may call what is in rules.go.
//
// Goroutines: Server.Run follows the event log for the metrics; each websocket
// has one that writes; each event stream lives in its request's.
package api
