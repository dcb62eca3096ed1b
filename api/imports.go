package api

import (
	"compress/gzip"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"os"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humachi"

	"dialer"
	"dialer/campaign"
)

// The bounds of an upload.
const (
	maxUpload   = 200 << 20        // bytes as sent
	maxUnpacked = 1 << 30          // bytes of a gzip body when unpacked
	uploadPause = 30 * time.Second // longest silence of the sender
)

// ImportView is one upload of leads.
type ImportView struct {
	ID        dialer.ImportID `json:"id"`
	List      dialer.ListID   `json:"list_id"`
	StartedAt time.Time       `json:"started_at"`
	EndedAt   *time.Time      `json:"ended_at,omitempty"`
	Rows      int             `json:"rows"`
	Created   int             `json:"created"`
	Updated   int             `json:"updated"`
	Skipped   int             `json:"skipped" doc:"Numbers that the list had already, and rows that change nothing"`
	Rejected  int             `json:"rejected" doc:"Rows that are no lead; see rejects"`
	Error     string          `json:"error,omitempty" doc:"Why nothing was kept, or not all changes were made"`
	Rejects   string          `json:"rejects_url"`
}

func viewImport(i campaign.Import) ImportView {
	return ImportView{
		ID: i.ID, List: i.List, StartedAt: i.StartedAt.UTC().Truncate(time.Millisecond), EndedAt: stamp(i.EndedAt),
		Rows: i.Rows, Created: i.Created, Updated: i.Updated, Skipped: i.Skipped, Rejected: i.Rejected, Error: i.Error,
		Rejects: "/v1/imports/" + string(i.ID) + "/rejects",
	}
}

// Upload is the body of an import: raw, and read as it comes.
type Upload struct {
	r *http.Request
	w http.ResponseWriter
}

// Resolve is called by huma.
func (u *Upload) Resolve(ctx huma.Context) []error {
	u.r, u.w = humachi.Unwrap(ctx)
	return nil
}

var _ huma.Resolver = (*Upload)(nil)

type ImportPath struct {
	ID dialer.ImportID `path:"id" maxLength:"40"`
}

func (s *Server) routeImports() {
	tags := []string{"imports"}
	text := &huma.MediaType{Schema: &huma.Schema{Type: "string", Format: "binary"}}
	route(s, huma.Operation{
		OperationID: "import-leads", Method: http.MethodPost, Path: "/v1/lists/{id}/imports", DefaultStatus: http.StatusCreated,
		Summary: "Upload leads", Tags: tags,
		Description: "The body is the file: text/csv or application/x-ndjson, as it is or with Content-Encoding: gzip, at most 200 MB. " +
			"Rows that are no lead are rejected one by one and told by rejects; a file that cannot be read to its end leaves nothing behind. " +
			"With on_duplicate=update, new leads are kept all at once and changes of leads in batches after them: updated counts those that are made. " +
			"Three uploads are read at a time; one more is 503.",
		RequestBody: &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{"text/csv": text, "application/x-ndjson": text}},
	}, s.importLeads)
	route(s, huma.Operation{
		OperationID: "list-imports", Method: http.MethodGet, Path: "/v1/lists/{id}/imports", Summary: "List the uploads of a list", Tags: tags,
	}, func(ctx context.Context, in *struct {
		ListPath
		Paging
	}) (*bodyOf[Page[ImportView]], error) {
		if _, err := s.store.GetList(ctx, in.ID); err != nil {
			return nil, err
		}
		return page(s, []string{"imports", string(in.ID)}, in.Paging, func(after string, limit int) ([]campaign.Import, error) {
			return s.store.ListImports(ctx, in.ID, dialer.ImportID(after), limit)
		}, func(i campaign.Import) string { return string(i.ID) }, viewImport)
	})
	route(s, huma.Operation{
		OperationID: "get-import", Method: http.MethodGet, Path: "/v1/imports/{id}", Summary: "Get an upload", Tags: tags,
	}, func(ctx context.Context, in *ImportPath) (*bodyOf[ImportView], error) {
		i, err := s.store.GetImport(ctx, in.ID)
		if err != nil {
			return nil, err
		}
		return &bodyOf[ImportView]{viewImport(i)}, nil
	})
	route(s, huma.Operation{
		OperationID: "list-rejects", Method: http.MethodGet, Path: "/v1/imports/{id}/rejects", Summary: "The rows that are no lead, and why", Tags: tags,
		Responses: map[string]*huma.Response{"200": {Description: "OK", Content: map[string]*huma.MediaType{
			"application/json": {Schema: s.api.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[Page[campaign.Reject]](), true, "RejectPage")},
			"text/csv":         text,
		}}},
	}, s.listRejects)
}

