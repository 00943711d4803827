// Package process runs an authority as the processes that it is made of, on this
// machine: programs that can be started, stopped and killed, and the secrets that
// they share. It is for commands that measure or break one.
package process
