package api

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"dialer"
)

// UserCreate is a new user.
type UserCreate struct {
	Name     string         `json:"name" minLength:"1" maxLength:"200" doc:"With which they log in"`
	Password string         `json:"password" minLength:"12" maxLength:"256"`
	Role     dialer.Role    `json:"role" enum:"agent,supervisor,manager,compliance,admin"`
	Agent    dialer.AgentID `json:"agent_id,omitempty" maxLength:"40" doc:"The agent that they work as"`
}

// UserView is a user.
type UserView struct {
	ID    dialer.UserID  `json:"id"`
	Name  string         `json:"name"`
	Role  dialer.Role    `json:"role"`
	Agent dialer.AgentID `json:"agent_id,omitempty"`
}

func viewUser(u dialer.User) UserView {
	return UserView{ID: u.ID, Name: u.Name, Role: u.Role, Agent: u.Agent}
}

// KeyCreate is a new API key.
type KeyCreate struct {
	Name string      `json:"name" minLength:"1" maxLength:"200" doc:"What it is for"`
	Role dialer.Role `json:"role" enum:"supervisor,manager,compliance,admin"`
}

// KeyView is an API key.
type KeyView struct {
	ID        dialer.KeyID `json:"id"`
	Name      string       `json:"name"`
	Role      dialer.Role  `json:"role"`
	CreatedAt time.Time    `json:"created_at"`
	Token     string       `json:"token,omitempty" doc:"Shown once, now; it cannot be read again"`
}

func viewKey(k dialer.APIKey) KeyView {
	return KeyView{ID: k.ID, Name: k.Name, Role: k.Role, CreatedAt: k.CreatedAt.UTC().Truncate(time.Millisecond)}
}

type UserPath struct {
	ID dialer.UserID `path:"id" maxLength:"40"`
}

func (s *Server) routeUsers() {
	tags := []string{"users"}
	route(s, huma.Operation{
		OperationID: "list-users", Method: http.MethodGet, Path: "/v1/users", Summary: "List users", Tags: tags,
	}, func(ctx context.Context, in *struct{ Paging }) (*bodyOf[Page[UserView]], error) {
		return page(s, []string{"users"}, in.Paging, func(after string, limit int) ([]dialer.User, error) {
			return s.store.ListUsers(ctx, dialer.UserID(after), limit)
		}, func(u dialer.User) string { return string(u.ID) }, viewUser)
	})
	route(s, huma.Operation{
		OperationID: "create-user", Method: http.MethodPost, Path: "/v1/users", DefaultStatus: http.StatusCreated,
		Summary: "Create a user", Tags: tags,
	}, func(ctx context.Context, in *struct{ Body UserCreate }) (*created[UserView], error) {
		u := dialer.User{ID: dialer.NewUserID(), Name: in.Body.Name, Role: in.Body.Role, Agent: in.Body.Agent}
		switch {
		case u.Role == dialer.RoleAgent && u.Agent == "":
			return nil, dialer.Fieldf("agent_id", "is missing: a user with the role agent works as an agent")
		case u.Agent != "":
			if _, err := s.store.GetAgent(ctx, u.Agent); dialer.CodeOf(err) == dialer.NotFound {
				return nil, dialer.Fieldf("agent_id", "%q is no agent", clip(string(u.Agent), 40))
			} else if err != nil {
				return nil, err
			}
		}
		hash, err := s.gate.hash(ctx, in.Body.Password)
		if err != nil {
			return nil, err
		}
		if err := s.store.CreateUser(ctx, u, hash); err != nil {
			return nil, err
		}
		return &created[UserView]{Location: "/v1/users/" + string(u.ID), Body: viewUser(u)}, nil
	})
	route(s, huma.Operation{
		OperationID: "get-user", Method: http.MethodGet, Path: "/v1/users/{id}", Summary: "Get a user", Tags: tags,
	}, func(ctx context.Context, in *UserPath) (*bodyOf[UserView], error) {
		u, err := s.store.GetUser(ctx, in.ID)
		if err != nil {
			return nil, err
		}
		return &bodyOf[UserView]{viewUser(u)}, nil
	})
	route(s, huma.Operation{
		OperationID: "delete-user", Method: http.MethodDelete, Path: "/v1/users/{id}", DefaultStatus: http.StatusNoContent,
		Summary: "Delete a user", Tags: tags, Description: "Their sessions end at once.",
	}, func(ctx context.Context, in *UserPath) (*struct{}, error) {
		if err := s.store.DeleteUser(ctx, in.ID); err != nil {
			return nil, err
		}
		s.sessions.closeUser(in.ID)
		return nil, nil
	})
}

func (s *Server) routeKeys() {
	tags := []string{"api-keys"}
	route(s, huma.Operation{
		OperationID: "list-api-keys", Method: http.MethodGet, Path: "/v1/api-keys", Summary: "List API keys", Tags: tags,
	}, func(ctx context.Context, in *struct{ Paging }) (*bodyOf[Page[KeyView]], error) {
		return page(s, []string{"api-keys"}, in.Paging, func(after string, limit int) ([]dialer.APIKey, error) {
			return s.store.ListAPIKeys(ctx, dialer.KeyID(after), limit)
		}, func(k dialer.APIKey) string { return string(k.ID) }, viewKey)
	})
	route(s, huma.Operation{
		OperationID: "create-api-key", Method: http.MethodPost, Path: "/v1/api-keys", DefaultStatus: http.StatusCreated,
		Summary: "Create an API key", Tags: tags,
	}, func(ctx context.Context, in *struct{ Body KeyCreate }) (*created[KeyView], error) {
		id, token, hash := NewAPIKey()
		k := dialer.APIKey{ID: id, Name: in.Body.Name, Role: in.Body.Role, CreatedAt: s.now()}
		if err := s.store.CreateAPIKey(ctx, k, hash); err != nil {
			return nil, err
		}
		v := viewKey(k)
		v.Token = token
		return &created[KeyView]{Location: "/v1/api-keys/" + string(id), Body: v}, nil
	})
	route(s, huma.Operation{
		OperationID: "revoke-api-key", Method: http.MethodDelete, Path: "/v1/api-keys/{id}", DefaultStatus: http.StatusNoContent,
		Summary: "Revoke an API key", Tags: tags,
	}, func(ctx context.Context, in *struct {
		ID dialer.KeyID `path:"id" maxLength:"40"`
	}) (*struct{}, error) {
		return nil, s.store.RevokeAPIKey(ctx, in.ID)
	})
}
