package api

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"dialer"
	"dialer/campaign"
)

func (h *house) aList() string {
	h.t.Helper()
	c, _ := h.aCampaign(`{"name":"a","region":"US"}`)
	l := into[ListView](h, h.want(201, dialer.RoleManager, http.MethodPost, "/v1/lists", fmt.Sprintf(`{"campaign_id":%q,"name":"l"}`, c.ID)))
	return "/v1/lists/" + string(l.ID)
}

const leadsCSV = `Phone,First name,CRM,zone
(202) 555-0143,Ann,42,America/New_York
+12025550144,"=cmd|' /C calc'!A0",43,
not a number,Bob,44,
+1 202 555 0143,Twin,45,
+12025550145,Eve,46,Mars/Olympus
`

func TestImport(t *testing.T) {
	h := open(t)
	list := h.aList()
	r := h.want(201, dialer.RoleManager, http.MethodPost, list+"/imports?mapping="+`%7B%22CRM%22%3A%22external_id%22%7D`, leadsCSV, "Content-Type", "text/csv; charset=utf-8")
	i := into[ImportView](h, r)
	if i.Rows != 5 || i.Created != 2 || i.Skipped != 1 || i.Rejected != 2 {
		t.Fatalf("import %+v", i)
	}
	if r.Header.Get("Location") != "/v1/imports/"+string(i.ID) {
		t.Errorf("Location %q", r.Header.Get("Location"))
	}
	h.want(200, dialer.RoleManager, http.MethodGet, "/v1/imports/"+string(i.ID), nil)
	if all := into[Page[ImportView]](h, h.want(200, dialer.RoleManager, http.MethodGet, list+"/imports", nil)); len(all.Items) != 1 {
		t.Errorf("imports %+v", all)
	}

	rejects := into[Page[campaign.Reject]](h, h.want(200, dialer.RoleManager, http.MethodGet, i.Rejects+"?limit=1", nil))
	if len(rejects.Items) != 1 || rejects.Items[0].Line != 4 || rejects.Items[0].Reason == "" || rejects.NextCursor == "" {
		t.Fatalf("rejects %+v", rejects)
	}
	rejects = into[Page[campaign.Reject]](h, h.want(200, dialer.RoleManager, http.MethodGet, i.Rejects+"?cursor="+rejects.NextCursor, nil))
	if len(rejects.Items) != 1 || rejects.Items[0].Line != 6 || rejects.NextCursor != "" {
		t.Fatalf("rejects, page 2: %+v", rejects)
	}
	csv := h.want(200, dialer.RoleManager, http.MethodGet, i.Rejects+"?format=csv", nil)
	if lines := strings.Split(strings.TrimSpace(string(csv.body)), "\n"); len(lines) != 3 || lines[0] != "line,field,reason,text" {
		t.Errorf("rejects as CSV: %s", csv.body)
	}

	lead := into[LeadView](h, h.want(200, dialer.RoleManager, http.MethodGet, list+"/leads/ext:42", nil))
	if lead.Number != "+12025550143" || lead.Fields["First name"] != "Ann" || lead.Zone != "America/New_York" {
		t.Errorf("lead %+v", lead)
	}
	h.want(200, dialer.RoleManager, http.MethodGet, list+"/leads/"+string(lead.ID), nil)
	found := into[Page[LeadView]](h, h.want(200, dialer.RoleManager, http.MethodGet, list+"/leads?number=%2B12025550144", nil))
	if len(found.Items) != 1 || found.Items[0].ExternalID != "43" {
		t.Errorf("leads by number %+v", found)
	}
	h.want(409, dialer.RoleManager, http.MethodPost, list+"/leads", `{"number":"2025550143"}`)
	h.want(404, dialer.RoleManager, http.MethodGet, list+"/leads/ext:none", nil)
}

