package pages

import (
	"net"
	"net/url"
	"strings"
)

// maxAgent bounds what is shown of a user agent that is not known.
const maxAgent = 60

// A sign is what tells of a browser or a system in a user agent.
type sign struct{ part, name string }

// browsers are in an order that matters: most also claim to be others.
func browsers() []sign {
	return []sign{
		{"Edg", "Edge"},
		{"OPR/", "Opera"},
		{"SamsungBrowser/", "Samsung Internet"},
		{"FxiOS/", "Firefox"},
		{"Firefox/", "Firefox"},
		{"CriOS/", "Chrome"},
		{"Chrome/", "Chrome"},
		{"Safari/", "Safari"},
	}
}

func systems() []sign {
	return []sign{
		{"Android", "Android"},
		{"iPhone", "iPhone"},
		{"iPad", "iPad"},
		{"Windows", "Windows"},
		{"Mac OS X", "macOS"},
		{"CrOS", "ChromeOS"},
		{"Linux", "Linux"},
	}
}

// first is the name of the first sign in a user agent.
func first(userAgent string, signs []sign) string {
	for _, s := range signs {
		if strings.Contains(userAgent, s.part) {
			return s.name
		}
	}
	return ""
}

// agent is a browser and its system in the words of people. What is not known
// is shown as it was sent, shortened.
func agent(userAgent string) (browser, system string) {
	if browser = first(userAgent, browsers()); browser != "" {
		return browser, first(userAgent, systems())
	}
	if shown := []rune(userAgent); len(shown) > maxAgent {
		return string(shown[:maxAgent]) + "…", ""
	}
	return userAgent, ""
}

// Agent is a session's user agent in words.
func (t *texts) Agent(userAgent string) string {
	browser, system := agent(userAgent)
	switch {
	case browser == "":
		return t.UnknownAgent
	case system == "":
		return browser
	default:
		return strings.NewReplacer("{browser}", browser, "{system}", system).Replace(t.AgentOn)
	}
}

// Destination is where a redirect URI leads, as far as people can judge it: a
// host, or an app's scheme. It is empty for one of this device.
func (c Consent) Destination() string {
	u, err := url.Parse(c.RedirectURI)
	if err != nil || u.Scheme == "" {
		return c.RedirectURI
	}
	if u.Hostname() == "localhost" || net.ParseIP(u.Hostname()).IsLoopback() {
		return ""
	}
	if u.Host == "" {
		return u.Scheme
	}
	return u.Host
}
