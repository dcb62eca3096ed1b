package api

import (
	"context"
	stdjson "encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/go-json-experiment/json"

	"dialer"
	"dialer/campaign"
)

// CampaignSettings are the settings of a campaign as they are written: only
// the name must be given, everything else has a default.
type CampaignSettings campaign.Settings

// TransformSchema is called by huma.
func (*CampaignSettings) TransformSchema(_ huma.Registry, s *huma.Schema) *huma.Schema {
	s.Required = []string{"name"}
	return s
}

// CampaignPatch are the settings to change; what is absent stays.
type CampaignPatch campaign.Settings

// TransformSchema is called by huma.
func (*CampaignPatch) TransformSchema(_ huma.Registry, s *huma.Schema) *huma.Schema {
	s.Required = nil
	return s
}

// CampaignView is a campaign.
type CampaignView struct {
	ID        dialer.CampaignID `json:"id"`
	State     campaign.State    `json:"state" doc:"draft, running, paused, stopped or completed"`
	Version   int               `json:"version" doc:"The ETag"`
	CreatedAt time.Time         `json:"created_at"`
	StartedAt *time.Time        `json:"started_at,omitempty" doc:"The first start"`
	Settings  campaign.Settings `json:"settings" doc:"With defaults filled in"`
}

func viewCampaign(c campaign.Campaign) CampaignView {
	return CampaignView{
		ID: c.ID, State: c.State, Version: c.Version,
		CreatedAt: c.CreatedAt.UTC().Truncate(time.Millisecond), StartedAt: stamp(c.StartedAt),
		Settings: c.Settings.Defaulted(),
	}
}

// tagged is a resource with its version.
type tagged[T any] struct {
	ETag string `header:"ETag"`
	Body T
}

func tagCampaign(c campaign.Campaign) *tagged[CampaignView] {
	return &tagged[CampaignView]{ETag: etag(c.Version), Body: viewCampaign(c)}
}

// mistakes joins what Validate found, for problemOf.
func mistakes(found []*dialer.Error) error {
	all := make([]error, len(found))
	for i, e := range found {
		all[i] = e
	}
	return errors.Join(all...)
}

type CampaignPath struct {
	ID dialer.CampaignID `path:"id" maxLength:"40"`
}

