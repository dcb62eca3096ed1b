package api

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"mime"
	"net/http"
	"slices"

	"github.com/danielgtaylor/huma/v2"

	"dialer/telephony"
)

// The bounds of an asset.
const maxAsset = 10 << 20 // bytes: ten minutes at 8 kHz and 16 bit

// AssetView is a stored audio file.
type AssetView struct {
	SHA256     string `json:"sha256" doc:"The asset's name; a campaign's message_asset"`
	Bytes      int    `json:"bytes"`
	DurationMS int64  `json:"duration_ms"`
}

func (s *Server) routeAssets() {
	tags := []string{"assets"}
	wav := map[string]*huma.MediaType{"audio/wav": {Schema: &huma.Schema{Type: "string", Format: "binary"}}}
	route(s, huma.Operation{
		OperationID: "upload-asset", Method: http.MethodPost, Path: "/v1/assets", DefaultStatus: http.StatusCreated,
		Summary: "Upload audio", Tags: tags, Description: "A WAV file at 8 or 16 kHz: 16 bit PCM, µ-law or A-law, at most 10 MB. The same file twice is one.",
		RequestBody: &huma.RequestBody{Required: true, Content: wav},
	}, func(ctx context.Context, in *struct {
		Upload
		Name string `query:"name" maxLength:"200"`
	}) (*created[AssetView], error) {
		kind, _, _ := mime.ParseMediaType(in.r.Header.Get("Content-Type"))
		if !slices.Contains([]string{"audio/wav", "audio/x-wav", "audio/wave", "audio/vnd.wave"}, kind) {
			return nil, refuse(http.StatusUnsupportedMediaType, "Content-Type is %q: send audio/wav", clip(in.r.Header.Get("Content-Type"), 60))
		}
		body := &paced{r: http.MaxBytesReader(in.w, in.r.Body, maxAsset), rc: http.NewResponseController(in.w)}
		data, err := io.ReadAll(body)
		if err != nil {
			var tooLarge *http.MaxBytesError
			if errors.As(err, &tooLarge) {
				return nil, refuse(http.StatusRequestEntityTooLarge, "the audio is larger than %d MB", maxAsset>>20)
			}
			return nil, uploadError(err)
		}
		audio, err := telephony.ReadWAV(bytes.NewReader(data), in.Name)
		if err != nil {
			return nil, err
		}
		sum := sha256.Sum256(data)
		name := hex.EncodeToString(sum[:])
		if err := s.store.PutAsset(ctx, name, in.Name, data, s.now()); err != nil {
			return nil, err
		}
		return &created[AssetView]{
			Location: "/v1/assets/" + name,
			Body:     AssetView{SHA256: name, Bytes: len(data), DurationMS: audio.Duration().Milliseconds()},
		}, nil
	})
	route(s, huma.Operation{
		OperationID: "get-asset", Method: http.MethodGet, Path: "/v1/assets/{sha}", Summary: "Download audio", Tags: tags,
		Responses: map[string]*huma.Response{"200": {Description: "The file", Content: wav}},
	}, func(ctx context.Context, in *struct {
		SHA string `path:"sha" pattern:"^[0-9a-f]{64}$"`
	}) (*file, error) {
		data, err := s.store.Asset(ctx, in.SHA)
		if err != nil {
			return nil, err
		}
		return &file{Type: "audio/wav", Body: data}, nil
	})
}

// file is a response that is sent as it is.
type file struct {
	Type        string `header:"Content-Type"`
	Disposition string `header:"Content-Disposition"`
	Body        []byte
}
