package pages

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/text/language"
)

func allTexts(t *testing.T) []*texts {
	t.Helper()
	l, err := readLanguages()
	if err != nil {
		t.Fatal(err)
	}
	return l.all
}

// flat is every text of a language by a path to it.
func flat(v reflect.Value, path string, into map[string]string) {
	switch v.Kind() {
	case reflect.String:
		into[path] = v.String()
	case reflect.Struct:
		for i := range v.NumField() {
			if f := v.Type().Field(i); f.IsExported() {
				flat(v.Field(i), path+"."+f.Name, into)
			}
		}
	case reflect.Map:
		if v.Type() == reflect.TypeFor[counted]() {
			// Which categories there are is the language's; other is in all.
			into[path] = v.MapIndex(reflect.ValueOf("other")).String()
			return
		}
		for _, k := range v.MapKeys() {
			flat(v.MapIndex(k), path+"."+k.String(), into)
		}
	case reflect.Slice:
		for i := range v.Len() {
			flat(v.Index(i), path+"."+strconv.Itoa(i), into)
		}
	}
}

var placeholder = regexp.MustCompile(`\{\w+\}`)

// placeholders are those of a text, in order of the alphabet.
func placeholders(text string) []string {
	return slices.Sorted(slices.Values(placeholder.FindAllString(text, -1)))
}

func TestEveryLanguageHasEveryKey(t *testing.T) {
	all := allTexts(t)
	if len(all) < 2 {
		t.Fatalf("%d languages", len(all))
	}
	english := map[string]string{}
	flat(reflect.ValueOf(*all[0]), "", english)
	for _, other := range all {
		keys := map[string]string{}
		flat(reflect.ValueOf(*other), "", keys)
		for key, text := range english {
			// Back is for what a person has to go back for.
			if strings.TrimSpace(keys[key]) == "" && (text != "" || !strings.HasSuffix(key, ".Back")) {
				t.Errorf("%s: no %s", other.tag, key)
			}
			if !slices.Equal(placeholders(keys[key]), placeholders(text)) {
				t.Errorf("%s: %s has %q, English %q", other.tag, key, placeholders(keys[key]), placeholders(text))
			}
		}
		for key := range keys {
			if _, ok := english[key]; !ok {
				t.Errorf("%s: %s is not in English", other.tag, key)
			}
		}
		if len(other.Months) != 12 {
			t.Errorf("%s: %d months", other.tag, len(other.Months))
		}
	}
}

func TestEveryLanguageCanCount(t *testing.T) {
	for _, l := range allTexts(t) {
		for i, c := range []counted{l.Minutes, l.Hours, l.Days, l.Years, l.MinutesAgo, l.HoursAgo, l.DaysAgo} {
			for n := range 400 {
				if !strings.Contains(l.count(c, n), strconv.Itoa(n)) {
					t.Fatalf("%s: unit %d has no text for %d (%s)", l.tag, i, n, l.category(n))
				}
			}
		}
	}
}

// TestEveryReasonHasWords looks the constants up in the source, so that a new
// one cannot be forgotten.
func TestEveryReasonHasWords(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "problem.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	constants := map[string][]string{}
	ast.Inspect(file, func(n ast.Node) bool {
		if spec, ok := n.(*ast.ValueSpec); ok {
			text, _ := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
			kind := spec.Type.(*ast.Ident).Name
			constants[kind] = append(constants[kind], text)
		}
		return true
	})
	for _, l := range allTexts(t) {
		have := map[string][]string{
			"Problem": texted(l.Problems), "Failure": texted(l.Failures), "Notice": texted(l.Notices),
		}
		for kind, keys := range have {
			slices.Sort(constants[kind])
			if !slices.Equal(keys, constants[kind]) {
				t.Errorf("%s: words for %q, constants of %s %q", l.tag, keys, kind, constants[kind])
			}
		}
	}
}

func texted[K ~string, V any](m map[K]V) []string {
	var keys []string
	for k := range maps.Keys(m) {
		keys = append(keys, string(k))
	}
	slices.Sort(keys)
	return keys
}

