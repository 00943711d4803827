package netfault

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"strconv"
)

// portRange is how many ports FreePorts chooses from.
const portRange = 10_000

// FreePorts finds ports of loopback that nobody listens on, for servers that must
// listen where they did before when they are started again. They are between
// lowest and lowest+10,000: choose it so that they are below those that the kernel gives
// away, and so that others who do the same have other ports, also while a server is
// away.
func FreePorts(ctx context.Context, lowest, n int) ([]int, error) {
	var ports []int
	for tries := 0; len(ports) < n; tries++ {
		if tries > portRange {
			return nil, errors.New("find free ports: there are too few")
		}
		port := lowest + rand.N(portRange) //nolint:gosec // no secret
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
