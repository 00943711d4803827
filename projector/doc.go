// Package projector keeps what is true now, as read models that are folded
// from the log: a SQLite file per stream (Local), the same over NATS
// request/reply (Remote), and what every API replica holds in memory (Feed).
//
// The one thing to know: a read model is a disposable copy. Rows and position
// are committed in one transaction, whatever the batching the rows are those
// of a fresh replay, and a file that is missing, damaged or of another version
// is built again from the stream. What is never repaired is a difference
// between the log and what was folded from it: that fails the partition.
package projector
