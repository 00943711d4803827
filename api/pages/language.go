package pages

import (
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"strings"

	"golang.org/x/text/language"
)

// languages are all that the texts are written in, English first.
type languages struct {
	all     []*texts
	matcher language.Matcher
}

// readLanguages reads every file of texts; its name is the language.
func readLanguages() (languages, error) {
	entries, err := files.ReadDir("texts")
	if err != nil {
		return languages{}, fmt.Errorf("listing texts: %w", err)
	}
	var l languages
	for _, e := range entries {
		t, err := readTexts(e.Name())
		if err != nil {
			return languages{}, fmt.Errorf("reading %s: %w", e.Name(), err)
		}
		l.all = append(l.all, t)
		if t.tag == language.English {
			last := len(l.all) - 1
			l.all[0], l.all[last] = l.all[last], l.all[0]
		}
	}
	if len(l.all) == 0 || l.all[0].tag != language.English {
		return languages{}, errors.New("no English texts")
	}
	tags := make([]language.Tag, len(l.all))
	for i, t := range l.all {
		tags[i] = t.tag
	}
	l.matcher = language.NewMatcher(tags)
	return l, nil
}

func readTexts(name string) (*texts, error) {
	tag, err := language.Parse(strings.TrimSuffix(name, path.Ext(name)))
	if err != nil {
		return nil, fmt.Errorf("reading the language from the name: %w", err)
	}
	file, err := files.Open(path.Join("texts", name))
	if err != nil {
		return nil, fmt.Errorf("opening: %w", err)
	}
	defer func() { _ = file.Close() }()
	t := &texts{tag: tag}
	d := json.NewDecoder(file)
	d.DisallowUnknownFields()
	if err := d.Decode(t); err != nil {
		return nil, fmt.Errorf("decoding: %w", err)
	}
	return t, nil
}

// texts are those of the nearest language.
func (l languages) texts(tag language.Tag) *texts {
	_, i, _ := l.matcher.Match(tag)
	return l.all[i]
}

// maxLocales bounds how many of ui_locales are looked at.
const maxLocales = 16

// Match chooses the language of a person's pages: the first of ui_locales
// (OpenID Connect Core §3.1.2.1, separated by spaces) that there is, or else
// what Accept-Language (RFC 9110 §12.5.4) likes best, or else English.
func (r *Renderer) Match(uiLocales, acceptLanguage string) language.Tag {
	wishes := strings.Fields(uiLocales)
	wishes = append(wishes[:min(len(wishes), maxLocales)], acceptLanguage)
	_, i := language.MatchStrings(r.languages.matcher, wishes...)
	return r.languages.all[i].tag
}
