// Package dialer is the vocabulary of an outbound dialer: identifiers, phone
// numbers, the facts that an event log records, error codes and roles.
//
// A type stands here only when two folders that do not import each other must
// exchange it. Everything else lives where it is used: Lead in campaign, State
// in agents, Cause in telephony.
//
// # Glossary
//
//   - campaign: a calling programme with one caller ID, one set of rules, one mode
//   - list, lead: an uploaded file of people to call; one person on it
//   - hopper: the leads that the runner has claimed and may call next
//   - attempt: one try to reach a lead; it has exactly one call record
//   - leg: one call leg, to a person or to an agent's phone
//   - trunk: a SIP peer that carries our calls
//   - answer: the far end's 200 OK, by whomever
//   - AMD: answering-machine detection
//   - abandoned: answered by a person whom no agent took in time
//   - screen pop: what an agent sees of a lead when a call is reserved for them
//   - wrap-up: the time after a talk in which an agent sets the disposition
//   - disposition: what the agent said of the call; outcome is what the network saw
//   - recycle: to make a lead due again after a try
//   - occupancy: (talk + wrap-up) / (talk + wrap-up + ready), pauses left out
package dialer
