package embedded

import (
	"fmt"

	"github.com/nats-io/nats-server/v2/server"
)

// RunConfig is the program nats-server with a configuration file, so that a
// cluster can be had where that program is not installed. It handles signals as
// nats-server does, and with SIGTERM the process ends in here.
func RunConfig(file string) error {
	opts, err := server.ProcessConfigFile(file)
	if err != nil {
		return fmt.Errorf("read the configuration of a NATS server: %w", err)
	}
	ns, err := server.NewServer(opts)
	if err != nil {
		return fmt.Errorf("start NATS server: %w", err)
	}
	ns.ConfigureLogger()
	if err := server.Run(ns); err != nil {
		return fmt.Errorf("start NATS server: %w", err)
	}
	ns.WaitForShutdown()
	return nil
}