func (s *Server) routeCampaigns() {
	tags := []string{"campaigns"}
	route(s, huma.Operation{
		OperationID: "list-campaigns", Method: http.MethodGet, Path: "/v1/campaigns", Summary: "List campaigns", Tags: tags,
	}, func(ctx context.Context, in *struct{ Paging }) (*bodyOf[Page[CampaignView]], error) {
		return page(s, []string{"campaigns"}, in.Paging, func(after string, limit int) ([]campaign.Campaign, error) {
			return s.store.ListCampaigns(ctx, dialer.CampaignID(after), limit)
		}, func(c campaign.Campaign) string { return string(c.ID) }, viewCampaign)
	})
	route(s, huma.Operation{
		OperationID: "create-campaign", Method: http.MethodPost, Path: "/v1/campaigns", DefaultStatus: http.StatusCreated,
		Summary: "Create a campaign", Tags: tags, Description: "It is a draft until it is started.",
	}, func(ctx context.Context, in *struct{ Body CampaignSettings }) (*created[CampaignView], error) {
		settings := campaign.Settings(in.Body)
		if err := s.checkSettings(ctx, settings); err != nil {
			return nil, err
		}
		c, err := s.store.CreateCampaign(ctx, settings, callerOf(ctx).name(), s.now())
		if err != nil {
			return nil, err
		}
		return &created[CampaignView]{Location: "/v1/campaigns/" + string(c.ID), ETag: etag(c.Version), Body: viewCampaign(c)}, nil
	})
	route(s, huma.Operation{
		OperationID: "get-campaign", Method: http.MethodGet, Path: "/v1/campaigns/{id}", Summary: "Get a campaign", Tags: tags,
	}, func(ctx context.Context, in *CampaignPath) (*tagged[CampaignView], error) {
		c, err := s.store.GetCampaign(ctx, in.ID)
		if err != nil {
			return nil, err
		}
		return tagCampaign(c), nil
	})
	route(s, huma.Operation{
		OperationID: "change-campaign", Method: http.MethodPatch, Path: "/v1/campaigns/{id}", Summary: "Change a campaign's settings", Tags: tags,
		Description: "A merge (RFC 7396): what is absent stays, null gives a field its default, lists are replaced. A running campaign takes the change at once.",
	}, s.changeCampaign)
	for _, verb := range []struct {
		name, summary string
		from          []campaign.State
		to            campaign.State
	}{
		{"start", "Start dialing", []campaign.State{campaign.Draft, campaign.Stopped, campaign.Completed}, campaign.Running},
		{"pause", "Place no new calls; talks go on", []campaign.State{campaign.Running}, campaign.Paused},
		{"resume", "Dial again", []campaign.State{campaign.Paused}, campaign.Running},
		{"stop", "End dialing and give the hopper back", []campaign.State{campaign.Running, campaign.Paused}, campaign.Stopped},
	} {
		route(s, huma.Operation{
			OperationID: verb.name + "-campaign", Method: http.MethodPost, Path: "/v1/campaigns/{id}/" + verb.name, Summary: verb.summary, Tags: tags,
			Description: "Saying it of a campaign that is so already changes nothing.",
		}, func(ctx context.Context, in *CampaignPath) (*tagged[CampaignView], error) {
			return s.moveCampaign(ctx, in.ID, verb.from, verb.to)
		})
	}
	route(s, huma.Operation{
		OperationID: "get-progress", Method: http.MethodGet, Path: "/v1/campaigns/{id}/progress", Summary: "How far the campaign has come", Tags: tags,
	}, s.progress)
	route(s, huma.Operation{
		OperationID: "get-live", Method: http.MethodGet, Path: "/v1/campaigns/{id}/live", Summary: "The campaign this moment", Tags: tags,
	}, func(ctx context.Context, in *CampaignPath) (*bodyOf[campaign.Live], error) {
		c, err := s.store.GetCampaign(ctx, in.ID)
		if err != nil {
			return nil, err
		}
		return &bodyOf[campaign.Live]{s.live(c)}, nil
	})
	s.routeDetector(tags)
	route(s, huma.Operation{
		OperationID: "get-diagnostics", Method: http.MethodGet, Path: "/v1/campaigns/{id}/diagnostics", Summary: "Why is it not dialing", Tags: tags,
	}, s.diagnose)
}

// diagnoseTime is how long the database may take for its part of a diagnosis.
const diagnoseTime = 2 * time.Second

// diagnose tells what the engine knows even when the database does not answer:
// that is when people ask.
func (s *Server) diagnose(ctx context.Context, in *CampaignPath) (*bodyOf[campaign.Diagnostics], error) {
	ctx, cancel := context.WithTimeout(ctx, diagnoseTime)
	defer cancel()
	c, away := s.store.GetCampaign(ctx, in.ID)
	if dialer.CodeOf(away) != "" {
		return nil, away
	}
	d, err := s.scheduler.Diagnostics(ctx, in.ID)
	switch {
	case err != nil:
		return nil, err
	case away != nil && d.Live.State == "":
		return nil, dialer.Errorf(dialer.Unavailable, "the database does not answer, and the campaign is not being dialed")
	case away == nil:
		d.Live = describe(d.Live, c)
		d.Warnings = append(d.Warnings, s.startRefusals(ctx, c)...)
	}
	for _, m := range []*map[string]int{&d.Live.Calls, &d.Leads.Later, &d.Leads.DoneBy} {
		if *m == nil {
			*m = map[string]int{}
		}
	}
	if d.Warnings == nil {
		d.Warnings = []string{}
	}
	return &bodyOf[campaign.Diagnostics]{d}, nil
}

// startRefusals is what a start of a campaign that is not open would be told.
func (s *Server) startRefusals(ctx context.Context, c campaign.Campaign) (told []string) {
	if c.State == campaign.Running || c.State == campaign.Paused {
		return nil
	}
	lacks, err := s.lacks(ctx, c)
	if err != nil {
		return nil // the engine has warned of the database
	}
	for _, l := range lacks {
		told = append(told, "it cannot be started: "+strings.TrimSpace(strings.TrimPrefix(l.Field, "/")+" "+l.Message))
	}
	return told
}

