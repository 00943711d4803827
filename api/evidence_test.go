package api_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"testing"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/chancery-authority/chancery/api/apitest"
	"github.com/chancery-authority/chancery/events/archive"
	"github.com/chancery-authority/chancery/events/embedded/embeddedtest"
	"github.com/chancery-authority/chancery/events/tree"
)

// proof is the admin API's.
type proof struct {
	Seq, From, Size int64
	Leaf, Root      tlog.Hash
	Path            []tlog.Hash
	Note            string
}

func knownKeys(t *testing.T) note.Verifiers {
	t.Helper()
	public, err := tree.PublicKey(apitest.CheckpointKey)
	if err != nil {
		t.Fatal(err)
	}
	verifier, err := note.NewVerifier(public)
	if err != nil {
		t.Fatal(err)
	}
	return note.VerifierList(verifier)
}

func prove(t *testing.T, r *apitest.Replica, what string) (p proof) {
	t.Helper()
	answer := wantOK(t, r.Admin(t, http.MethodGet, "/proofs/MAIN_EVENTS_0/"+what, nil))
	if err := json.Unmarshal(answer.Body, &p); err != nil {
		t.Fatal(err)
	}
	return p
}

// TestProofs verifies every proof of a log that grows, knowing nothing but the
// public key.
func TestProofs(t *testing.T) {
	t.Parallel()
	r, known := apitest.Single(t, apitest.Options{}), knownKeys(t)
	var checkpoints []tree.Checkpoint
	for range 3 {
		r.Tokens(t, apitest.DemoWeb, "read offline_access")
		var size uint64
		embeddedtest.Eventually(t, "a checkpoint of all there is", func() bool {
			head, err := r.Log.Head(t.Context(), "MAIN_EVENTS_0")
			if err != nil {
				t.Fatal(err)
			}
			answer := r.Admin(t, http.MethodGet, "/checkpoints/MAIN_EVENTS_0", nil)
			c, err := tree.Open(answer.Body, known)
			size = c.Size
			if answer.Status == http.StatusOK && err == nil && c.Size >= head.Seq-1 { // ticks come in between
				checkpoints = append(checkpoints, c)
				return true
			}
			return false
		})
		for seq := uint64(1); seq <= size; seq++ {
			p := prove(t, r, fmt.Sprintf("inclusion?seq=%d&size=%d", seq, size))
			event := wantOK(t, r.Admin(t, http.MethodGet, fmt.Sprintf("/log/MAIN_EVENTS_0?first=%d&last=%d", seq, seq), nil))
			reader, err := archive.NewReader(bytes.NewReader(event.Body))
			if err != nil {
				t.Fatal(err)
			}
			line, err := reader.Next()
			if err != nil || line.Hash() != p.Leaf {
				t.Fatalf("sequence %d: its leaf is %v: %v", seq, p.Leaf, err)
			}
			if err := tlog.CheckRecord(p.Path, int64(size), checkpoints[len(checkpoints)-1].Root, int64(seq)-1, p.Leaf); err != nil {
				t.Errorf("sequence %d in %d: %v", seq, size, err)
			}
		}
	}
	last := checkpoints[len(checkpoints)-1]
	for _, c := range checkpoints {
		p := prove(t, r, fmt.Sprintf("consistency?from=%d&size=%d", c.Size, last.Size))
		if err := tlog.CheckTree(p.Path, int64(last.Size), last.Root, int64(c.Size), c.Root); err != nil {
			t.Errorf("%d in %d: %v", c.Size, last.Size, err)
		}
	}
	whole := wantOK(t, r.Admin(t, http.MethodGet, "/log/MAIN_EVENTS_0", nil))
	v, err := archive.Verify(bytes.NewReader(whole.Body), archive.Expected{Known: known, Checkpoints: checkpoints}, nil)
	if err != nil || v.Header.First != 1 || v.Header.Last != v.Checkpoint.Size {
		t.Errorf("%+v: %v", v.Header, err)
	}
}

// TestProofsThatAreNot asks for what there is no proof of.
func TestProofsThatAreNot(t *testing.T) {
	t.Parallel()
	r := apitest.Single(t, apitest.Options{})
	embeddedtest.Eventually(t, "a checkpoint", func() bool {
		return r.Admin(t, http.MethodGet, "/checkpoints/MAIN_REGISTRY", nil).Status == http.StatusOK
	})
	for path, want := range map[string]int{
		"/proofs/MAIN_REGISTRY/inclusion":                    http.StatusBadRequest,
		"/proofs/MAIN_REGISTRY/inclusion?seq=0":              http.StatusBadRequest,
		"/proofs/MAIN_REGISTRY/inclusion?seq=x":              http.StatusBadRequest,
		"/proofs/MAIN_REGISTRY/inclusion?seq=2&size=1":       http.StatusBadRequest,
		"/proofs/MAIN_REGISTRY/inclusion?seq=1&seq=1":        http.StatusBadRequest,
		"/proofs/MAIN_REGISTRY/inclusion?seq=1&sise=1":       http.StatusBadRequest,
		"/proofs/MAIN_REGISTRY/inclusion?seq=-1":             http.StatusBadRequest,
		"/proofs/MAIN_REGISTRY/consistency?from=3&size=2":    http.StatusBadRequest,
		"/proofs/MAIN_REGISTRY/consistency":                  http.StatusBadRequest,
		"/log/MAIN_REGISTRY?first=3&last=2":                  http.StatusBadRequest,
		"/log/MAIN_REGISTRY?last=99999":                      http.StatusBadRequest,
		"/log/KV_MAIN_SECRETS":                               http.StatusNotFound,
		"/checkpoints/KV_MAIN_SECRETS":                       http.StatusNotFound,
		"/proofs/MAIN_EVENTS_7/inclusion?seq=1":              http.StatusNotFound,
		"/proofs/MAIN_REGISTRY/inclusion?seq=1&size=1":       http.StatusOK,
		"/proofs/MAIN_REGISTRY/consistency?from=1":           http.StatusOK,
		"/proofs/MAIN_REGISTRY/consistency?from=1&size=1":    http.StatusOK,
		"/log/MAIN_REGISTRY?first=1&last=1":                  http.StatusOK,
		"/proofs/MAIN_REGISTRY/inclusion?seq=99999999999999": http.StatusBadRequest,
	} {
		if a := r.Admin(t, http.MethodGet, path, nil); a.Status != want {
			t.Errorf("%s: %d %s, want %d", path, a.Status, a.Body, want)
		}
	}
}
