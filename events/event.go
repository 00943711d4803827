package events

import "time"

// An Event is one fact, decided once, and the envelope it travels in. The
// envelope's attributes are those of CloudEvents 1.0 in binary mode.
type Event struct {
	// ID is unique for ever (ce-id). It tells "mine" from "somebody else's"
	// when the outcome of an append is settled.
	ID string
	// Source is the issuer that decided (ce-source).
	Source string
	// Time is the decision's clock in UTC (ce-time). It informs; windows run
	// from the server's timestamp, Recorded.Stored.
	Time time.Time
	// Subject is where the event is stored. Its last token is ce-subject.
	Subject Subject
	// Meta says who asked.
	Meta Meta
	// Fact is what happened (ce-type and the data).
	Fact Fact
}

// Meta is the context of a decision, kept for the audit. Nothing is decided
// on it.
type Meta struct {
	// Request is the id of the HTTP request (ce-requestid).
	Request string
	// Trace is the W3C traceparent of the request (ce-traceparent).
	Trace string
	// Actor is who acted (ce-actor): "client:<id>", "user:<id>", "admin" or
	// "system".
	Actor string
	// Origin is the client's address and user agent, sealed for a key whose
	// private half is in the person's or client's record (ce-origin), so that
	// erasing the record erases it. It is empty where none were recorded, and
	// where an issuance came from the same address as the one before it,
	// which the keyed hash in the fact tells.
	Origin string
}

// Recorded is an event with its place in the log.
type Recorded struct {
	Event
	// Seq is the sequence in the stream, from 1.
	Seq uint64
	// Stored is the log server's timestamp of the message.
	Stored time.Time
}

// Message is the stored form of an event: subject, ce-* headers and JSON data.
type Message struct {
	Subject string
	Header  Header
	Data    []byte
}
