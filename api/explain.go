package api

import (
	"net/http"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/chancery-authority/chancery/api/authority"
	"github.com/chancery-authority/chancery/api/rules"
	"github.com/chancery-authority/chancery/api/secret"
	"github.com/chancery-authority/chancery/events"
)

// explainBody asks about one of Token, JTI and Grant, as of At or Seq or now.
type explainBody struct {
	Token secret.Secret `json:"token"`
	JTI   string        `json:"jti"`
	Grant string        `json:"grant"`
	At    string        `json:"at"`
	Seq   *uint64       `json:"seq"`
}

// inquiry checks what was sent. Nothing of it is repeated: it holds a token.
func (b explainBody) inquiry() (q authority.Inquiry, refusal *rules.Refusal) {
	bad := func(parameter, cause string) (authority.Inquiry, *rules.Refusal) {
		return q, &rules.Refusal{Reason: rules.BadParameter, Parameter: parameter, Cause: cause}
	}
	q = authority.Inquiry{Token: b.Token, JTI: b.JTI}
	switch {
	case b.Token.IsZero() && b.JTI == "" && b.Grant == "":
		return q, &rules.Refusal{Reason: rules.MissingParameter, Parameter: "token", Cause: "want one of token, jti and grant"}
	case b.JTI != "" && !b.Token.IsZero():
		return bad("jti", "want one of token, jti and grant")
	case b.Grant != "" && (b.JTI != "" || !b.Token.IsZero()):
		return bad("grant", "want one of token, jti and grant")
	case !isShort(b.JTI):
		return bad("jti", "too long")
	case b.At != "" && b.Seq != nil:
		return bad("seq", "want at or seq")
	case b.Seq != nil && (*b.Seq == 0 || *b.Seq >= 1<<62):
		return bad("seq", "no sequence")
	}
	if b.Grant != "" {
		var err error
		if q.Grant, err = events.ParseGrantID(b.Grant); err != nil || q.Grant.IsZero() {
			return bad("grant", "no grant id")
		}
	}
	if b.At != "" && !timeField(&q.At)(b.At) {
		return bad("at", "not an RFC 3339 time")
	}
	if b.At != "" && (q.At.Before(time.Unix(0, 0)) || q.At.Year() > 2200) {
		return bad("at", "out of range") // an index of nanoseconds ends somewhere
	}
	if b.Seq != nil {
		q.Seq = *b.Seq
	}
	return q, nil
}

// explain says whether something was active at a moment, and which events decided
// it (RFC 7662, for the past, with reasons).
func (s *Server) explain(c echo.Context) error {
	var body explainBody
	if refusal := parseJSON(c.Response(), c.Request(), &body, true); refusal != nil {
		return asError(refusal)
	}
	q, refusal := body.inquiry()
	if refusal != nil {
		return asError(refusal)
	}
	e, err := s.authority.Explain(c.Request().Context(), q)
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, e)
}
