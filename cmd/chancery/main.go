// Command chancery is a token authority that runs on its log: the server in
// its roles, and the commands that administer one.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kong"
)

// Exit statuses.
const (
	exitOK      = 0
	exitFailure = 1
	exitUsage   = 2
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// The first signal drains. With the handler gone, a second one kills.
	context.AfterFunc(ctx, stop)
	os.Exit(run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// run is the program: arguments in, exit status out. Results go to stdout,
// everything else to stderr.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	var c cli
	exited := false
	set := newSettings(os.Getenv)
	parser, err := newParser(&c, set, stdout, stderr, func(int) { exited = true })
	if err != nil {
		return fail(stderr, err)
	}
	kctx, err := parser.Parse(args)
	if exited { // after --help or --version
		return exitOK
	}
	if err != nil {
		return usage(stderr, err)
	}
	kctx.BindTo(ctx, (*context.Context)(nil))
	if err := kctx.Run(set, terminal{in: stdin, out: stdout, err: stderr}); err != nil {
		return fail(stderr, err)
	}
	return exitOK
}

// terminal is where a command reads, and writes: results to out, the log to err.
type terminal struct {
	in       io.Reader
	out, err io.Writer
}

func fail(stderr io.Writer, err error) int {
	_, _ = fmt.Fprintf(stderr, "chancery: %v\n", err)
	return exitFailure
}

func usage(stderr io.Writer, err error) int {
	fail(stderr, err)
	command := "chancery"
	if parse := (*kong.ParseError)(nil); errors.As(err, &parse) && parse.Context.Selected() != nil {
		command = parse.Context.Selected().FullPath()
	}
	_, _ = fmt.Fprintf(stderr, "Run %q for help.\n", command+" --help")
	return exitUsage
}
