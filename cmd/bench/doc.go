// Package bench measures a running authority, Chancery or another, by a closed loop:
// each worker has one connection and sends its next request when it has the answer
// of the one before. Every answer is checked.
//
// A run has a target (an authority that it starts itself, a Chancery whose admin
// key it has, or any server with a client that is registered there), workers that
// hold what they need of tokens, and operations that are measured one after the
// other. Where there is an admin key, the events in the log are counted in the end
// and held against what was acknowledged.
package bench
