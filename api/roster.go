package api

import (
	"context"
	"crypto/md5"
	"encoding/hex"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"dialer"
	"dialer/agents"
)

// AgentCreate is a new agent.
type AgentCreate struct {
	Name      string              `json:"name" minLength:"1" maxLength:"200"`
	Extension string              `json:"extension,omitempty" maxLength:"64" doc:"User part with which the phone registers"`
	Password  string              `json:"password,omitempty" maxLength:"256" doc:"Of the phone, 12 bytes or more; never shown"`
	URI       string              `json:"uri,omitempty" maxLength:"256" doc:"Fixed address of the phone instead, sip:…"`
	Campaigns []dialer.CampaignID `json:"campaign_ids,omitempty" maxItems:"200" doc:"Whose calls they take"`
}

// AgentChange changes what it names.
type AgentChange struct {
	Name      *string              `json:"name,omitempty" minLength:"1" maxLength:"200"`
	Extension *string              `json:"extension,omitempty" maxLength:"64"`
	Password  *string              `json:"password,omitempty" maxLength:"256" doc:"Needed when the extension changes"`
	URI       *string              `json:"uri,omitempty" maxLength:"256"`
	Campaigns *[]dialer.CampaignID `json:"campaign_ids,omitempty" maxItems:"200"`
}

// AgentView is an agent.
type AgentView struct {
	ID        dialer.AgentID      `json:"id"`
	Name      string              `json:"name"`
	Extension string              `json:"extension,omitempty"`
	URI       string              `json:"uri,omitempty"`
	Campaigns []dialer.CampaignID `json:"campaign_ids"`
	State     agents.State        `json:"state" doc:"Now"`
}

func (s *Server) viewAgent(a agents.Agent) AgentView {
	return AgentView{
		ID: a.ID, Name: a.Name, Extension: a.Extension, URI: a.URI,
		Campaigns: append([]dialer.CampaignID{}, a.Campaigns...),
		State:     s.agents.State(a.ID).State,
	}
}

// ha1 is what a registrar needs of a phone's password (RFC 7616, MD5, as
// phones still use it).
func (s *Server) ha1(extension, password string) string {
	sum := md5.Sum([]byte(extension + ":" + s.realm + ":" + password))
	return hex.EncodeToString(sum[:])
}

// checkAgent returns the first mistake of an agent.
func checkAgent(a agents.Agent, password string) error {
	switch {
	case strings.TrimSpace(a.Name) == "":
		return dialer.Fieldf("name", "is empty: give the agent a name")
	case a.Extension == "" && a.URI == "":
		return dialer.Fieldf("extension", "is empty: give the phone an extension (and a password), or a uri to call")
	case strings.IndexFunc(a.Extension, badInUser) >= 0:
		return dialer.Fieldf("extension", "%q: use letters, digits, - _ and .", clip(a.Extension, 64))
	case password != "" && len(password) < MinPassword:
		return dialer.Fieldf("password", "has %d bytes: give %d or more", len(password), MinPassword)
	}
	return nil
}

func badInUser(r rune) bool {
	return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_' || r == '.')
}

type AgentPath struct {
	ID dialer.AgentID `path:"id" maxLength:"40"`
}

