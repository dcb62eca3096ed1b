package api

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"dialer"
	"dialer/campaign"
	"dialer/compliance"
)

// DNCAdd puts a number on a do-not-call list.
type DNCAdd struct {
	Number   string            `json:"number" minLength:"1" maxLength:"40" doc:"E.164, or as people write it together with region"`
	Region   string            `json:"region,omitempty" maxLength:"2" doc:"Where a number without a country code belongs, such as US"`
	Campaign dialer.CampaignID `json:"campaign_id,omitempty" maxLength:"40" doc:"Only for this campaign; for all when absent"`
	Source   string            `json:"source,omitempty" maxLength:"200" doc:"Who or what asked for it"`
}

// DNCView is a number that must not be called.
type DNCView struct {
	Number   dialer.Number     `json:"number"`
	Campaign dialer.CampaignID `json:"campaign_id,omitempty" doc:"Absent: all campaigns"`
	Source   string            `json:"source,omitempty"`
	AddedAt  time.Time         `json:"added_at"`
}

func viewDNC(e campaign.DNCEntry) DNCView {
	return DNCView{Number: e.Number, Campaign: e.Campaign, Source: e.Source, AddedAt: e.AddedAt.UTC().Truncate(time.Millisecond)}
}

type NumberPath struct {
	Number dialer.Number `path:"number" maxLength:"20" doc:"E.164, such as +12025550143"`
}

func (n NumberPath) valid() error {
	if n.Number.Valid() {
		return nil
	}
	p := refuse(http.StatusUnprocessableEntity, "path.number: %q is not E.164, such as +12025550143", clip(string(n.Number), 20))
	p.Errors = []Fault{{Location: "path.number", Message: "is not E.164, such as +12025550143", Value: clip(string(n.Number), 20)}}
	return p
}

// DNCCheck says which lists hold a number.
type DNCCheck struct {
	Number dialer.Number `json:"number"`
	Listed bool          `json:"listed"`
	Items  []DNCView     `json:"items"`
}

func (s *Server) routeDNC() {
	tags := []string{"do-not-call"}
	route(s, huma.Operation{
		OperationID: "list-dnc", Method: http.MethodGet, Path: "/v1/dnc", Summary: "List the numbers that must not be called", Tags: tags,
	}, func(ctx context.Context, in *struct {
		Paging
		Campaign dialer.CampaignID `query:"campaign_id" maxLength:"40" doc:"The campaign's own list; the list for all campaigns when absent"`
	}) (*bodyOf[Page[DNCView]], error) {
		return page(s, []string{"dnc", string(in.Campaign)}, in.Paging, func(after string, limit int) ([]campaign.DNCEntry, error) {
			return s.store.ListDNC(ctx, in.Campaign, dialer.Number(after), limit)
		}, func(e campaign.DNCEntry) string { return string(e.Number) }, viewDNC)
	})
	route(s, huma.Operation{
		OperationID: "add-dnc", Method: http.MethodPost, Path: "/v1/dnc", DefaultStatus: http.StatusCreated,
		Summary: "Never call a number again", Tags: tags,
		Description: "When the answer is here, no new call to the number is placed, and one that rings is cancelled within a second. Adding a number twice is one.",
	}, func(ctx context.Context, in *struct{ Body DNCAdd }) (*created[DNCView], error) {
		number, err := compliance.ParseNumber(in.Body.Number, in.Body.Region)
		if err != nil {
			return nil, fieldError("number", err)
		}
		source := in.Body.Source
		if source == "" {
			source = "api " + callerOf(ctx).name()
		}
		now := s.now()
		if err := s.store.AddDNC(ctx, in.Body.Campaign, number, source, now); err != nil {
			return nil, err
		}
		e := campaign.DNCEntry{Number: number, Campaign: in.Body.Campaign, Source: source, AddedAt: now}
		return &created[DNCView]{Location: "/v1/dnc/" + string(number), Body: viewDNC(e)}, nil
	})
	route(s, huma.Operation{
		OperationID: "check-dnc", Method: http.MethodGet, Path: "/v1/dnc/{number}", Summary: "Which lists hold a number", Tags: tags,
	}, func(ctx context.Context, in *NumberPath) (*bodyOf[DNCCheck], error) {
		if err := in.valid(); err != nil {
			return nil, err
		}
		found, err := s.store.CheckDNC(ctx, in.Number)
		if err != nil {
			return nil, err
		}
		out := DNCCheck{Number: in.Number, Listed: len(found) > 0, Items: []DNCView{}}
		for _, e := range found {
			out.Items = append(out.Items, viewDNC(e))
		}
		return &bodyOf[DNCCheck]{out}, nil
	})
	route(s, huma.Operation{
		OperationID: "remove-dnc", Method: http.MethodDelete, Path: "/v1/dnc/{number}", DefaultStatus: http.StatusNoContent,
		Summary: "Take a number from a do-not-call list", Tags: tags,
	}, func(ctx context.Context, in *struct {
		NumberPath
		Campaign dialer.CampaignID `query:"campaign_id" maxLength:"40" doc:"From the campaign's own list; from the list for all when absent"`
	}) (*struct{}, error) {
		if err := in.valid(); err != nil {
			return nil, err
		}
		return nil, s.store.RemoveDNC(ctx, in.Campaign, in.Number, callerOf(ctx).name(), s.now())
	})
}
