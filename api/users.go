package api

import (
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/labstack/echo/v4"

	"github.com/chancery-authority/chancery/api/authority"
	"github.com/chancery-authority/chancery/api/rules"
)

// maxName bounds the names in a profile, in characters.
const maxName = 255

// profile is what the Login API tells users about themselves.
type profile struct {
	ID       string `json:"id"`
	Username string `json:"username"`
	Email    string `json:"email,omitempty"`
	// Registered is in RFC 3339's form, Birthday a full-date of it.
	Registered time.Time `json:"registered"`
	Nickname   string    `json:"nickname,omitempty"`
	FirstName  string    `json:"first_name,omitempty"`
	LastName   string    `json:"last_name,omitempty"`
	Birthday   string    `json:"birthday,omitempty"`
}

// answerProfile tells the user by the sub that the token has for them.
func answerProfile(c echo.Context, sub string, p authority.Profile, err error) error {
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, profile{
		ID: sub, Username: p.Username, Email: p.Email, Registered: p.Registered.UTC(),
		Nickname: p.Nickname, FirstName: p.FirstName, LastName: p.LastName, Birthday: p.Birthday,
	})
}

// showMe answers a user's access token with the profile of its user.
func (s *Server) showMe(c echo.Context) error {
	claims, err := s.personBearer(c)
	if err != nil {
		return err
	}
	p, err := s.authority.Profile(c.Request().Context(), claims.User)
	return answerProfile(c, claims.Subject, p, err)
}

// changeMe changes what the body names of the profile, and answers with it.
func (s *Server) changeMe(c echo.Context) error {
	claims, err := s.personBearer(c)
	if err != nil {
		return err
	}
	var body map[string]json.RawMessage
	if refusal := parseJSON(c.Response(), c.Request(), &body, false); refusal != nil {
		return asError(refusal)
	}
	change, refusal := profileChange(body, s.feed.Now(claims.Partition))
	if refusal != nil {
		return asError(refusal)
	}
	p, err := s.authority.ChangeProfile(c.Request().Context(), claims.User, change)
	return answerProfile(c, claims.Subject, p, err)
}

// profileChange reads the members of a profile that may be changed. null clears
// one.
func profileChange(body map[string]json.RawMessage, now time.Time) (change authority.ProfileChange, refusal *rules.Refusal) {
	fields := map[string]**string{
		"nickname": &change.Nickname, "first_name": &change.FirstName, "last_name": &change.LastName, "birthday": &change.Birthday,
	}
	for _, name := range slices.Sorted(maps.Keys(body)) {
		field, ok := fields[name]
		if !ok {
			return change, &rules.Refusal{Reason: unknownMember, Parameter: known(name)}
		}
		var text *string
		if err := json.Unmarshal(body[name], &text); err != nil || text != nil && !validMember(name, *text, now) {
			return change, &rules.Refusal{Reason: rules.BadParameter, Parameter: name}
		}
		if text == nil {
			text = new(string)
		}
		*field = text
	}
	return change, nil
}

func validMember(name, text string, now time.Time) bool {
	if name == "birthday" {
		day, err := time.Parse(time.DateOnly, text)
		return err == nil && !day.After(now)
	}
	n := utf8.RuneCountInString(text)
	return n > 0 && n <= maxName && !strings.ContainsFunc(text, unicode.IsControl)
}
