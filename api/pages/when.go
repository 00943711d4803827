package pages

import (
	"html/template"
	"strconv"
	"strings"
	"time"

	"golang.org/x/text/feature/plural"
)

const (
	day  = 24 * time.Hour
	year = 365 * day
)

// counted is a text for each plural category of a language (CLDR: zero, one,
// two, few, many, other), with {n} for the number.
type counted map[string]string

// category names the plural category of a whole number.
func (t *texts) category(n int) string {
	switch plural.Cardinal.MatchPlural(t.tag, n, 0, 0, 0, 0) {
	case plural.Zero:
		return "zero"
	case plural.One:
		return "one"
	case plural.Two:
		return "two"
	case plural.Few:
		return "few"
	case plural.Many:
		return "many"
	default:
		return "other"
	}
}

func (t *texts) count(c counted, n int) string {
	return strings.ReplaceAll(c[t.category(n)], "{n}", strconv.Itoa(n))
}

// InWords is a length of time in its two largest units, rounded down to a
// minute.
func (t *texts) InWords(d time.Duration) string {
	units := []struct {
		length time.Duration
		text   counted
	}{{year, t.Years}, {day, t.Days}, {time.Hour, t.Hours}, {time.Minute, t.Minutes}}
	d = max(d, time.Minute)
	for i, u := range units {
		if d < u.length {
			continue
		}
		larger, rest := t.count(u.text, int(d/u.length)), d%u.length
		if i+1 == len(units) || rest < units[i+1].length {
			return larger
		}
		smaller := t.count(units[i+1].text, int(rest/units[i+1].length))
		return strings.NewReplacer("{larger}", larger, "{smaller}", smaller).Replace(t.Span)
	}
	return ""
}

// Ago is how long ago something was, or its date if that was over a week ago.
func (t *texts) Ago(now, then time.Time) string {
	switch d := now.Sub(then); {
	case d < time.Minute:
		return t.JustNow
	case d < time.Hour:
		return t.count(t.MinutesAgo, int(d/time.Minute))
	case d < day:
		return t.count(t.HoursAgo, int(d/time.Hour))
	case d <= 7*day:
		return t.count(t.DaysAgo, int(d/day))
	default:
		return t.date(t.Date, then)
	}
}

// A moment is when something was, for people and for machines.
type moment struct {
	Text  template.HTML
	Stamp string
}

// Moment fills in a text's {when}.
func (t *texts) Moment(text string, now, then time.Time) moment {
	return moment{fill(text, "when", t.Ago(now, then)), then.UTC().Format(time.RFC3339)}
}

// At is a moment as date and time.
func (t *texts) At(then time.Time) string { return t.date(t.DateTime, then) }

func (t *texts) date(pattern string, then time.Time) string {
	then = then.UTC()
	return strings.NewReplacer(
		"{day}", strconv.Itoa(then.Day()), "{month}", t.Months[then.Month()-1],
		"{year}", strconv.Itoa(then.Year()), "{time}", then.Format("15:04"),
	).Replace(pattern)
}