func (s *Server) routeAgents() {
	tags := []string{"agents"}
	route(s, huma.Operation{
		OperationID: "list-agents", Method: http.MethodGet, Path: "/v1/agents", Summary: "List agents", Tags: tags,
	}, func(ctx context.Context, in *struct{ Paging }) (*bodyOf[Page[AgentView]], error) {
		return page(s, []string{"agents"}, in.Paging, func(after string, limit int) ([]agents.Agent, error) {
			return s.store.ListAgents(ctx, dialer.AgentID(after), limit)
		}, func(a agents.Agent) string { return string(a.ID) }, s.viewAgent)
	})
	route(s, huma.Operation{
		OperationID: "create-agent", Method: http.MethodPost, Path: "/v1/agents", DefaultStatus: http.StatusCreated,
		Summary: "Create an agent", Tags: tags,
	}, func(ctx context.Context, in *struct{ Body AgentCreate }) (*created[AgentView], error) {
		a := agents.Agent{
			ID: dialer.NewAgentID(), Name: in.Body.Name, Extension: in.Body.Extension,
			URI: in.Body.URI, Campaigns: in.Body.Campaigns,
		}
		if err := checkAgent(a, in.Body.Password); err != nil {
			return nil, err
		}
		if a.URI != "" {
			if err := s.checkPhone(ctx, a.URI); err != nil {
				return nil, err
			}
		}
		var ha1 string
		switch {
		case in.Body.Password != "":
			ha1 = s.ha1(a.Extension, in.Body.Password)
		case a.URI == "":
			return nil, dialer.Fieldf("password", "is empty: the phone needs one to register")
		}
		if err := s.store.CreateAgent(ctx, a, ha1); err != nil {
			return nil, err
		}
		return &created[AgentView]{Location: "/v1/agents/" + string(a.ID), Body: s.viewAgent(a)}, nil
	})
	route(s, huma.Operation{
		OperationID: "get-agent", Method: http.MethodGet, Path: "/v1/agents/{id}", Summary: "Get an agent", Tags: tags,
	}, func(ctx context.Context, in *AgentPath) (*bodyOf[AgentView], error) {
		if err := own(ctx, in.ID); err != nil {
			return nil, err
		}
		a, err := s.store.GetAgent(ctx, in.ID)
		if err != nil {
			return nil, err
		}
		return &bodyOf[AgentView]{s.viewAgent(a)}, nil
	})
	route(s, huma.Operation{
		OperationID: "change-agent", Method: http.MethodPatch, Path: "/v1/agents/{id}", Summary: "Change an agent", Tags: tags,
	}, func(ctx context.Context, in *struct {
		AgentPath
		Body AgentChange
	}) (*bodyOf[AgentView], error) {
		a, err := s.store.GetAgent(ctx, in.ID)
		if err != nil {
			return nil, err
		}
		c := in.Body
		renamed := c.Extension != nil && *c.Extension != a.Extension
		set(&a.Name, c.Name)
		set(&a.Extension, c.Extension)
		set(&a.URI, c.URI)
		set(&a.Campaigns, c.Campaigns)
		var password string
		set(&password, c.Password)
		if err := checkAgent(a, password); err != nil {
			return nil, err
		}
		if c.URI != nil && *c.URI != "" {
			if err := s.checkPhone(ctx, a.URI); err != nil {
				return nil, err
			}
		}
		var ha1 string
		switch {
		case password != "":
			ha1 = s.ha1(a.Extension, password)
		case renamed && a.URI == "":
			return nil, dialer.Fieldf("password", "is empty: a new extension needs the password again")
		}
		if err := s.store.UpdateAgent(ctx, a, ha1); err != nil {
			return nil, err
		}
		s.agents.Update(a)
		return &bodyOf[AgentView]{s.viewAgent(a)}, nil
	})
	route(s, huma.Operation{
		OperationID: "delete-agent", Method: http.MethodDelete, Path: "/v1/agents/{id}", DefaultStatus: http.StatusNoContent,
		Summary: "Delete an agent", Tags: tags, Description: "One who is logged in is a conflict.",
	}, func(ctx context.Context, in *AgentPath) (*struct{}, error) {
		if now := s.agents.State(in.ID).State; now != agents.LoggedOut {
			return nil, dialer.Errorf(dialer.Conflict, "the agent is %s: log them out first", now)
		}
		return nil, s.store.DeleteAgent(ctx, in.ID)
	})
}

// set takes a value that was given.
func set[T any](to *T, from *T) {
	if from != nil {
		*to = *from
	}
}

// created is the answer to a creation.
type created[T any] struct {
	Location string `header:"Location"`
	ETag     string `header:"ETag"`
	Body     T
}

