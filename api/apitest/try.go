package apitest

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
)

// TryRefresh is Refresh of a confidential client where the server may be gone
// in the middle of it: the error says that there was no whole answer.
func (r *Replica) TryRefresh(ctx context.Context, c Client, token string) (Answer, error) {
	form := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {token}}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, r.URL+"/oauth2/token", strings.NewReader(form.Encode()))
	if err != nil {
		return Answer{}, fmt.Errorf("make a refresh: %w", err)
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	request.SetBasicAuth(c.ID, c.Secret)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return Answer{}, fmt.Errorf("refresh: %w", err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return Answer{}, fmt.Errorf("read the answer of a refresh: %w", err)
	}
	a := Answer{Status: response.StatusCode, Header: response.Header, Body: body}
	return a, json.Unmarshal(body, &a.JSON)
}
