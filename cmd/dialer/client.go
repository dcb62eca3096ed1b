package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// apiClient speaks to the API as any program of a user's would: the demo and
// the simulated agent use nothing that a user has not.
type apiClient struct {
	base, token string
	http        http.Client
}

func newAPIClient(addr, token string) *apiClient {
	return &apiClient{base: "http://" + addr, token: token, http: http.Client{Timeout: time.Minute}}
}

// call sends body (JSON, unless it is a reader) and reads the answer into out.
func (c *apiClient) call(ctx context.Context, method, path, contentType string, body, out any) error {
	var r io.Reader
	switch b := body.(type) {
	case nil:
	case io.Reader:
		r = b
	default:
		data, err := json.Marshal(b)
		if err != nil {
			return err
		}
		r, contentType = bytes.NewReader(data), "application/json"
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, r)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+c.token)
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, 64<<20))
	if err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	if resp.StatusCode >= 300 {
		return fmt.Errorf("%s %s: %s: %s", method, path, resp.Status, strings.TrimSpace(string(data)))
	}
	switch o := out.(type) {
	case nil:
		return nil
	case *string:
		*o = string(data)
		return nil
	default:
		return json.Unmarshal(data, out)
	}
}

func (c *apiClient) post(ctx context.Context, path string, body, out any) error {
	return c.call(ctx, http.MethodPost, path, "", body, out)
}

func (c *apiClient) get(ctx context.Context, path string, out any) error {
	return c.call(ctx, http.MethodGet, path, "", nil, out)
}

// logIn returns the session token of a user.
func logIn(ctx context.Context, addr, name, password string) (string, error) {
	var session struct {
		Token string `json:"token"`
	}
	err := newAPIClient(addr, "").post(ctx, "/v1/sessions", map[string]any{"name": name, "password": password}, &session)
	return session.Token, err
}
