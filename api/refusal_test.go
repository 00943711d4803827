package api

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"strconv"
	"strings"
	"testing"

	"github.com/chancery-authority/chancery/api/rules"
)

// TestEveryReasonHasAnAnswer reads the reasons from the source, so that one
// that is added without a row fails here and not as a server error.
func TestEveryReasonHasAnAnswer(t *testing.T) {
	t.Parallel()
	reasons := map[rules.Reason]bool{}
	for _, dir := range []string{".", "rules", "authority"} {
		for _, r := range declaredReasons(t, dir) {
			reasons[r] = true
			if _, ok := answers[r]; !ok {
				t.Errorf("%s has no row in the table", r)
			}
		}
	}
	for r := range answers {
		if !reasons[r] {
			t.Errorf("the row of %s has no reason", r)
		}
	}
}

func declaredReasons(t *testing.T, dir string) (found []rules.Reason) {
	t.Helper()
	packages, err := parser.ParseDir(token.NewFileSet(), dir, func(f fs.FileInfo) bool { //nolint:staticcheck // build tags do not matter here
		return !strings.HasSuffix(f.Name(), "_test.go")
	}, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range packages {
		ast.Inspect(p, func(n ast.Node) bool {
			spec, ok := n.(*ast.ValueSpec)
			if !ok || spec.Type == nil || !isReason(spec.Type) {
				return true
			}
			for _, v := range spec.Values {
				if lit, ok := v.(*ast.BasicLit); ok {
					text, _ := strconv.Unquote(lit.Value)
					found = append(found, rules.Reason(text))
				}
			}
			return true
		})
	}
	if len(found) == 0 {
		t.Fatalf("no reasons in %s", dir)
	}
	return found
}

func isReason(e ast.Expr) bool {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name == "Reason"
	case *ast.SelectorExpr:
		return e.Sel.Name == "Reason"
	}
	return false
}

func TestAnswersAreWellFormed(t *testing.T) {
	t.Parallel()
	for reason, a := range answers {
		// RFC 6749 §5.2: %x20-21 / %x23-5B / %x5D-7E.
		if a.description == "" || strings.ContainsFunc(a.description+a.code, func(r rune) bool {
			return r < 0x20 || r > 0x7e || r == '"' || r == '\\'
		}) {
			t.Errorf("%s: description %q", reason, a.description)
		}
		if a.status < 400 || a.loginStatus < 400 || a.code == "" || a.loginCode == "" {
			t.Errorf("%s: %+v", reason, a)
		}
		if a.status >= 500 && a.loginStatus != 418 {
			t.Errorf("%s: the server's fault is 418 in the Login API", reason)
		}
	}
}
