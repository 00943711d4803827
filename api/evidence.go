package api

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/labstack/echo/v4"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/chancery-authority/chancery/api/rules"
	"github.com/chancery-authority/chancery/events/archive"
	"github.com/chancery-authority/chancery/events/tree"
	"github.com/chancery-authority/chancery/projector"
	"github.com/chancery-authority/chancery/projector/archiver"
)

// checkpointView is a checkpoint as it is told: Note is the signed note (C2SP
// tlog-checkpoint), which is all that counts.
type checkpointView struct {
	Stream string    `json:"stream"`
	Size   uint64    `json:"size"`
	Root   tlog.Hash `json:"root"`
	Note   string    `json:"note"`
}

// proofView is a proof of RFC 6962: that the message of a sequence is in the tree
// of a size (§2.1.1), or that a tree is the beginning of a larger one (§2.1.2).
type proofView struct {
	Stream string `json:"stream"`
	// Seq and Leaf are of a proof of inclusion, From of one of consistency.
	Seq  uint64     `json:"seq,omitempty"`
	Leaf *tlog.Hash `json:"leaf,omitempty"`
	From uint64     `json:"from,omitempty"`
	// Size is that of the tree, the larger one.
	Size uint64      `json:"size"`
	Root tlog.Hash   `json:"root"`
	Path []tlog.Hash `json:"path"`
	// Note is the newest checkpoint, if it is of this size.
	Note string `json:"note,omitempty"`
}

func (s *Server) newest(stream string) (tree.Checkpoint, []byte) {
	if s.parts.Newest == nil {
		return tree.Checkpoint{}, nil
	}
	return s.parts.Newest(stream)
}

// streamParam is the stream that is asked about.
func (s *Server) streamParam(c echo.Context) (string, error) {
	stream := c.Param("stream")
	if !slices.Contains(s.parts.Log.Streams(), stream) {
		return "", asError(&rules.Refusal{Reason: rules.NotFound, Parameter: "stream"})
	}
	return stream, nil
}

// signed is the newest checkpoint of the stream that is asked about.
func (s *Server) signed(c echo.Context) (tree.Checkpoint, []byte, error) {
	stream, err := s.streamParam(c)
	if err != nil {
		return tree.Checkpoint{}, nil, err
	}
	newest, text := s.newest(stream)
	if text == nil {
		return newest, nil, asError(&rules.Refusal{Reason: rules.NotFound, Parameter: "checkpoint"})
	}
	return newest, text, nil
}

func (s *Server) listCheckpoints(c echo.Context) error {
	views := []checkpointView{}
	for _, stream := range s.parts.Log.Streams() {
		if newest, text := s.newest(stream); text != nil {
			views = append(views, checkpointView{stream, newest.Size, newest.Root, string(text)})
		}
	}
	heads := map[string]uint64{}
	for _, stream := range s.parts.Log.Streams() {
		head, err := s.parts.Log.Head(c.Request().Context(), stream)
		if err != nil {
			return fmt.Errorf("read the head of %s: %w", stream, err)
		}
		heads[stream] = head.Seq
	}
	return c.JSON(http.StatusOK, map[string]any{"checkpoints": views, "heads": heads})
}

// showCheckpoint answers with the note as it is, for witnesses and monitors.
func (s *Server) showCheckpoint(c echo.Context) error {
	_, text, err := s.signed(c)
	if err != nil {
		return err
	}
	return c.Blob(http.StatusOK, "text/plain; charset=utf-8", text)
}

// sequences reads query parameters that are sequences, each of which may be left
// out for its default, and none of which may be above most.
func sequences(c echo.Context, most uint64, parameters map[string]*uint64) error {
	if refusal := checkQuery(c.Request()); refusal != nil {
		return asError(refusal)
	}
	query := c.QueryParams()
	if refusal := checkValues(query); refusal != nil {
		return asError(refusal)
	}
	for name, values := range query {
		to, ok := parameters[name]
		if !ok {
			return asError(&rules.Refusal{Reason: unknownMember, Parameter: known(name)})
		}
		v, err := strconv.ParseUint(values[0], 10, 63)
		if err != nil || v == 0 || v > most {
			return asError(&rules.Refusal{Reason: rules.BadParameter, Parameter: name})
		}
		*to = v
	}
	return nil
}

