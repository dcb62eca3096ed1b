package api

import (
	"context"
	"net/http"
	"reflect"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"dialer"
	"dialer/campaign"
	"dialer/compliance"
	"dialer/report"
)

// ReportSpan are the bounds of a report.
type ReportSpan struct {
	Campaign dialer.CampaignID `query:"campaign" required:"true" maxLength:"40"`
	From     time.Time         `query:"from" doc:"Calls placed at or after (RFC 3339); all when absent"`
	To       time.Time         `query:"to" doc:"Calls placed before (RFC 3339)"`
}

func (r ReportSpan) check() error {
	if !r.From.IsZero() && !r.To.IsZero() && !r.From.Before(r.To) {
		return queryFault("to", "is not after from")
	}
	return nil
}

func (s *Server) routeReports() {
	tags := []string{"reports"}
	route(s, huma.Operation{
		OperationID: "report-abandon", Method: http.MethodGet, Path: "/v1/reports/abandon", Summary: "Abandoned calls: the evidence", Tags: tags,
		Description: "Every class, numerator, denominator and formula of the rate, 30-day periods, connect delays, messages, and the first 10,000 calls each that were late, abandoned or given up too early; the next route lists all. " +
			"rate_conservative is null as long as the truth of no machine verdict is known (GET /v1/campaigns/{id}/amd). One report is made at a time.",
		Responses: map[string]*huma.Response{"200": {Description: "OK", Content: map[string]*huma.MediaType{
			"application/json": {Schema: s.api.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[report.AbandonReport](), true, "AbandonReport")},
			"text/csv":         {Schema: &huma.Schema{Type: "string"}},
			"text/plain":       {Schema: &huma.Schema{Type: "string"}},
		}}},
	}, s.reportAbandon)
	route(s, huma.Operation{
		OperationID: "report-abandon-calls", Method: http.MethodGet, Path: "/v1/reports/abandon/calls", Summary: "The calls behind the abandon report", Tags: tags,
	}, func(ctx context.Context, in *struct {
		Paging
		ReportSpan
		Class compliance.Class `query:"class" maxLength:"40" doc:"connected, late, abandoned_msg, abandoned_silent, callee_early, machine, …; all when absent"`
	}) (*bodyOf[Page[CallView]], error) {
		if err := in.check(); err != nil {
			return nil, err
		}
		if _, err := s.store.GetCampaign(ctx, in.Campaign); err != nil {
			return nil, err
		}
		return s.listCalls(ctx, in.Paging, campaign.CallFilter{Campaign: in.Campaign, Class: in.Class, From: in.From, To: in.To})
	})
}

func (s *Server) reportAbandon(ctx context.Context, in *struct {
	ReportSpan
	Format string `query:"format" enum:"json,csv,text" doc:"json when absent; text is for reading"`
}) (*huma.StreamResponse, error) {
	if err := in.check(); err != nil {
		return nil, err
	}
	c, err := s.store.GetCampaign(ctx, in.Campaign)
	if err != nil {
		return nil, err
	}
	settings := c.Settings.Defaulted()
	zone, err := time.LoadLocation(settings.Zone)
	if err != nil {
		return nil, err
	}
	tested, err := s.detectorTest(ctx, in.ReportSpan)
	if err != nil {
		return nil, err
	}
	out, err := report.Abandon(report.AbandonQuery{
		Campaign: c.ID, Name: settings.Name, From: in.From, To: in.To, Start: c.StartedAt, Zone: zone,
		Clock: settings.ClockStart, Deadline: time.Duration(settings.ConnectDeadlineMS) * time.Millisecond,
		Cap: *settings.AbandonCap, Detector: tested, Now: s.now(),
	}, s.store.CallFacts(ctx, in.Campaign, in.From, in.To))
	if err != nil {
		return nil, err
	}
	return &huma.StreamResponse{Body: func(hctx huma.Context) {
		switch in.Format {
		case "text":
			hctx.SetHeader("Content-Type", "text/plain; charset=utf-8")
			hctx.SetStatus(http.StatusOK)
			out.WriteText(hctx.BodyWriter()) // the client is gone when this fails
			return
		case "csv":
			hctx.SetHeader("Content-Type", "text/csv; charset=utf-8")
			hctx.SetHeader("Content-Disposition", `attachment; filename="abandon-`+string(c.ID)+`.csv"`)
			hctx.SetStatus(http.StatusOK)
			out.WriteCSV(hctx.BodyWriter()) // the client is gone when this fails
			return
		}
		hctx.SetHeader("Content-Type", "application/json")
		hctx.SetStatus(http.StatusOK)
		jsonFormat.Marshal(hctx.BodyWriter(), out)
	}}, nil
}
