package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"time"
)

// Limits of both listeners. An answer may take as long as the API gives a
// request, and no client may take longer to send one.
const (
	readHeaderTimeout = 5 * time.Second
	readTimeout       = 15 * time.Second
	writeTimeout      = 30 * time.Second
	idleTimeout       = 2 * time.Minute
	maxHeaderBytes    = 32 << 10
)

// A listener is a bound address and the HTTP server on it.
type listener struct {
	net  net.Listener
	http *http.Server
	// cert is what it shows, nil without TLS.
	cert *shownCertificate
	// end cancels the contexts of all requests in progress.
	end context.CancelFunc
	// late has requests give up that the end of their contexts does not reach.
	late func()
	// leaving has every answer close its connection.
	leaving *atomic.Bool
}

// listen binds an address. With a certificate it speaks TLS there.
func listen(ctx context.Context, address string, cert *shownCertificate, h http.Handler, logger *slog.Logger) (*listener, error) {
	bound, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	// Requests outlive the context that the process is told to stop by: they
	// are drained.
	requests, end := context.WithCancel(context.WithoutCancel(ctx))
	leaving := new(atomic.Bool)
	l := &listener{
		net:     bound,
		end:     end,
		late:    func() {},
		cert:    cert,
		leaving: leaving,
		http: &http.Server{
			Handler:           lastAnswers{h, leaving},
			BaseContext:       func(net.Listener) context.Context { return requests },
			ReadHeaderTimeout: readHeaderTimeout,
			ReadTimeout:       readTimeout,
			WriteTimeout:      writeTimeout,
			IdleTimeout:       idleTimeout,
			MaxHeaderBytes:    maxHeaderBytes,
			ErrorLog:          slog.NewLogLogger(logger.Handler(), slog.LevelDebug),
		},
	}
	if cert != nil {
		l.http.TLSConfig = cert.config()
	}
	return l, nil
}

// serve answers requests until drain.
func (l *listener) serve() error {
	serve := l.http.Serve
	if l.cert != nil {
		serve = func(bound net.Listener) error { return l.http.ServeTLS(bound, "", "") }
	}
	if err := serve(l.net); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve %s: %w", l.net.Addr(), err)
	}
	return nil
}

// lastAnswers says with each answer that no other comes by its connection, once
// the process is leaving.
type lastAnswers struct {
	http.Handler

	leaving *atomic.Bool
}

func (h lastAnswers) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if h.leaving.Load() {
		w.Header().Set("Connection", "close")
	}
	h.Handler.ServeHTTP(w, r)
}

// linger goes on to answer for a while, on connections that end with the answer.
// An idle connection that the server closes may have a request under way, which
// is lost, and whose client cannot know whether it was done.
func (l *listener) linger(ctx context.Context, delay time.Duration) {
	l.leaving.Store(true)
	over := time.NewTimer(delay)
	defer over.Stop()
	select {
	case <-over.C:
	case <-ctx.Done():
	}
}

// drain takes no more requests and waits for those in progress. After grace
// their contexts end, and when ctx ends their connections are cut.
func (l *listener) drain(ctx context.Context, grace time.Duration) error {
	defer l.end()
	late := time.AfterFunc(grace, func() {
		l.end()
		l.late()
	})
	defer late.Stop()
	if err := l.http.Shutdown(ctx); err != nil {
		return errors.Join(fmt.Errorf("drain %s: %w", l.net.Addr(), err), l.http.Close())
	}
	return nil
}

// url is the address of the listener for clients on this machine.
func (l *listener) url() string {
	if l == nil {
		return ""
	}
	return scheme(l.cert != nil) + "://" + l.net.Addr().String()
}

func scheme(tls bool) string {
	if tls {
		return "https"
	}
	return "http"
}

// lateHandler is set after its listener is bound and before it serves.
type lateHandler struct{ http.Handler }
