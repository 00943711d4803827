package main

import (
	"cmp"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/chancery-authority/chancery/api/telemetry"
)

// release is the version that a build outside of a repository was told of.
var release string

// version is the module's version, with the revision where the build knows it.
func version() string {
	b := build()
	revision := b.Revision
	if revision != "" {
		revision = " " + revision
	}
	return fmt.Sprintf("chancery %s%s %s %s/%s", b.Version, revision, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}

// build is what the program was built from, as far as it knows.
func build() telemetry.Build {
	b := telemetry.Build{Version: cmp.Or(release, "devel")}
	if info, ok := debug.ReadBuildInfo(); ok {
		if info.Main.Version != "" && info.Main.Version != "(devel)" {
			b.Version = info.Main.Version
		}
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				b.Revision = s.Value
			}
		}
	}
	return b
}

type versionCmd struct{}

// Run prints the version.
func (versionCmd) Run(t terminal) error {
	_, err := fmt.Fprintln(t.out, version())
	return err
}