// live is the engine's word, with what the engine does not know of a campaign
// that is not open.
func (s *Server) live(c campaign.Campaign) campaign.Live { return describe(s.scheduler.Live(c.ID), c) }

func describe(l campaign.Live, c campaign.Campaign) campaign.Live {
	l.Campaign = c.ID
	if l.State == "" {
		set := c.Settings.Defaulted()
		l.State, l.Mode, l.Abandon.Cap = c.State, set.Mode, *set.AbandonCap
	}
	if l.Calls == nil {
		l.Calls = map[string]int{}
	}
	return l
}

func (s *Server) changeCampaign(ctx context.Context, in *struct {
	CampaignPath
	IfMatch
	Body    CampaignPatch
	RawBody []byte
}) (*tagged[CampaignView], error) {
	version, err := in.version()
	if err != nil {
		return nil, err
	}
	c, err := s.store.GetCampaign(ctx, in.ID)
	switch {
	case err != nil:
		return nil, err
	case c.Version != version:
		return nil, errVersion()
	}
	settings, err := merge(c.Settings, in.RawBody)
	if err != nil {
		return nil, err
	}
	if err := s.checkSettings(ctx, settings); err != nil {
		return nil, err
	}
	changed, err := s.store.UpdateCampaign(ctx, in.ID, version, settings, callerOf(ctx).name(), s.now())
	if dialer.CodeOf(err) == dialer.Conflict {
		if now, again := s.store.GetCampaign(ctx, in.ID); again == nil && now.Version != version {
			return nil, errVersion()
		}
	}
	if err != nil {
		return nil, err
	}
	s.scheduler.Wake()
	return tagCampaign(changed), nil
}

// checkSettings returns every mistake in settings; backup trunks must be there,
// since nobody would miss one before the first is down.
func (s *Server) checkSettings(ctx context.Context, set campaign.Settings) error {
	found := set.Validate()
	if len(set.Backups) > 0 {
		trunks, err := s.trunks(ctx)
		if err != nil {
			return err
		}
		for i, id := range set.Backups {
			if _, ok := trunks[id]; !ok && id != "" {
				found = append(found, dialer.Fieldf(fmt.Sprintf("/backup_trunk_ids/%d", i), "there is no trunk %s", clip(string(id), 40)))
			}
		}
	}
	return mistakes(found)
}

// merge lays a patch over settings (RFC 7396).
func merge[T any](old T, patch []byte) (merged T, err error) {
	text, err := stdjson.Marshal(old)
	if err != nil {
		return merged, err
	}
	var base, over map[string]any
	if err := json.Unmarshal(text, &base); err != nil {
		return merged, err
	}
	if err := strict(patch, &over); err != nil {
		return merged, dialer.Errorf(dialer.Invalid, "%s", err)
	}
	mergeInto(base, over)
	if text, err = json.Marshal(base); err != nil {
		return merged, err
	}
	if err := strict(text, &merged); err != nil {
		return merged, dialer.Errorf(dialer.Invalid, "%s", err)
	}
	return merged, nil
}

func mergeInto(base, over map[string]any) {
	for name, value := range over {
		switch v := value.(type) {
		case nil:
			delete(base, name)
		case map[string]any:
			inner, ok := base[name].(map[string]any)
			if !ok {
				inner = map[string]any{}
			}
			mergeInto(inner, v)
			base[name] = inner
		default:
			base[name] = v
		}
	}
}

func (s *Server) moveCampaign(ctx context.Context, id dialer.CampaignID, from []campaign.State, to campaign.State) (*tagged[CampaignView], error) {
	c, err := s.store.GetCampaign(ctx, id)
	if err != nil {
		return nil, err
	}
	if c.State == to {
		return tagCampaign(c), nil
	}
	if to == campaign.Running {
		if err := s.readyToStart(ctx, c); err != nil {
			return nil, err
		}
	}
	if c, err = s.store.SetCampaignState(ctx, id, from, to, callerOf(ctx).name(), "", s.now()); err != nil {
		return nil, err
	}
	s.scheduler.Wake()
	return tagCampaign(c), nil
}