func (s *Server) importLeads(ctx context.Context, in *struct {
	ListPath
	Upload
	OnDuplicate string `query:"on_duplicate" enum:"skip,update" doc:"What becomes of a number that the list has already; skip when absent"`
	Region      string `query:"region" maxLength:"2" doc:"Where numbers without a country code belong; the campaign's when absent"`
	Encoding    string `query:"encoding" maxLength:"20" doc:"utf-8, utf-16 or windows-1252; found out when absent"`
	Mapping     string `query:"mapping" maxLength:"16384" doc:"JSON: header to number, external_id, time_zone, priority, answer_probability, a field's name, or - to drop"`
}) (*created[ImportView], error) {
	list, err := s.store.GetList(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	options := campaign.ReadOptions{Region: in.Region, Encoding: in.Encoding}
	if options.Region == "" {
		if options.Region, err = s.regionOf(ctx, list); err != nil {
			return nil, err
		}
	}
	if in.Mapping != "" {
		if err := strict([]byte(in.Mapping), &options.Mapping); err != nil {
			return nil, queryFault("mapping", "is not a JSON object of header to column: "+clip(err.Error(), 200))
		}
	}
	contentType, _, _ := mime.ParseMediaType(in.r.Header.Get("Content-Type"))
	switch contentType {
	case "text/csv":
		options.Format = "csv"
	case "application/x-ndjson", "application/jsonl":
		options.Format = "ndjson"
	default:
		return nil, refuse(http.StatusUnsupportedMediaType, "Content-Type is %q: send text/csv or application/x-ndjson", clip(in.r.Header.Get("Content-Type"), 60))
	}
	body, err := openUpload(in.w, in.r)
	if err != nil {
		return nil, err
	}
	done, err := s.store.ImportLeads(ctx, list.ID, campaign.ReadLeads(body, options), in.OnDuplicate == "update", s.now())
	switch {
	case err != nil:
		return nil, uploadError(err)
	case done.Error != "":
		return nil, dialer.Errorf(dialer.Invalid, "nothing was kept: %s", done.Error)
	}
	s.scheduler.Wake()
	return &created[ImportView]{Location: "/v1/imports/" + string(done.ID), Body: viewImport(done)}, nil
}

// queryFault is a mistake in a query field.
func queryFault(name, message string) *Problem {
	p := refuse(http.StatusUnprocessableEntity, "query.%s: %s", name, message)
	p.Errors = []Fault{{Location: "query." + name, Message: message}}
	return p
}

// openUpload bounds a body in bytes and in time: each read may wait 30 s, so a
// long upload may take as long as it moves.
func openUpload(w http.ResponseWriter, r *http.Request) (io.Reader, error) {
	rc := http.NewResponseController(w)
	if err := rc.SetWriteDeadline(time.Time{}); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return nil, err
	}
	if r.ContentLength > maxUpload {
		return nil, errTooLarge
	}
	var body io.Reader = &paced{r: http.MaxBytesReader(w, r.Body, maxUpload), rc: rc}
	switch r.Header.Get("Content-Encoding") {
	case "", "identity":
		return body, nil
	case "gzip":
		unpacked, err := gzip.NewReader(body)
		if err != nil {
			return nil, uploadError(fmt.Errorf("gzip: %w", err))
		}
		return &bounded{r: unpacked, left: maxUnpacked}, nil
	}
	return nil, refuse(http.StatusUnsupportedMediaType, "Content-Encoding is %q: send gzip or none", clip(r.Header.Get("Content-Encoding"), 20))
}

var errTooLarge = refuse(http.StatusRequestEntityTooLarge, "the file is larger than %d MB: split it", maxUpload>>20)

// paced moves the read deadline on with each read.
type paced struct {
	r  io.Reader
	rc *http.ResponseController
}

