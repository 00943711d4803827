package bench

import (
	"crypto/tls"
	"encoding/base64"
	"errors"
	"io"
	"net"
	"net/url"
	"syscall"
	"time"

	"github.com/valyala/fasthttp"
)

// A span is from just before a request was written to when its answer was read.
type span struct{ sent, received time.Time }

func (s span) took() time.Duration { return s.received.Sub(s.sent) }

// An answer is what a server said. Its bytes are those of the connection until the
// next request.
type answer struct {
	span
	// status is 0 if there was no answer, and unsent says that there was no request
	// either: nobody could be connected to.
	status                    int
	unsent                    bool
	contentType, cacheControl []byte
	location                  []byte
	body                      []byte
}

// maxHeader bounds the header of an answer, in bytes.
const maxHeader = 64 << 10

// A conn is the one connection of a worker to each host that it talks to.
// Nothing is ever sent twice: whether the first one was done would not be known.
type conn struct {
	http     *fasthttp.Client
	request  *fasthttp.Request
	response *fasthttp.Response
	basic    string
}

func newConn(c Client, t *tls.Config, timeout time.Duration) *conn {
	once := func(*fasthttp.Request, int, error) (resetTimeout, retry bool) { return false, false }
	return &conn{
		http: &fasthttp.Client{
			Name: "chancery-bench", MaxConnsPerHost: 1, ReadTimeout: timeout, WriteTimeout: timeout,
			MaxResponseBodySize: maxBody, ReadBufferSize: maxHeader, RetryIfErr: once, TLSConfig: t, DisablePathNormalizing: true,
			DialDualStack: true,
		},
		request: &fasthttp.Request{}, response: &fasthttp.Response{},
		basic: "Basic " + base64.StdEncoding.EncodeToString([]byte(url.QueryEscape(c.ID)+":"+url.QueryEscape(c.Secret.Reveal()))), // RFC 6749 §2.3.1
	}
}

// post sends a form of the client, which authenticates itself by Basic.
func (c *conn) post(to string, form []byte) (answer, error) {
	c.request.Reset()
	c.request.Header.SetMethod(fasthttp.MethodPost)
	c.request.Header.SetContentType("application/x-www-form-urlencoded")
	c.request.Header.Set("Authorization", c.basic)
	c.request.Header.Set("Accept", "application/json")
	c.request.SetBodyRaw(form)
	return c.do(to)
}

// postJSON sends an object, as nobody.
func (c *conn) postJSON(to string, body []byte) (answer, error) {
	c.request.Reset()
	c.request.Header.SetMethod(fasthttp.MethodPost)
	c.request.Header.SetContentType("application/json")
	c.request.SetBodyRaw(body)
	return c.do(to)
}

// get is a browser's with a cookie.
func (c *conn) get(to, cookie string) (answer, error) {
	c.request.Reset()
	c.request.Header.SetMethod(fasthttp.MethodGet)
	c.request.Header.Set("Cookie", cookie)
	return c.do(to)
}

func (c *conn) do(to string) (answer, error) {
	c.request.SetRequestURI(to)
	a := answer{span: span{sent: time.Now()}}
	err := c.http.Do(c.request, c.response)
	a.received = time.Now()
	if err != nil {
		a.unsent = unsent(err)
		return a, err
	}
	h := &c.response.Header
	a.status, a.contentType, a.cacheControl = c.response.StatusCode(), h.ContentType(), h.Peek("Cache-Control")
	a.location, a.body = h.Peek("Location"), c.response.Body()
	return a, nil
}

// cookies are those of the last answer, as they are sent back.
func (c *conn) cookies() (text string) {
	for _, value := range c.response.Header.Cookies() {
		var k fasthttp.Cookie
		if k.ParseBytes(value) != nil || len(k.Value()) == 0 {
			continue
		}
		if text != "" {
			text += "; "
		}
		text += string(k.Key()) + "=" + string(k.Value())
	}
	return text
}

func (c *conn) close() { c.http.CloseIdleConnections() }

// unsent reports whether a request failed before any of it was sent.
func unsent(err error) bool {
	var dial *net.OpError
	return errors.Is(err, fasthttp.ErrDialTimeout) || errors.As(err, &dial) && dial.Op == "dial"
}

// transportError is what went wrong between two programs, in few kinds. Texts of
// errors may quote what was received.
func transportError(err error) string {
	var (
		timeout     net.Error
		name        *net.DNSError
		certificate *tls.CertificateVerificationError
		header      *fasthttp.ErrSmallBuffer
	)
	switch {
	case errors.Is(err, fasthttp.ErrTimeout), errors.Is(err, fasthttp.ErrDialTimeout), errors.As(err, &timeout) && timeout.Timeout():
		return "timeout"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connection refused"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return "connection reset"
	case errors.Is(err, fasthttp.ErrBodyTooLarge), errors.As(err, &header):
		return "answer too large"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, fasthttp.ErrConnectionClosed):
		return "connection closed"
	case errors.As(err, &name):
		return "host not found"
	case errors.As(err, &certificate):
		return "certificate not accepted"
	}
	return "other"
}