func TestEveryKeyIsUsed(t *testing.T) {
	var used strings.Builder
	for _, pattern := range []string{"*.go", "templates/*.html"} {
		names, err := fs.Glob(os.DirFS("."), pattern)
		if err != nil || len(names) == 0 {
			t.Fatalf("%s: %v", pattern, err)
		}
		for _, name := range names {
			if name == "texts.go" && pattern == "*.go" || strings.HasSuffix(name, "_test.go") {
				continue
			}
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			used.Write(text)
		}
	}
	// What texts.go looks up in maps is used by these methods.
	through := map[string]string{"Problems": "T.Problem ", "Failures": "T.Failure ", "Notices": "T.Notice ", "Scopes": "T.Scope "}
	kind := reflect.TypeFor[texts]()
	for field := range kind.Fields() {
		name := field.Name
		if !field.IsExported() {
			continue
		}
		use := regexp.MustCompile(`\b[tT]\.` + name + `\b`)
		if by, ok := through[name]; ok {
			use = regexp.MustCompile(regexp.QuoteMeta(by))
		}
		if !use.MatchString(used.String()) {
			t.Errorf("%s is not used", name)
		}
	}
}

func TestInWords(t *testing.T) {
	all := allTexts(t)
	english, german := all[0], all[1]
	if german.tag != language.German {
		t.Fatalf("the second language is %s", german.tag)
	}
	for _, test := range []struct {
		d       time.Duration
		en, de  string
		ago, vo string
	}{
		{time.Second, "1 minute", "1 Minute", "just now", "gerade eben"},
		{time.Minute, "1 minute", "1 Minute", "1 minute ago", "vor 1 Minute"},
		{59 * time.Minute, "59 minutes", "59 Minuten", "59 minutes ago", "vor 59 Minuten"},
		{90 * time.Minute, "1 hour and 30 minutes", "1 Stunde und 30 Minuten", "1 hour ago", "vor 1 Stunde"},
		{day + time.Minute, "1 day", "1 Tag", "1 day ago", "vor 1 Tag"},
		{7 * day, "7 days", "7 Tage", "7 days ago", "vor 7 Tagen"},
		{30 * day, "30 days", "30 Tage", "10 February 2026", "10. Februar 2026"},
		{year + day, "1 year and 1 day", "1 Jahr und 1 Tag", "11 March 2025", "11. März 2025"},
	} {
		now := time.Date(2026, 3, 12, 14, 5, 0, 0, time.UTC)
		then := now.Add(-test.d).In(time.FixedZone("elsewhere", -3600))
		got := []string{english.InWords(test.d), german.InWords(test.d), english.Ago(now, then), german.Ago(now, then)}
		if want := []string{test.en, test.de, test.ago, test.vo}; !slices.Equal(got, want) {
			t.Errorf("%s is %q, want %q", test.d, got, want)
		}
	}
	if got := german.At(time.Date(2026, 3, 2, 4, 5, 0, 0, time.UTC)); got != "2. März 2026, 04:05 Uhr UTC" {
		t.Errorf("a moment is %q", got)
	}
}

func TestAgents(t *testing.T) {
	english := allTexts(t)[0]
	for sent, want := range map[string]string{
		"": "Unknown browser",
		"Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0":                                                               "Firefox on Linux",
		"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/148.0.0.0 Safari/537.36":                      "Chrome on Windows",
		"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/148.0.0.0 Safari/537.36 Edg/148.0":            "Edge on Windows",
		"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/19.0 Safari/605.1.15":                "Safari on macOS",
		"Mozilla/5.0 (iPhone; CPU iPhone OS 19_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) CriOS/148.0 Mobile/15E148 Safari/604": "Chrome on iPhone",
		"Mozilla/5.0 (Linux; Android 16) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/148.0 Mobile Safari/537.36":                             "Chrome on Android",
		"Safari/1":               "Safari",
		"curl/8.14.1":            "curl/8.14.1",
		strings.Repeat("ä", 100): strings.Repeat("ä", 60) + "…",
	} {
		if got := english.Agent(sent); got != want {
			t.Errorf("%q is %q, want %q", sent, got, want)
		}
	}
}

func TestDestinations(t *testing.T) {
	for uri, want := range map[string]string{
		"https://app.example/callback?x=1": "app.example", "https://app.example:8443/": "app.example:8443",
		"http://127.0.0.1:9999/callback": "", "http://[::1]:9999/": "", "http://localhost/": "",
		"com.example.app:/callback": "com.example.app", "https://127.0.0.1.example/": "127.0.0.1.example",
		"https://app.example@evil.example/": "evil.example", "https://[broken": "https://[broken",
	} {
		if got := (Consent{RedirectURI: uri}).Destination(); got != want {
			t.Errorf("%s leads to %q, want %q", uri, got, want)
		}
	}
}
