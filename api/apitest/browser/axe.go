//go:build browser

package browser

import (
	"os"
	"path/filepath"
)

// axePath is where npm puts axe-core, below the top folder.
const axePath = ".ci/axe/node_modules/axe-core/axe.min.js"

// runAxe runs every rule of WCAG 2.2 A and AA, and what is good practice, and
// tells what is violated where.
const runAxe = `axe.run({runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}).then(
	found => found.violations.flatMap(v => v.nodes.map(n => v.id + ": " + n.html + ": " + n.failureSummary)))`

// Axe checks the page's accessibility with axe-core and returns what it finds
// wrong. That it is not installed fails the test.
func (tab *Tab) Axe() []string {
	tab.t.Helper()
	script, err := os.ReadFile(filepath.Join(top(tab), axePath))
	if err != nil {
		tab.t.Fatalf("npm ci --prefix .ci/axe: %v", err)
	}
	// A policy does not hold for what a debugger evaluates.
	Eval[bool](tab, string(script)+"; true")
	return Eval[[]string](tab, runAxe)
}

// top is the folder of go.mod.
func top(tab *Tab) string {
	tab.t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		tab.t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		if dir == filepath.Dir(dir) {
			tab.t.Fatal("no go.mod above the test")
		}
		dir = filepath.Dir(dir)
	}
}
