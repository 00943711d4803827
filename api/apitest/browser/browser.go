//go:build browser

// Package browser lets tests use pages as a person does, in a real Chromium. It
// reaches nothing but this machine, and notes whatever the browser complains
// about. Tests that use it have the build tag browser and are named TestBrowser….
package browser

import (
	"context"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// Screenshots is the environment variable that names the directory where
// screenshots are kept. Without it they are not.
const Screenshots = "CHANCERY_SCREENSHOTS"

// timeout bounds every step of a test.
const timeout = 30 * time.Second

// A Browser is one Chromium. Its tabs share no cookies.
type Browser struct{ ctx context.Context }

// Start starts a Chromium that ends with the test. Not to find one fails the
// test: what is not looked at is not known to work.
func Start(t *testing.T) *Browser {
	t.Helper()
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.NoSandbox, // it runs as root in containers, and sees only our pages
		chromedp.Flag("no-proxy-server", true),
		chromedp.Flag("host-resolver-rules", "MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost"),
		chromedp.Flag("disable-component-update", true),
	)
	allocator, end := chromedp.NewExecAllocator(context.Background(), options...)
	t.Cleanup(end)
	ctx, end := chromedp.NewContext(allocator)
	t.Cleanup(end)
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("starting Chromium (Debian: apt-get install chromium): %v", err)
	}
	return &Browser{ctx}
}

// A Tab is one page of a person who has no cookies yet.
type Tab struct {
	t   *testing.T
	ctx context.Context

	mu         sync.Mutex
	complaints []string
	requests   []string
}

// Open opens an empty tab with cookies of its own.
func (b *Browser) Open(t *testing.T) *Tab {
	t.Helper()
	tab := &Tab{t: t}
	ctx, end := chromedp.NewContext(b.ctx, chromedp.WithNewBrowserContext(), chromedp.WithListener(tab.note))
	t.Cleanup(end)
	tab.ctx = ctx
	// What first runs in a tab opens it, and must not be bound to a timeout.
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("opening a tab: %v", err)
	}
	return tab
}

// note keeps what the page asks for, and what it does wrong: errors of scripts
// and on the console, and what its policy blocked.
func (tab *Tab) note(event any) {
	tab.mu.Lock()
	defer tab.mu.Unlock()
	switch e := event.(type) {
	case *network.EventRequestWillBeSent:
		tab.requests = append(tab.requests, e.Request.URL)
	case *log.EventEntryAdded:
		if e.Entry.Level == log.EntryLevelError || e.Entry.Level == log.EntryLevelWarning {
			tab.complaints = append(tab.complaints, string(e.Entry.Source)+": "+e.Entry.Text+" "+e.Entry.URL)
		}
	case *runtime.EventExceptionThrown:
		tab.complaints = append(tab.complaints, "exception: "+e.ExceptionDetails.Text)
	case *runtime.EventConsoleAPICalled:
		tab.complaints = append(tab.complaints, "console: "+string(e.Type))
	}
}

// Complaints are what the browser has complained about since the last time it
// was asked: errors of scripts, on the console, of the page's policy and of
// answers over 399.
func (tab *Tab) Complaints() []string {
	tab.mu.Lock()
	defer tab.mu.Unlock()
	found := tab.complaints
	tab.complaints = nil
	return found
}

// Requests are the addresses that were asked for since the last time, in order.
func (tab *Tab) Requests() []string {
	tab.mu.Lock()
	defer tab.mu.Unlock()
	found := tab.requests
	tab.requests = nil
	return found
}

// Do runs actions of chromedp, for what has no method here.
func (tab *Tab) Do(actions ...chromedp.Action[chromedp.Void]) {
	tab.t.Helper()
	ctx, end := context.WithTimeout(tab.ctx, timeout)
	defer end()
	if err := chromedp.Do(ctx, actions...); err != nil {
		tab.t.Fatalf("in the browser: %v", err)
	}
}

