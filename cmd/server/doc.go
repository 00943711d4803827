// Package server is one Chancery process: it opens the log, the read models
// and the API on it, listens, and takes all of it down in order. The command
// builds it from flags and the end-to-end tests from a struct, so both run the
// same thing.
package server