func (s *Server) proveInclusion(c echo.Context) error {
	newest, text, err := s.signed(c)
	if err != nil {
		return err
	}
	stream := newest.Stream()
	p := proofView{Stream: stream, Size: newest.Size}
	if err := sequences(c, newest.Size, map[string]*uint64{"seq": &p.Seq, "size": &p.Size}); err != nil {
		return err
	}
	if p.Seq == 0 || p.Seq > p.Size {
		return asError(&rules.Refusal{Reason: rules.BadParameter, Parameter: "seq"})
	}
	r := projector.HashReader(c.Request().Context(), s.parts.Reader, stream)
	leaf, err := r.ReadHashes([]int64{tlog.StoredHashIndex(0, tree.Index(p.Seq))})
	if err != nil {
		return fmt.Errorf("read leaf: %w", err)
	}
	p.Leaf = &leaf[0]
	if p.Path, err = tlog.ProveRecord(tree.Index(p.Size)+1, tree.Index(p.Seq), r); err != nil {
		return fmt.Errorf("prove inclusion: %w", err)
	}
	return s.answerProof(c, p, r, newest, text)
}

func (s *Server) proveConsistency(c echo.Context) error {
	newest, text, err := s.signed(c)
	if err != nil {
		return err
	}
	stream := newest.Stream()
	p := proofView{Stream: stream, Size: newest.Size}
	if err := sequences(c, newest.Size, map[string]*uint64{"from": &p.From, "size": &p.Size}); err != nil {
		return err
	}
	if p.From == 0 || p.From > p.Size {
		return asError(&rules.Refusal{Reason: rules.BadParameter, Parameter: "from"})
	}
	r := projector.HashReader(c.Request().Context(), s.parts.Reader, stream)
	if p.Path, err = tlog.ProveTree(tree.Index(p.Size)+1, tree.Index(p.From)+1, r); err != nil {
		return fmt.Errorf("prove consistency: %w", err)
	}
	return s.answerProof(c, p, r, newest, text)
}

// answerProof adds the root that the proof leads to.
func (s *Server) answerProof(c echo.Context, p proofView, r tlog.HashReader, newest tree.Checkpoint, text []byte) error {
	var err error
	if p.Root, err = tlog.TreeHash(tree.Index(p.Size)+1, r); err != nil {
		return fmt.Errorf("read root: %w", err)
	}
	if p.Size == newest.Size {
		p.Note = string(text)
	}
	if p.Path == nil {
		p.Path = []tlog.Hash{}
	}
	return c.JSON(http.StatusOK, p)
}

// sealedLog answers with a part of the log as it is sealed: with what proves it,
// every message whole, up to the newest checkpoint.
func (s *Server) sealedLog(c echo.Context) error {
	newest, text, err := s.signed(c)
	if err != nil {
		return err
	}
	first, last := uint64(1), newest.Size
	if err := sequences(c, newest.Size, map[string]*uint64{"first": &first, "last": &last}); err != nil {
		return err
	}
	if first > last {
		return asError(&rules.Refusal{Reason: rules.BadParameter, Parameter: "first"})
	}
	ctx := c.Request().Context()
	header, err := archive.NewHeader(projector.HashReader(ctx, s.parts.Reader, newest.Stream()), text, first, last)
	if err != nil {
		return fmt.Errorf("read what proves a part of the log: %w", err)
	}
	c.Response().Header().Set(echo.HeaderContentType, "application/x-ndjson")
	c.Response().WriteHeader(http.StatusOK)
	if err := s.writeLog(ctx, c, header); err != nil {
		if ctx.Err() == nil {
			s.log(c).Error("a part of the log was cut short", "stream", newest.Stream(), "error", err)
		}
		panic(http.ErrAbortHandler) // whoever reads it must not take it for whole
	}
	return nil
}

func (s *Server) writeLog(ctx context.Context, c echo.Context, header archive.Header) error {
	w, err := archive.NewWriter(patientWriter{c.Response()}, header)
	if err != nil {
		return err
	}
	if err := archiver.Fill(ctx, w, s.parts.Log, s.parts.Reader, header); err != nil {
		return err
	}
	return w.Close()
}

// A patientWriter gives the client time for each write of its own: the
// listener's is for answers that end.
type patientWriter struct{ to *echo.Response }

func (w patientWriter) Write(p []byte) (int, error) {
	if err := http.NewResponseController(w.to).SetWriteDeadline(time.Now().Add(eventWriteTimeout)); err != nil {
		return 0, fmt.Errorf("move the write deadline: %w", err)
	}
	return w.to.Write(p)
}