func TestImportForms(t *testing.T) {
	h := open(t)
	list := h.aList()
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	io.WriteString(z, leadsCSV)
	z.Close()
	for name, c := range map[string]struct {
		query, kind, encoding string
		body                  []byte
		status                int
		detail                string
	}{
		"ndjson":         {"", "application/x-ndjson", "", []byte(`{"phone":"+12025550199","name":"x"}` + "\n"), 201, ""},
		"gzip":           {"", "text/csv", "gzip", packed.Bytes(), 201, ""},
		"not gzip":       {"", "text/csv", "gzip", []byte(leadsCSV), 400, "not gzip"},
		"gzip cut off":   {"", "text/csv", "gzip", packed.Bytes()[:packed.Len()-12], 400, ""},
		"JSON":           {"", "application/json", "", []byte(`{}`), 415, "text/csv"},
		"zip":            {"", "text/csv", "zip", []byte(`x`), 415, "gzip"},
		"empty":          {"", "text/csv", "", []byte{}, 422, "empty"},
		"no numbers":     {"", "text/csv", "", []byte("a,b\n1,2\n"), 422, "number"},
		"NUL":            {"", "text/csv", "", []byte("phone\n+1202\x0055550143\n"), 422, "line 2"},
		"long line":      {"", "text/csv", "", []byte("phone\n" + strings.Repeat("x", 10<<20)), 422, "line 2"},
		"bad mapping":    {"mapping=%5B%5D", "text/csv", "", []byte(leadsCSV), 422, "query.mapping"},
		"bad duplicates": {"on_duplicate=guess", "text/csv", "", []byte(leadsCSV), 422, "query.on_duplicate"},
	} {
		t.Run(name, func(t *testing.T) {
			h.t = t
			before := len(h.db.leads)
			headers := []string{"Content-Type", c.kind}
			if c.encoding != "" {
				headers = append(headers, "Content-Encoding", c.encoding)
			}
			r := h.do(dialer.RoleManager, http.MethodPost, list+"/imports?"+c.query, c.body, headers...)
			if r.StatusCode != c.status {
				t.Fatalf("status %d, want %d: %s", r.StatusCode, c.status, r.body)
			}
			if r.StatusCode == 201 {
				return
			}
			if p := h.problem(r); !strings.Contains(p.Detail, c.detail) {
				t.Errorf("detail %q, want %q in it", p.Detail, c.detail)
			}
			if len(h.db.leads) != before {
				t.Errorf("%d leads were left behind", len(h.db.leads)-before)
			}
		})
	}
}

func TestImportTooLarge(t *testing.T) {
	h := open(t)
	r := h.do(dialer.RoleManager, http.MethodPost, h.aList()+"/imports", nil)
	if r.StatusCode != 415 {
		t.Fatalf("no body: %d", r.StatusCode)
	}
	req, _ := http.NewRequest(http.MethodPost, h.web.URL+h.aList()+"/imports", io.LimitReader(zeros{}, 1))
	req.ContentLength = maxUpload + 1
	req.Header.Set("Content-Type", "text/csv")
	req.Header.Set("Authorization", "Bearer "+h.keys[dialer.RoleManager])
	req.Header.Set("Expect", "100-continue")
	res, err := h.web.Client().Transport.RoundTrip(req)
	if err == nil {
		defer res.Body.Close()
		if res.StatusCode != http.StatusRequestEntityTooLarge {
			t.Errorf("status %d", res.StatusCode)
		}
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

func TestCellsAreNoFormulas(t *testing.T) {
	for in, want := range map[string]string{
		"=1+1": "'=1+1", "+12025550143": "+12025550143", "+cmd": "'+cmd", "-1": "'-1", "@x": "'@x", "\t=1": "'\t=1",
		"\u200b=1": "'\u200b=1", "＝1": "'＝1", "Ann": "Ann", "": "", "a=b": "a=b",
	} {
		if got := cell(in); got != want {
			t.Errorf("cell(%q) = %q, want %q", in, got, want)
		}
	}
}

// TestBombIsBounded: what unpacks without end fails, and does not look like a
// file that ended.
func TestBombIsBounded(t *testing.T) {
	n, err := io.Copy(io.Discard, &bounded{r: zeros{}, left: 1 << 20})
	if n != 1<<20 || !errors.Is(err, errUnpacked) {
		t.Errorf("read %d bytes, then %v", n, err)
	}
}
