package tree

import (
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// ErrCheckpoint is returned for a text that is no checkpoint, or none of a known
// key.
var ErrCheckpoint = errors.New("no checkpoint")

// A Checkpoint says what a stream was, up to a size, by the root of its tree. As
// text it is a C2SP tlog-checkpoint, a signed note.
type Checkpoint struct {
	// Origin names the stream for ever: the name of the key that signs, a slash,
	// and the stream.
	Origin string
	// Size is the last sequence that it covers.
	Size uint64
	Root tlog.Hash
}

// Stream is the last part of the origin.
func (c Checkpoint) Stream() string { return c.Origin[strings.LastIndexByte(c.Origin, '/')+1:] }

// text is what is signed.
func (c Checkpoint) text() string {
	return c.Origin + "\n" + strconv.FormatUint(c.Size, 10) + "\n" + c.Root.String() + "\n"
}

// Sign is the checkpoint of a stream as a signed note.
func Sign(key note.Signer, stream string, size uint64, root tlog.Hash) ([]byte, error) {
	c := Checkpoint{Origin: key.Name() + "/" + stream, Size: size, Root: root}
	signed, err := note.Sign(&note.Note{Text: c.text()}, key)
	if err != nil {
		return nil, fmt.Errorf("sign checkpoint of %s: %w", stream, err)
	}
	return signed, nil
}

// Open reads a checkpoint that one of the known keys has signed.
func Open(signed []byte, known note.Verifiers) (Checkpoint, error) {
	n, err := note.Open(signed, known)
	if err != nil {
		return Checkpoint{}, fmt.Errorf("%w: %w", ErrCheckpoint, err)
	}
	c, err := parse(n.Text)
	if err != nil {
		return c, err
	}
	for _, s := range n.Sigs { // the key of another log may be known, too
		if strings.TrimSuffix(c.Origin, "/"+c.Stream()) == s.Name {
			return c, nil
		}
	}
	return Checkpoint{}, fmt.Errorf("%w: the origin is not its signer's", ErrCheckpoint)
}

// Unverified reads a checkpoint without a look at its signatures, for who knows
// no key.
func Unverified(signed []byte) (Checkpoint, error) {
	text, _, ok := strings.Cut(string(signed), "\n\n")
	if !ok {
		return Checkpoint{}, fmt.Errorf("%w: no signature", ErrCheckpoint)
	}
	return parse(text + "\n")
}

// parse reads the text. Lines after the third are extensions.
func parse(text string) (Checkpoint, error) {
	lines := strings.SplitN(text, "\n", 4)
	if len(lines) < 4 || lines[0] == "" {
		return Checkpoint{}, fmt.Errorf("%w: it has no three lines", ErrCheckpoint)
	}
	size, err := strconv.ParseUint(lines[1], 10, 63)
	if err != nil || strconv.FormatUint(size, 10) != lines[1] {
		return Checkpoint{}, fmt.Errorf("%w: bad size", ErrCheckpoint)
	}
	root, err := tlog.ParseHash(lines[2])
	if err != nil {
		return Checkpoint{}, fmt.Errorf("%w: bad root", ErrCheckpoint)
	}
	return Checkpoint{Origin: lines[0], Size: size, Root: root}, nil
}

// NewKey makes a key that signs checkpoints, Ed25519 in the forms of signed
// notes. The name is to be the log's own in the world, such as
// "auth.example/log": it goes into every origin.
func NewKey(random io.Reader, name string) (private, public string, err error) {
	private, public, err = note.GenerateKey(random, name)
	if err == nil {
		_, err = note.NewVerifier(public) // it did not look at the name
	}
	if err != nil {
		return "", "", fmt.Errorf("make checkpoint key %.60q: %w", name, err)
	}
	return private, public, nil
}

// Known are public keys, each once however often it is named. An error tells
// which is none by its place, because it may be a private one.
func Known(keys ...string) (note.Verifiers, error) {
	seen := map[string]bool{}
	var all []note.Verifier
	for i, key := range keys {
		if seen[key] {
			continue
		}
		seen[key] = true
		v, err := note.NewVerifier(key)
		if err != nil {
			return nil, fmt.Errorf("key %d is no public key of checkpoints", i+1)
		}
		all = append(all, v)
	}
	return note.VerifierList(all...), nil
}

// PublicKey is the one that verifies what a private key signs.
func PublicKey(private string) (string, error) {
	// note.NewSigner checks it all, but does not tell the public half.
	if _, err := note.NewSigner(private); err != nil {
		return "", errors.New("not the private key of a signed note")
	}
	parts := strings.SplitN(private, "+", 5) // PRIVATE+KEY+name+hash+key
	key, err := base64.StdEncoding.DecodeString(parts[4])
	if err != nil || len(key) != 1+ed25519.SeedSize {
		return "", errors.New("not the private key of a signed note")
	}
	public, _ := ed25519.NewKeyFromSeed(key[1:]).Public().(ed25519.PublicKey)
	return note.NewEd25519VerifierKey(parts[2], public)
}
