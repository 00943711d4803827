// Package hammer runs an authority as the processes that it is made of, breaks
// them and the networks between them while clients use it, and holds what the
// clients were told against the log.
//
// A run is a cluster of three NATS servers, API replicas and projectors, each a
// process of its own, joined by proxies; a workload whose every request is
// recorded with its invocation, answer and outcome; faults, chosen by a seed; and
// in the end a check of the history, the log and the read models. What contradicts
// a promise is a Violation, by name.
package hammer
