package api

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"dialer"
	"dialer/campaign"
	"dialer/compliance"
)

// ListCreate is a new list.
type ListCreate struct {
	Campaign dialer.CampaignID `json:"campaign_id" maxLength:"40"`
	Name     string            `json:"name" minLength:"1" maxLength:"200"`
}

// ListView is a list of leads.
type ListView struct {
	ID        dialer.ListID     `json:"id"`
	Campaign  dialer.CampaignID `json:"campaign_id"`
	Name      string            `json:"name"`
	CreatedAt time.Time         `json:"created_at"`
}

func viewList(l campaign.List) ListView {
	return ListView{ID: l.ID, Campaign: l.Campaign, Name: l.Name, CreatedAt: l.CreatedAt.UTC().Truncate(time.Millisecond)}
}

// LeadCreate is a new lead.
type LeadCreate struct {
	Number      string            `json:"number" minLength:"1" maxLength:"40" doc:"As people write it; without a country code it is of the campaign's region"`
	ExternalID  string            `json:"external_id,omitempty" maxLength:"200"`
	Zone        string            `json:"time_zone,omitempty" maxLength:"60" doc:"IANA zone, when known"`
	Priority    int               `json:"priority,omitempty" minimum:"-1000" maximum:"1000" doc:"Higher is called first"`
	Probability float64           `json:"answer_probability,omitempty" minimum:"0" maximum:"1" doc:"That a person answers, by your own model; only its relation to the other leads counts. 0 or absent: not known"`
	Fields      map[string]string `json:"fields,omitempty" maxProperties:"200"`
}

// LeadView is a lead.
type LeadView struct {
	ID          dialer.LeadID            `json:"id"`
	List        dialer.ListID            `json:"list_id"`
	Campaign    dialer.CampaignID        `json:"campaign_id"`
	ExternalID  string                   `json:"external_id,omitempty"`
	Number      dialer.Number            `json:"number"`
	Zone        string                   `json:"time_zone,omitempty"`
	Priority    int                      `json:"priority"`
	Probability float64                  `json:"answer_probability,omitempty" doc:"As uploaded"`
	Fields      map[string]string        `json:"fields"`
	State       campaign.LeadState       `json:"state" doc:"dialable, claimed, calling or done"`
	Due         *time.Time               `json:"due_at,omitempty"`
	Why         string                   `json:"why,omitempty" doc:"Why it is not called now"`
	Owner       dialer.AgentID           `json:"owner_agent_id,omitempty" doc:"Whose callback this is"`
	Attempts    int                      `json:"attempts"`
	ByOutcome   map[campaign.Outcome]int `json:"attempts_by_outcome"`
	LastOutcome campaign.Outcome         `json:"last_outcome,omitempty"`
}

func viewLead(l campaign.Lead) LeadView {
	v := LeadView{
		ID: l.ID, List: l.List, Campaign: l.Campaign, ExternalID: l.ExternalID, Number: l.Number, Zone: l.Zone,
		Priority: l.Priority, Probability: l.AnswerProbability, Fields: l.Fields, State: l.State, Due: stamp(l.Due), Why: l.Why, Owner: l.Owner,
		Attempts: l.Attempts, ByOutcome: l.ByOutcome, LastOutcome: l.LastOutcome,
	}
	if v.Fields == nil {
		v.Fields = map[string]string{}
	}
	if v.ByOutcome == nil {
		v.ByOutcome = map[campaign.Outcome]int{}
	}
	return v
}

type ListPath struct {
	ID dialer.ListID `path:"id" maxLength:"40"`
}

func (s *Server) routeLists() {
	tags := []string{"lists"}
	route(s, huma.Operation{
		OperationID: "list-lists", Method: http.MethodGet, Path: "/v1/lists", Summary: "List the lists", Tags: tags,
	}, func(ctx context.Context, in *struct {
		Paging
		Campaign dialer.CampaignID `query:"campaign_id" maxLength:"40"`
	}) (*bodyOf[Page[ListView]], error) {
		return page(s, []string{"lists", string(in.Campaign)}, in.Paging, func(after string, limit int) ([]campaign.List, error) {
			return s.store.ListLists(ctx, in.Campaign, dialer.ListID(after), limit)
		}, func(l campaign.List) string { return string(l.ID) }, viewList)
	})
	route(s, huma.Operation{
		OperationID: "create-list", Method: http.MethodPost, Path: "/v1/lists", DefaultStatus: http.StatusCreated,
		Summary: "Create a list", Tags: tags,
	}, func(ctx context.Context, in *struct{ Body ListCreate }) (*created[ListView], error) {
		if _, err := s.store.GetCampaign(ctx, in.Body.Campaign); err != nil {
			if dialer.CodeOf(err) == dialer.NotFound {
				return nil, dialer.Fieldf("campaign_id", "%q is no campaign", clip(string(in.Body.Campaign), 40))
			}
			return nil, err
		}
		l := campaign.List{ID: dialer.NewListID(), Campaign: in.Body.Campaign, Name: in.Body.Name, CreatedAt: s.now()}
		if err := s.store.CreateList(ctx, l); err != nil {
			return nil, err
		}
		return &created[ListView]{Location: "/v1/lists/" + string(l.ID), Body: viewList(l)}, nil
	})
	route(s, huma.Operation{
		OperationID: "get-list", Method: http.MethodGet, Path: "/v1/lists/{id}", Summary: "Get a list", Tags: tags,
	}, func(ctx context.Context, in *ListPath) (*bodyOf[ListView], error) {
		l, err := s.store.GetList(ctx, in.ID)
		if err != nil {
			return nil, err
		}
		return &bodyOf[ListView]{viewList(l)}, nil
	})
	s.routeLeads()
}

