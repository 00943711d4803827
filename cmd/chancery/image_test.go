//go:build image

package main

import (
	"debug/buildinfo"
	"debug/elf"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
)

// TestImage builds the program as the Dockerfile does: it needs nothing of the
// image that it is alone in. With CHANCERY_TEST_ARCHS it does so for other
// architectures than this one.
func TestImage(t *testing.T) {
	joined := strings.ReplaceAll(string(readRoot(t, "cmd/chancery/Dockerfile")), "\\\n", " ")
	m := regexp.MustCompile(`(?m)^RUN --mount.* (CGO_ENABLED=0 .*go build .*)$`).FindStringSubmatch(joined)
	if m == nil {
		t.Fatal("the Dockerfile builds nothing")
	}
	archs := strings.Fields(os.Getenv("CHANCERY_TEST_ARCHS"))
	if len(archs) == 0 {
		archs = []string{runtime.GOARCH}
	}
	for _, arch := range archs {
		binary := filepath.Join(t.TempDir(), "chancery")
		build := exec.CommandContext(t.Context(), "sh", "-c", strings.ReplaceAll(m[1], "/image/chancery", binary))
		build.Dir = root
		build.Env = append(os.Environ(), "TARGETOS=linux", "TARGETARCH="+arch, "VERSION=v1.2.3")
		if out, err := build.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", arch, err, out)
		}
		checkStatic(t, binary, arch)
	}
}

func checkStatic(t *testing.T, binary, arch string) {
	t.Helper()
	f, err := elf.Open(binary)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if slices.ContainsFunc(f.Progs, func(p *elf.Prog) bool { return p.Type == elf.PT_INTERP }) {
		t.Errorf("%s: it needs a dynamic linker", arch)
	}
	if libraries, err := f.ImportedLibraries(); err != nil || len(libraries) > 0 {
		t.Errorf("%s: it needs %v %v", arch, libraries, err)
	}
	if machine := map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}[arch]; f.Machine != machine {
		t.Errorf("%s: it is for %v", arch, f.Machine)
	}
	info, err := buildinfo.ReadFile(binary)
	if err != nil {
		t.Fatal(err)
	}
	if trimmed := slices.ContainsFunc(info.Settings, func(s debug.BuildSetting) bool { return s.Key == "-trimpath" && s.Value == "true" }); !trimmed {
		t.Errorf("%s: it says where it was built", arch)
	}
	if arch == runtime.GOARCH {
		out, err := exec.CommandContext(t.Context(), binary, "version").CombinedOutput()
		if err != nil || !strings.HasPrefix(string(out), "chancery v1.2.3 ") {
			t.Errorf("%v: %s", err, out)
		}
	}
}