func (p *paced) Read(b []byte) (int, error) {
	// Where there are no deadlines, as in tests, there is no slow sender.
	if err := p.rc.SetReadDeadline(time.Now().Add(uploadPause)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return 0, err
	}
	return p.r.Read(b)
}

// bounded fails after left bytes, where io.LimitReader would end as if the file
// did.
type bounded struct {
	r    io.Reader
	left int64
}

func (b *bounded) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, errUnpacked
	}
	n, err := b.r.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	return n, err
}

var errUnpacked = refuse(http.StatusRequestEntityTooLarge, "the file is larger than %d MB when unpacked: split it", maxUnpacked>>20)

// uploadError says of a body that could not be read to its end whose fault
// it was.
func uploadError(err error) error {
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return errTooLarge
	case errors.Is(err, os.ErrDeadlineExceeded):
		return refuse(http.StatusRequestTimeout, "nothing came for %v: send the file without pauses", uploadPause)
	case errors.Is(err, gzip.ErrHeader), errors.Is(err, gzip.ErrChecksum), strings.Contains(err.Error(), "flate: "), strings.Contains(err.Error(), "gzip: "):
		return refuse(http.StatusBadRequest, "the body is not gzip, as its Content-Encoding says, or it is damaged")
	case errors.Is(err, io.ErrUnexpectedEOF):
		return refuse(http.StatusBadRequest, "the body ended too early: send the whole file")
	}
	return err
}

func (s *Server) listRejects(ctx context.Context, in *struct {
	ImportPath
	Paging
	Format string `query:"format" enum:"json,csv" doc:"csv gives all of them; json when absent"`
}) (*huma.StreamResponse, error) {
	if _, err := s.store.GetImport(ctx, in.ID); err != nil {
		return nil, err
	}
	if in.Format != "csv" {
		out, err := page(s, []string{"rejects", string(in.ID)}, in.Paging, func(after string, limit int) ([]campaign.Reject, error) {
			line, _ := strconv.Atoi(after) // a signed cursor: our own
			return s.store.ImportRejects(ctx, in.ID, line, limit)
		}, func(r campaign.Reject) string { return strconv.Itoa(r.Line) }, func(r campaign.Reject) campaign.Reject { return r })
		if err != nil {
			return nil, err
		}
		return &huma.StreamResponse{Body: func(hctx huma.Context) {
			hctx.SetHeader("Content-Type", "application/json")
			hctx.SetStatus(http.StatusOK)
			jsonFormat.Marshal(hctx.BodyWriter(), out.Body)
		}}, nil
	}
	first, err := s.store.ImportRejects(ctx, in.ID, 0, rejectBatch)
	if err != nil {
		return nil, err
	}
	return &huma.StreamResponse{Body: func(hctx huma.Context) {
		hctx.SetHeader("Content-Type", "text/csv; charset=utf-8")
		hctx.SetHeader("Content-Disposition", `attachment; filename="rejects-`+string(in.ID)+`.csv"`)
		hctx.SetStatus(http.StatusOK)
		out := csv.NewWriter(hctx.BodyWriter())
		out.Write([]string{"line", "field", "reason", "text"})
		for rows := first; len(rows) > 0; {
			for _, r := range rows {
				out.Write([]string{strconv.Itoa(r.Line), cell(r.Field), cell(r.Reason), cell(r.Text)})
			}
			if rows, err = s.store.ImportRejects(ctx, in.ID, rows[len(rows)-1].Line, rejectBatch); err != nil {
				// The status is sent: cutting the answer off is what is left.
				s.log.Error("rejects could not be read", "err", err)
				panic(http.ErrAbortHandler)
			}
		}
		out.Flush()
	}}, nil
}

const rejectBatch = 1000

// cell makes a value harmless in a spreadsheet, which would take some first
// characters for the start of a formula.
func cell(text string) string {
	if dialer.Number(text).Valid() {
		return text // a + and digits alone is a number and no formula
	}
	trimmed := strings.TrimLeft(text, " \u00a0\u200b\u200c\u200d\u2060\ufeff\u3000")
	if trimmed == "" {
		return text
	}
	if strings.ContainsRune("=+-@\t\r\n\x00＝＋－＠", []rune(trimmed)[0]) {
		return "'" + text
	}
	return text
}
