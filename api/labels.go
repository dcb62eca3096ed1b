package api

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"dialer/compliance"
	"dialer/report"
)

// Label is what somebody says who has heard the first seconds of a call.
type Label struct {
	Label string `json:"label" enum:"human,machine,screening,fax,sit,ringback,silence,music"`
}

// routeLabels serves the seconds kept of calls, and the word on them.
func (s *Server) routeLabels(tags []string) {
	route(s, huma.Operation{
		OperationID: "get-seconds", Method: http.MethodGet, Path: "/v1/calls/{id}/seconds", Summary: "Download the first seconds of a call", Tags: tags,
		Responses: map[string]*huma.Response{"200": {Description: "Stereo WAV from the answer on: the person left", Content: map[string]*huma.MediaType{
			"audio/wav": {Schema: &huma.Schema{Type: "string", Format: "binary"}},
		}}},
	}, func(ctx context.Context, in *CallPath) (*huma.StreamResponse, error) {
		c, err := s.store.GetCall(ctx, in.ID)
		if err != nil {
			return nil, err
		}
		return s.audio(ctx, c, c.Heard.Kept, "kept audio")
	})
	route(s, huma.Operation{
		OperationID: "label-call", Method: http.MethodPut, Path: "/v1/calls/{id}/label", Summary: "Say who answered, having heard the seconds", Tags: tags,
		Description: "A person who was hung up on as a machine is counted as abandoned from now on. Saying something else replaces the label.",
	}, func(ctx context.Context, in *struct {
		CallPath
		Body Label
	}) (*bodyOf[CallView], error) {
		c, err := s.store.LabelCall(ctx, in.ID, in.Body.Label, callerOf(ctx).name(), s.now())
		if err != nil {
			return nil, err
		}
		return &bodyOf[CallView]{viewCall(c)}, nil
	})
}

// routeDetector serves the error of the detector, as measured in real calls.
func (s *Server) routeDetector(tags []string) {
	route(s, huma.Operation{
		OperationID: "get-amd", Method: http.MethodGet, Path: "/v1/campaigns/{id}/amd", Summary: "The error of the answering-machine detector in this campaign", Tags: tags,
		Description: "Persons among calls classified machine, fax or announcement of which an agent, or somebody who heard the first seconds, said who it was; machines among calls classified human; " +
			"each with its sample and 95 % interval (Wilson), for the campaign and for each trunk. What the sample is drawn with stands in each call.",
	}, func(ctx context.Context, in *struct {
		CampaignPath
		Span
	}) (*bodyOf[report.DetectorReport], error) {
		if err := (ReportSpan{From: in.From, To: in.To}).check(); err != nil {
			return nil, err
		}
		if _, err := s.store.GetCampaign(ctx, in.ID); err != nil {
			return nil, err
		}
		counts, err := s.store.DetectorCounts(ctx, in.ID, in.From, in.To, false)
		if err != nil {
			return nil, err
		}
		return &bodyOf[report.DetectorReport]{report.Detector(in.ID, in.From, in.To, counts, s.now())}, nil
	})
}

// detectorTest is the error of the detector in the calls of a report.
func (s *Server) detectorTest(ctx context.Context, in ReportSpan) (compliance.DetectorTest, error) {
	counts, err := s.store.DetectorCounts(ctx, in.Campaign, in.From, in.To, false)
	if err != nil {
		return compliance.DetectorTest{}, err
	}
	return compliance.ErrorOf(counts).Test(s.now()), nil
}