// routeDesk registers the websocket and its REST twins.
func (s *Server) routeDesk() {
	s.routeDeskSocket()
	tags := []string{"desk"}
	route(s, huma.Operation{
		OperationID: "get-agent-state", Method: http.MethodGet, Path: "/v1/agents/{id}/state", Summary: "How an agent is now", Tags: tags,
	}, func(ctx context.Context, in *AgentPath) (*bodyOf[agents.Snapshot], error) {
		if err := own(ctx, in.ID); err != nil {
			return nil, err
		}
		snap := s.snapshot(in.ID)
		if snap.State == agents.LoggedOut { // the registry knows those on shift
			a, err := s.store.GetAgent(ctx, in.ID)
			if err != nil {
				return nil, err
			}
			snap.Name, snap.Extension = a.Name, a.Extension
			snap.Campaigns = append(snap.Campaigns, a.Campaigns...)
		}
		return &bodyOf[agents.Snapshot]{snap}, nil
	})
	route(s, huma.Operation{
		OperationID: "agent-login", Method: http.MethodPost, Path: "/v1/agents/{id}/login",
		Summary: "Ring the agent's phone and start the shift", Tags: tags,
		Description: "The agent still needs a desktop (the websocket) to be ready.",
	}, func(ctx context.Context, in *struct {
		AgentPath
		Body *struct {
			TakeOver bool `json:"take_over,omitempty" doc:"No conflict when logged in already"`
		}
	}) (*bodyOf[agents.Snapshot], error) {
		if err := own(ctx, in.ID); err != nil {
			return nil, err
		}
		if err := s.login(ctx, in.ID, in.Body != nil && in.Body.TakeOver); err != nil {
			return nil, err
		}
		return &bodyOf[agents.Snapshot]{s.snapshot(in.ID)}, nil
	})
	twin := func(name, summary string) {
		route(s, huma.Operation{
			OperationID: "agent-" + name, Method: http.MethodPost, Path: "/v1/agents/{id}/" + name, Summary: summary, Tags: tags,
		}, func(ctx context.Context, in *AgentPath) (*bodyOf[agents.Snapshot], error) {
			return s.twin(ctx, in.ID, Command{Command: strings.ReplaceAll(name, "-", "_")})
		})
	}
	twin("ready", "Ready for calls")
	twin("hangup", "End the call")
	route(s, huma.Operation{
		OperationID: "agent-not-ready", Method: http.MethodPost, Path: "/v1/agents/{id}/not-ready", Summary: "A pause", Tags: tags,
	}, func(ctx context.Context, in *struct {
		AgentPath
		Body *struct {
			Reason string `json:"reason,omitempty" maxLength:"200"`
		}
	}) (*bodyOf[agents.Snapshot], error) {
		c := Command{Command: "not_ready"}
		if in.Body != nil {
			c.Reason = in.Body.Reason
		}
		return s.twin(ctx, in.ID, c)
	})
	route(s, huma.Operation{
		OperationID: "agent-logout", Method: http.MethodPost, Path: "/v1/agents/{id}/logout", Summary: "End the shift", Tags: tags,
	}, func(ctx context.Context, in *struct {
		AgentPath
		Body *struct {
			Force bool `json:"force,omitempty" doc:"End the call with it"`
		}
	}) (*bodyOf[agents.Snapshot], error) {
		return s.twin(ctx, in.ID, Command{Command: "logout", Force: in.Body != nil && in.Body.Force})
	})
	route(s, huma.Operation{
		OperationID: "agent-dispose", Method: http.MethodPost, Path: "/v1/agents/{id}/dispose", Summary: "Say what came of the call", Tags: tags,
	}, func(ctx context.Context, in *struct {
		AgentPath
		Body struct {
			Call dialer.CallID `json:"call_id" maxLength:"40"`
			Dispose
		}
	}) (*bodyOf[agents.Snapshot], error) {
		return s.twin(ctx, in.ID, Command{Command: "dispose", Call: in.Body.Call, Dispose: in.Body.Dispose})
	})
	ofCall := func(name, summary string) {
		route(s, huma.Operation{
			OperationID: "agent-" + name, Method: http.MethodPost, Path: "/v1/agents/{id}/" + name, Summary: summary, Tags: tags,
		}, func(ctx context.Context, in *struct {
			AgentPath
			Body struct {
				Call dialer.CallID `json:"call_id" maxLength:"40"`
			}
		}) (*bodyOf[agents.Snapshot], error) {
			return s.twin(ctx, in.ID, Command{Command: strings.ReplaceAll(name, "-", "_"), Call: in.Body.Call})
		})
	}
	ofCall("preview-dial", "Dial the lead shown")
	ofCall("preview-skip", "Skip the lead shown")
	ofCall("machine", "Leave the call to the machine that answered")
}

func (s *Server) twin(ctx context.Context, id dialer.AgentID, c Command) (*bodyOf[agents.Snapshot], error) {
	if err := own(ctx, id); err != nil {
		return nil, err
	}
	if err := s.command(ctx, id, c); err != nil {
		return nil, err
	}
	return &bodyOf[agents.Snapshot]{s.snapshot(id)}, nil
}

func (s *Server) snapshot(id dialer.AgentID) agents.Snapshot {
	snap := s.agents.State(id)
	if snap.Campaigns == nil {
		snap.Campaigns = []dialer.CampaignID{}
	}
	return snap
}
