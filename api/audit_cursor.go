package api

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
)

// A cursor is where a page ended in every stream, sealed for the filter it came
// of: it tells nothing, and a changed one, or one of another filter, does not
// open. It lasts as long as the key that sealed it.

func (s *Server) sealCursor(f auditFilter, places map[string]uint64) (string, error) {
	filter, place, err := cursorParts(f, places)
	if err != nil {
		return "", err
	}
	return base64.RawURLEncoding.EncodeToString(s.cursors.Seal(place, filter)), nil
}

func (s *Server) openCursor(f auditFilter, cursor string) (places map[string]uint64, err error) {
	filter, _, err := cursorParts(f, nil)
	if err != nil {
		return nil, err
	}
	sealed, err := base64.RawURLEncoding.Strict().DecodeString(cursor)
	if err != nil {
		return nil, fmt.Errorf("open cursor: %w", err)
	}
	place, err := s.cursors.Open(sealed, filter)
	if err != nil {
		return nil, fmt.Errorf("open cursor: %w", err)
	}
	return places, json.Unmarshal(place, &places)
}

func cursorParts(f auditFilter, places map[string]uint64) (filter, place []byte, err error) {
	if filter, err = json.Marshal(f); err != nil {
		return nil, nil, fmt.Errorf("encode filter: %w", err)
	}
	if place, err = json.Marshal(places); err != nil {
		return nil, nil, fmt.Errorf("encode places: %w", err)
	}
	return filter, place, nil
}