func (s *Server) routeLeads() {
	tags := []string{"leads"}
	route(s, huma.Operation{
		OperationID: "list-leads", Method: http.MethodGet, Path: "/v1/lists/{id}/leads", Summary: "List the leads of a list", Tags: tags,
	}, func(ctx context.Context, in *struct {
		ListPath
		Paging
		State  campaign.LeadState `query:"state" enum:"dialable,claimed,calling,done"`
		Number dialer.Number      `query:"number" maxLength:"20" doc:"E.164; write + as %2B"`
	}) (*bodyOf[Page[LeadView]], error) {
		if _, err := s.store.GetList(ctx, in.ID); err != nil {
			return nil, err
		}
		f := campaign.LeadFilter{State: in.State, Number: in.Number}
		scope := []string{"leads", string(in.ID), string(f.State), string(f.Number)}
		return page(s, scope, in.Paging, func(after string, limit int) ([]campaign.Lead, error) {
			return s.store.ListLeads(ctx, in.ID, f, dialer.LeadID(after), limit)
		}, func(l campaign.Lead) string { return string(l.ID) }, viewLead)
	})
	route(s, huma.Operation{
		OperationID: "create-lead", Method: http.MethodPost, Path: "/v1/lists/{id}/leads", DefaultStatus: http.StatusCreated,
		Summary: "Add one lead", Tags: tags, Description: "A number that the list has already is a conflict.",
	}, s.createLead)
	route(s, huma.Operation{
		OperationID: "get-lead", Method: http.MethodGet, Path: "/v1/lists/{id}/leads/{lead}", Summary: "Get a lead", Tags: tags,
	}, func(ctx context.Context, in *struct {
		ListPath
		Lead string `path:"lead" maxLength:"210" doc:"The id, or ext: and the external id"`
	}) (*bodyOf[LeadView], error) {
		var l campaign.Lead
		var err error
		if external, ok := strings.CutPrefix(in.Lead, "ext:"); ok {
			l, err = s.store.LeadByExternalID(ctx, in.ID, external)
		} else {
			l, err = s.store.GetLead(ctx, in.ID, dialer.LeadID(in.Lead))
		}
		if err != nil {
			return nil, err
		}
		return &bodyOf[LeadView]{viewLead(l)}, nil
	})
}

func (s *Server) createLead(ctx context.Context, in *struct {
	ListPath
	Body LeadCreate
}) (*created[LeadView], error) {
	list, err := s.store.GetList(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	region, err := s.regionOf(ctx, list)
	if err != nil {
		return nil, err
	}
	number, err := compliance.ParseNumber(in.Body.Number, region)
	if err != nil {
		return nil, fieldError("number", err)
	}
	if _, err := time.LoadLocation(in.Body.Zone); err != nil || strings.EqualFold(in.Body.Zone, "local") {
		return nil, dialer.Fieldf("time_zone", "%q is not an IANA time zone, such as America/New_York", clip(in.Body.Zone, 60))
	}
	l, err := s.store.CreateLead(ctx, in.ID, campaign.Lead{
		ID: dialer.NewLeadID(), List: list.ID, Campaign: list.Campaign, ExternalID: in.Body.ExternalID, Number: number,
		Zone: in.Body.Zone, Fields: in.Body.Fields, Priority: in.Body.Priority, AnswerProbability: in.Body.Probability, State: campaign.Dialable, Due: s.now(),
	}, s.now())
	if err != nil {
		return nil, err
	}
	s.scheduler.Wake()
	return &created[LeadView]{Location: "/v1/lists/" + string(l.List) + "/leads/" + string(l.ID), Body: viewLead(l)}, nil
}

// regionOf is where a list's numbers without a country code belong.
func (s *Server) regionOf(ctx context.Context, l campaign.List) (string, error) {
	c, err := s.store.GetCampaign(ctx, l.Campaign)
	if err != nil {
		return "", err
	}
	return c.Settings.Region, nil
}