// lacks is all that a campaign lacks to be started.
func (s *Server) lacks(ctx context.Context, c campaign.Campaign) ([]*dialer.Error, error) {
	trunks, err := s.trunks(ctx)
	if err != nil {
		return nil, err
	}
	left, err := s.store.LeadsLeft(ctx, c.ID, s.now())
	if err != nil {
		return nil, err
	}
	return c.Settings.ReadyToStart(left.Total-left.Done, trunks), nil
}

// readyToStart refuses a campaign that could not dial, with all it lacks.
func (s *Server) readyToStart(ctx context.Context, c campaign.Campaign) error {
	lacks, err := s.lacks(ctx, c)
	if err != nil || len(lacks) == 0 {
		return err
	}
	p := refuse(http.StatusConflict, "the campaign cannot be started: %s", lacks[0])
	if more := len(lacks) - 1; more > 0 {
		p.Detail += fmt.Sprintf(" (and %d more reasons)", more)
	}
	p.Code = "not_ready_to_start"
	for _, l := range lacks {
		place := "settings"
		if field := strings.TrimPrefix(l.Field, "/"); field != "" {
			place += "." + strings.ReplaceAll(field, "/", ".")
		}
		p.Errors = append(p.Errors, Fault{Location: place, Message: l.Message})
	}
	return p
}

// Progress is how far a campaign has come.
type Progress struct {
	Campaign dialer.CampaignID        `json:"campaign_id"`
	State    campaign.State           `json:"state"`
	Leads    LeadProgress             `json:"leads"`
	Calls    map[campaign.Outcome]int `json:"calls" doc:"Ended calls by outcome"`
	Abandon  AbandonProgress          `json:"abandon" doc:"Since the campaign's first start"`
}

// LeadProgress counts leads by where they are.
type LeadProgress struct {
	Total   int            `json:"total"`
	DueNow  int            `json:"due_now"`
	Claimed int            `json:"claimed" doc:"In the hopper"`
	Calling int            `json:"calling"`
	Done    int            `json:"done"`
	Later   map[string]int `json:"later" doc:"Dialable, but not yet: by reason"`
	DoneBy  map[string]int `json:"done_by" doc:"Not to be called again: by reason"`
	NextDue *time.Time     `json:"next_due_at,omitempty"`
}

// AbandonProgress is the abandon rate as the law counts it.
type AbandonProgress struct {
	Answered  int      `json:"answered_person"`
	Abandoned int      `json:"abandoned"`
	Rate      *float64 `json:"rate" nullable:"true" doc:"null while nobody has answered"`
}

func viewLeadCounts(n campaign.LeadCounts) LeadProgress {
	p := LeadProgress{
		Total: n.Total, DueNow: n.DueNow, Claimed: n.Claimed, Calling: n.Calling, Done: n.Done,
		Later: n.Later, DoneBy: n.DoneBy, NextDue: stamp(n.NextDue),
	}
	if p.Later == nil {
		p.Later = map[string]int{}
	}
	if p.DoneBy == nil {
		p.DoneBy = map[string]int{}
	}
	return p
}

func (s *Server) progress(ctx context.Context, in *CampaignPath) (*bodyOf[Progress], error) {
	c, err := s.store.GetCampaign(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	left, err := s.store.LeadsLeft(ctx, in.ID, s.now())
	if err != nil {
		return nil, err
	}
	outcomes, err := s.store.OutcomeCounts(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	if outcomes == nil {
		outcomes = map[campaign.Outcome]int{}
	}
	tally, err := s.store.AbandonTally(ctx, in.ID, c.StartedAt)
	if err != nil {
		return nil, err
	}
	out := Progress{Campaign: c.ID, State: c.State, Leads: viewLeadCounts(left), Calls: outcomes}
	out.Abandon.Abandoned, out.Abandon.Answered, out.Abandon.Rate = tally.Rate()
	return &bodyOf[Progress]{out}, nil
}
