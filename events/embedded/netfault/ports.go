package netfault

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"strconv"
)

// Ports that are chosen are below those that the kernel gives away, which
// somebody else might get.
const lowestPort, highestPort = 20_000, 32_000

// FreePorts finds ports of loopback that nobody listens on, for servers that must
// listen where they did before when they are started again.
func FreePorts(ctx context.Context, n int) ([]int, error) {
	var ports []int
	for tries := 0; len(ports) < n; tries++ {
		if tries > highestPort-lowestPort {
			return nil, errors.New("find free ports: there are too few")
		}
		port := lowestPort + rand.N(highestPort-lowestPort) //nolint:gosec // no secret
		l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", Loopback(port))
		if err != nil {
			continue
		}
		defer closeAll(l) // when all are found, so that none is found twice
		ports = append(ports, port)
	}
	return ports, nil
}

// Loopback is a port of loopback as host and port.
func Loopback(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }
