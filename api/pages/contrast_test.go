package pages

import (
	"math"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

var property = regexp.MustCompile(`--([a-z-]+): (#[0-9a-f]{6});`)

// colors are the custom properties of a part of the stylesheet.
func colors(style string) map[string]string {
	found := map[string]string{}
	for _, m := range property.FindAllStringSubmatch(style, -1) {
		found[m[1]] = m[2]
	}
	return found
}

// luminance is WCAG 2.2's relative luminance.
func luminance(t *testing.T, color string) float64 {
	t.Helper()
	if len(color) != 7 {
		t.Fatalf("%q is not a color", color)
	}
	sum := 0.0
	for i, weight := range []float64{.2126, .7152, .0722} {
		part, err := strconv.ParseUint(color[1+2*i:3+2*i], 16, 8)
		if err != nil {
			t.Fatal(err)
		}
		c := float64(part) / 255
		if c <= .04045 {
			c /= 12.92
		} else {
			c = math.Pow((c+.055)/1.055, 2.4)
		}
		sum += weight * c
	}
	return sum
}

// TestContrast is WCAG 2.2 §1.4.3 (4.5 for text) and §1.4.11 (3 for the edges of
// controls and the focus), of both color schemes.
func TestContrast(t *testing.T) {
	style, err := files.ReadFile("style.css")
	if err != nil {
		t.Fatal(err)
	}
	light, rest, found := strings.Cut(string(style), "@media (prefers-color-scheme: dark)")
	dark, _, closed := strings.Cut(rest, "@media")
	if !found || !closed {
		t.Fatal("the stylesheet has no dark colors")
	}
	pairs := []struct {
		over, under string
		least       float64
	}{
		{"ink", "sheet", 4.5},
		{"ink", "desk", 4.5},
		{"ink", "mark", 4.5},
		{"ink", "alarm-ground", 4.5},
		{"faint", "sheet", 4.5},
		{"alarm", "sheet", 4.5},
		{"alarm", "alarm-ground", 4.5},
		{"on-act", "act", 4.5},
		{"on-act", "act-over", 4.5},
		{"on-wax", "wax", 4.5},
		{"line", "sheet", 3},
		{"alarm", "sheet", 3},
		{"focus", "sheet", 3},
		{"act", "sheet", 3},
		{"act", "mark", 3},
	}
	for scheme, c := range map[string]map[string]string{"light": colors(light), "dark": colors(dark)} {
		for _, p := range pairs {
			a, b := luminance(t, c[p.over]), luminance(t, c[p.under])
			if ratio := (max(a, b) + .05) / (min(a, b) + .05); ratio < p.least {
				t.Errorf("%s: %s on %s has a contrast of %.2f, less than %.1f", scheme, p.over, p.under, ratio, p.least)
			}
		}
	}
}
