package api

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"dialer"
)

// DecisionView is how many calls the pacer let be placed at a moment, and why.
type DecisionView struct {
	Seq             int64         `json:"seq" doc:"Of the event in the log"`
	At              time.Time     `json:"at"`
	Policy          string        `json:"policy" doc:"What decided" example:"predictive, cap 3 %"`
	Dial            int           `json:"dial" doc:"Calls to place now"`
	Placed          int           `json:"placed" doc:"Calls of all decisions since the one before in this list, this one with them"`
	AgentFirst      bool          `json:"agent_first" doc:"Each call has an agent held for it before it is placed"`
	Limit           string        `json:"limit,omitempty" enum:"agents,warm-up,allowance,burst,lines-per-agent,lines,leads" doc:"What kept it from being more"`
	Reason          string        `json:"reason" doc:"A sentence"`
	Seen            DecisionInput `json:"seen" doc:"What it was decided by"`
	ExpectedFree    float64       `json:"expected_free" doc:"Agents expected to be free when a call placed now would be answered"`
	ExpectedAnswers float64       `json:"expected_answers" doc:"Persons expected of the calls in flight"`
	ExpectedLoss    float64       `json:"expected_loss" doc:"Persons expected to find no agent, with these calls"`
	Threshold       float64       `json:"threshold" doc:"Loss per live answer that one more call may cause"`
	Allowance       float64       `json:"allowance" doc:"Calls that may still be abandoned in the legal window: cap times answered, less the abandoned"`
}

// DecisionInput is what the pacer saw.
type DecisionInput struct {
	Ready          int     `json:"ready" doc:"Agents"`
	Held           int     `json:"held" doc:"Agents reserved for calls not yet answered"`
	Talking        int     `json:"talking"`
	WrapUp         int     `json:"wrap_up"`
	NotReady       int     `json:"not_ready"`
	Ringing        int     `json:"ringing" doc:"Calls"`
	Detecting      int     `json:"detecting" doc:"Answered, and not clear by whom"`
	Waiting        int     `json:"waiting" doc:"Persons without an agent"`
	Answered       int     `json:"answered" doc:"Persons, in the legal window"`
	Abandoned      int     `json:"abandoned"`
	Cap            float64 `json:"cap"`
	Lines          int     `json:"lines" doc:"Calls that the trunks could take"`
	CallsPerSecond int     `json:"calls_per_second" doc:"Calls that the trunks' rates let out at this instant"`
	LeadsLeft      int     `json:"leads_left" doc:"Leads in the hopper"`
}

func viewDecision(e dialer.Event) DecisionView {
	d, _ := e.Fact.(dialer.PacingDecided)
	return DecisionView{
		Seq: e.Seq, At: e.At.UTC().Truncate(time.Millisecond), Policy: d.Policy,
		Dial: d.Dial, Placed: d.Placed, AgentFirst: d.AgentFirst, Limit: d.Limit, Reason: d.Reason,
		Seen: DecisionInput(d.Seen), ExpectedFree: d.ExpectedFree, ExpectedAnswers: d.ExpectedAnswers,
		ExpectedLoss: d.ExpectedLoss, Threshold: d.Threshold, Allowance: d.Allowance,
	}
}

func (s *Server) routeDecisions() {
	route(s, huma.Operation{
		OperationID: "list-decisions", Method: http.MethodGet, Path: "/v1/campaigns/{id}/decisions",
		Summary: "How many calls were placed when, and why", Tags: []string{"campaigns"},
		Description: "The newest first: each decision that differs in kind from the one before, at most one in 5 s, and one a minute while the campaign dials. `dialer pacing replay` decides them again.",
	}, func(ctx context.Context, in *struct {
		CampaignPath
		Paging
		From time.Time `query:"from" doc:"Decided at or after (RFC 3339); all when absent"`
		To   time.Time `query:"to" doc:"Decided before (RFC 3339)"`
	}) (*bodyOf[Page[DecisionView]], error) {
		if !in.From.IsZero() && !in.To.IsZero() && !in.From.Before(in.To) {
			return nil, queryFault("to", "is not after from")
		}
		if _, err := s.store.GetCampaign(ctx, in.ID); err != nil {
			return nil, err
		}
		bounds := []string{"decisions", string(in.ID), in.From.UTC().Format(time.RFC3339Nano), in.To.UTC().Format(time.RFC3339Nano)}
		return page(s, bounds, in.Paging, func(after string, limit int) ([]dialer.Event, error) {
			seq, _ := strconv.ParseInt(after, 10, 64) // our own, or empty
			return s.store.ListDecisions(ctx, in.ID, in.From, in.To, seq, limit)
		}, func(e dialer.Event) string { return strconv.FormatInt(e.Seq, 10) }, viewDecision)
	})
}