// Get runs an action of chromedp that has a result.
func Get[T any](tab *Tab, action chromedp.Action[T]) T {
	tab.t.Helper()
	ctx, end := context.WithTimeout(tab.ctx, timeout)
	defer end()
	result, err := chromedp.Run(ctx, action)
	if err != nil {
		tab.t.Fatalf("in the browser: %v", err)
	}
	return result
}

// call runs a command of the DevTools protocol.
func call[P, R any](tab *Tab, command cdp.Command[P, R], params P) {
	tab.t.Helper()
	ctx, end := context.WithTimeout(tab.ctx, timeout)
	defer end()
	if _, err := chromedp.Call(ctx, command, params); err != nil {
		tab.t.Fatalf("in the browser: %v", err)
	}
}

// View sets the size of the window in CSS pixels and whether dark colors are
// liked better.
func (tab *Tab) View(width, height int64, dark bool) {
	tab.t.Helper()
	scheme := "light"
	if dark {
		scheme = "dark"
	}
	tab.Do(chromedp.EmulateViewport(width, height))
	call(tab, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
	})
}

// WithoutScripts turns JavaScript off, or on again.
func (tab *Tab) WithoutScripts(off bool) {
	tab.t.Helper()
	call(tab, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: off})
}

// Goto opens an address and waits for its page.
func (tab *Tab) Goto(url string) {
	tab.t.Helper()
	tab.Do(chromedp.Navigate(url))
}

// Fill replaces what is in the field that a CSS selector finds, by typing.
func (tab *Tab) Fill(selector, text string) {
	tab.t.Helper()
	tab.Do(chromedp.Clear(chromedp.CSS(selector)), chromedp.SendKeys(chromedp.CSS(selector), text))
}

// Click clicks what a CSS selector finds, and waits for the page it leads to.
func (tab *Tab) Click(selector string) {
	tab.t.Helper()
	tab.leave(chromedp.Click(chromedp.CSS(selector)))
}

// Press types keys where the focus is, as those of package kb, and waits for
// the page that leads to.
func (tab *Tab) Press(keys string) {
	tab.t.Helper()
	tab.leave(chromedp.KeyEvent(keys))
}

// Type types keys where the focus is and stays on the page.
func (tab *Tab) Type(keys string) {
	tab.t.Helper()
	tab.Do(chromedp.KeyEvent(keys))
}

func (tab *Tab) leave(action chromedp.Action[chromedp.Void]) {
	tab.t.Helper()
	ctx, end := context.WithTimeout(tab.ctx, timeout)
	defer end()
	if _, err := chromedp.RunResponse(ctx, action); err != nil {
		tab.t.Fatalf("leaving a page: %v", err)
	}
}

// Await waits until a CSS selector finds something. Await :focus before typing
// where a page sets the focus: browsers do that a moment after loading.
func (tab *Tab) Await(selector string) {
	tab.t.Helper()
	tab.Do(chromedp.WaitReady(chromedp.CSS(selector)))
}

// Text is the text of what a CSS selector finds.
func (tab *Tab) Text(selector string) string {
	tab.t.Helper()
	return Get(tab, chromedp.Text(chromedp.CSS(selector)))
}

// URL is the address of the page.
func (tab *Tab) URL() string {
	tab.t.Helper()
	return Get(tab, chromedp.Location())
}

// Eval evaluates a JavaScript expression, and waits if it is a promise.
func Eval[T any](tab *Tab, expression string) T {
	tab.t.Helper()
	return Get(tab, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
}

// Screenshot keeps a picture of the whole page as NAME.png.
func (tab *Tab) Screenshot(name string) {
	tab.t.Helper()
	dir := os.Getenv(Screenshots)
	if dir == "" {
		return
	}
	png := Get(tab, chromedp.FullScreenshot(100))
	if err := os.MkdirAll(dir, 0o750); err != nil { //nolint:gosec // who runs the tests names it
		tab.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, name+".png"), png, 0o600); err != nil { //nolint:gosec // who runs the tests names it
		tab.t.Fatal(err)
	}
}
