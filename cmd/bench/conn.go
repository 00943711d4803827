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

// An answer is what a server said. Its bytes are those of the connection until the
// next request.
type answer struct {
	status                    int
	contentType, cacheControl []byte
	location                  []byte
	body                      []byte
}

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
			MaxResponseBodySize: maxBody, RetryIfErr: once, TLSConfig: t, DisablePathNormalizing: true,
		},
		request: &fasthttp.Request{}, response: &fasthttp.Response{},
		basic: "Basic " + base64.StdEncoding.EncodeToString([]byte(url.QueryEscape(c.ID)+":"+url.QueryEscape(c.Secret.Reveal()))), // RFC 6749 §2.3.1
	}
}

// post sends a form of the client, which authenticates itself by Basic.
func (c *conn) post(to string, form []byte) (answer, time.Duration, error) {
	c.request.Reset()
	c.request.Header.SetMethod(fasthttp.MethodPost)
	c.request.Header.SetContentType("application/x-www-form-urlencoded")
	c.request.Header.Set("Authorization", c.basic)
	c.request.Header.Set("Accept", "application/json")
	c.request.SetBodyRaw(form)
	return c.do(to)
}

// postJSON sends an object, as nobody.
func (c *conn) postJSON(to string, body []byte) (answer, time.Duration, error) {
	c.request.Reset()
	c.request.Header.SetMethod(fasthttp.MethodPost)
	c.request.Header.SetContentType("application/json")
	c.request.SetBodyRaw(body)
	return c.do(to)
}

// get is a browser's with a cookie.
func (c *conn) get(to, cookie string) (answer, time.Duration, error) {
	c.request.Reset()
	c.request.Header.SetMethod(fasthttp.MethodGet)
	c.request.Header.Set("Cookie", cookie)
	return c.do(to)
}

func (c *conn) do(to string) (answer, time.Duration, error) {
	c.request.SetRequestURI(to)
	began := time.Now()
	err := c.http.Do(c.request, c.response)
	took := time.Since(began)
	if err != nil {
		return answer{}, took, err
	}
	h := &c.response.Header
	return answer{
		status: c.response.StatusCode(), contentType: h.ContentType(), cacheControl: h.Peek("Cache-Control"),
		location: h.Peek("Location"), body: c.response.Body(),
	}, took, nil
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

// transportError is what went wrong between two programs, in few kinds.
func transportError(err error) string {
	var timeout net.Error
	switch {
	case errors.Is(err, fasthttp.ErrTimeout), errors.As(err, &timeout) && timeout.Timeout():
		return "timeout"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connection refused"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return "connection reset"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, fasthttp.ErrConnectionClosed):
		return "connection closed"
	case errors.Is(err, fasthttp.ErrBodyTooLarge):
		return "answer too large"
	}
	return err.Error()
}
