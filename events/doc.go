// Package events holds what can happen in a token authority: the facts, the
// envelope that carries them, their place in the log (subjects and
// partitions), and the codec between an event and a stored message.
//
// It is pure: no network, clock or randomness. The log itself, which stores
// and reads these events on NATS JetStream, is package eventlog below it.
package events
