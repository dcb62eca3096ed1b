package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"dialer"
	"dialer/api"
)

// upload posts a file as it is and returns the status and body of the answer.
func (r *rig) upload(list dialer.ListID, body io.Reader) (status int, contentType string, answer []byte) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), 2*time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+r.http+"/v1/lists/"+string(list)+"/imports", body)
	if err != nil {
		r.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+r.token)
	req.Header.Set("Content-Type", "text/csv")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	answer, err = io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		r.t.Fatal(err)
	}
	return resp.StatusCode, resp.Header.Get("Content-Type"), answer
}

// refused checks that an upload was refused with a reason and left nothing.
func (r *rig) refused(list dialer.ListID, status int, contentType string, answer []byte) {
	r.t.Helper()
	var p api.Problem
	if err := json.Unmarshal(answer, &p); err != nil || status < 400 || status >= 500 || contentType != "application/problem+json" || len(p.Detail) < 10 || p.Code == "" {
		r.t.Errorf("answered %d, %s: %.300s; want a problem that says what is wrong", status, contentType, answer)
	}
	if leads := all[api.LeadView](r, "/v1/lists/"+string(list)+"/leads"); len(leads) > 0 {
		r.t.Errorf("a refused file left %d leads behind", len(leads))
	}
}

// TestE2EImport uploads what managers upload, and what they should not.
func TestE2EImport(t *testing.T) {
	if testing.Short() {
		t.Skip("takes twenty seconds")
	}
	t.Parallel()
	r := newRig(t, "info")
	id, big := r.campaign("imports", r.trunk("nowhere", "127.0.0.1:9"), nil)
	list := func(r *rig) dialer.ListID {
		var l api.ListView
		r.post("/v1/lists", map[string]any{"campaign_id": id, "name": r.t.Name()}, &l)
		return l.ID
	}

	t.Run("100,000 rows", func(t *testing.T) {
		r := r.of(t)
		const rows = 100_000
		before, began := r.vmHWM(), time.Now()
		body, w := io.Pipe()
		go func() {
			fmt.Fprintln(w, "Phone,First name,Last name,Customer no")
			var b bytes.Buffer
			for i := range rows {
				fmt.Fprintf(&b, "(212) %03d-%04d,Ada,Example,C-%06d\n", 200+i/10_000, i%10_000, i)
				if b.Len() > 1<<16 || i == rows-1 {
					w.Write(b.Bytes())
					b.Reset()
				}
			}
			w.Close()
		}()
		status, _, answer := r.upload(big, body)
		var got api.ImportView
		if err := json.Unmarshal(answer, &got); err != nil || status != http.StatusCreated || got.Created != rows || got.Rows != rows {
			t.Fatalf("answered %d: %.500s; want %d leads created", status, answer, rows)
		}
		took, grown := time.Since(began), r.vmHWM()-before
		t.Logf("%d rows in %v, %.0f/s; the dialer's memory grew by %d MB to %d MB", rows, took.Round(time.Millisecond), rows/took.Seconds(), grown>>20, (before+grown)>>20)
		if grown > 100<<20 {
			t.Errorf("the dialer's memory grew by %d MB; want 100 at most", grown>>20)
		}
	})

	head := "Phone,Name\n+12124567890,Ada\n"
	for name, file := range map[string]string{
		"a line of 10 MB":         head + "+12124567891," + strings.Repeat("x", 10<<20) + "\n",
		"a field without its end": head + `+12124567891,"` + strings.Repeat("x,y\n", 1<<20),
		"no column of numbers":    "Name,Plan\nAda,Basic\n",
		"UTF-16 without a mark":   utf16LE(head),
		"an empty file":           "",
		"NUL in the header":       "Pho\x00ne,Name\n+12124567890,Ada\n",
		"a picture":               "\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + strings.Repeat("\x00\xff\x10\n", 1000),
	} {
		t.Run(name, func(t *testing.T) {
			r := r.of(t)
			l := list(r)
			status, kind, answer := r.upload(l, strings.NewReader(file))
			r.refused(l, status, kind, answer)
		})
	}
	t.Run("NUL in a row", func(t *testing.T) {
		r := r.of(t)
		l := list(r)
		status, kind, answer := r.upload(l, strings.NewReader(head+"+1212456\x007891,B\x00b\n+12124567892,Cid\n"))
		if status != http.StatusCreated {
			r.refused(l, status, kind, answer)
			return
		}
		for _, lead := range all[api.LeadView](r, "/v1/lists/"+string(l)+"/leads") {
			if strings.Contains(string(lead.Number)+lead.Fields["Name"], "\x00") {
				t.Errorf("a NUL was kept: %+v", lead)
			}
		}
	})
	t.Run("files of others", func(t *testing.T) {
		root := sharedFolder(t, "torture/csv")
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			r := r.of(t)
			// As it is, and as the rest of a list that begins well.
			for _, file := range []string{string(data), "number,text\n+12124567890," + string(data)} {
				l := list(r)
				status, kind, answer := r.upload(l, strings.NewReader(file))
				if status != http.StatusCreated {
					r.refused(l, status, kind, answer)
					continue
				}
				var got api.ImportView
				leads := len(all[api.LeadView](r, "/v1/lists/"+string(l)+"/leads"))
				if err := json.Unmarshal(answer, &got); err != nil || got.Rows != got.Created+got.Updated+got.Skipped+got.Rejected || leads != got.Created {
					t.Errorf("%s: the rows do not add up, with %d leads: %s", path, leads, answer)
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	})
	var progress map[string]any // whoever uploads what, the dialer lives
	r.get("/v1/campaigns/"+string(id)+"/progress", &progress)
}

// sharedFolder finds a folder of files that are not part of the project.
func sharedFolder(t *testing.T, name string) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		path := filepath.Join(dir, "shared", name)
		if info, err := os.Stat(path); err == nil && info.IsDir() {
			return path
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			t.Skipf("NOT TESTED: there is no folder shared/%s beside the project", name)
		}
		dir = parent
	}
}

// utf16LE is text in UTF-16, little end first, without a byte order mark.
func utf16LE(text string) string {
	var b strings.Builder
	for _, c := range []byte(text) {
		b.WriteByte(c)
		b.WriteByte(0)
	}
	return b.String()
}
