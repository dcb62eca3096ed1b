package api

import (
	"slices"

	"dialer"
)

// An access says who may call a route.
type access []dialer.Role

// The accesses. A role is not a rank: the compliance officer sees everything
// that bears on the law and changes nothing but do-not-call lists.
var (
	public   access // no credential
	anyone   = access{dialer.RoleAgent, dialer.RoleSupervisor, dialer.RoleManager, dialer.RoleCompliance, dialer.RoleAdmin}
	staff    = access{dialer.RoleSupervisor, dialer.RoleManager, dialer.RoleCompliance, dialer.RoleAdmin}
	floor    = access{dialer.RoleAgent, dialer.RoleSupervisor, dialer.RoleManager, dialer.RoleAdmin}
	leaders  = access{dialer.RoleSupervisor, dialer.RoleManager, dialer.RoleAdmin}
	managers = access{dialer.RoleManager, dialer.RoleAdmin}
	officers = access{dialer.RoleCompliance, dialer.RoleAdmin}
	admins   = access{dialer.RoleAdmin}
)

// rules is the one table of who may call what. A route that is not in it
// answers nobody, and a test fails. An agent is held to their own agent
// resource besides (Server.own).
var rules = map[string]access{
	"GET /livez":           public,
	"GET /readyz":          public,
	"GET /metrics":         public, // to this machine; else staff, checked there
	"GET /v1/openapi.yaml": public,
	"POST /v1/sessions":    public,

	"GET /v1/session":    anyone,
	"DELETE /v1/session": anyone,

	"GET /v1/users":         admins,
	"POST /v1/users":        admins,
	"GET /v1/users/{id}":    admins,
	"DELETE /v1/users/{id}": admins,

	"GET /v1/api-keys":         admins,
	"POST /v1/api-keys":        admins,
	"DELETE /v1/api-keys/{id}": admins,

	"GET /v1/trunks":            leaders,
	"POST /v1/trunks":           admins,
	"GET /v1/trunks/{id}":       leaders,
	"PATCH /v1/trunks/{id}":     admins,
	"DELETE /v1/trunks/{id}":    admins,
	"POST /v1/trunks/{id}/test": admins,

	"GET /v1/campaigns":                  staff,
	"POST /v1/campaigns":                 managers,
	"GET /v1/campaigns/{id}":             staff,
	"PATCH /v1/campaigns/{id}":           managers,
	"POST /v1/campaigns/{id}/start":      managers,
	"POST /v1/campaigns/{id}/pause":      leaders,
	"POST /v1/campaigns/{id}/resume":     managers,
	"POST /v1/campaigns/{id}/stop":       leaders,
	"GET /v1/campaigns/{id}/progress":    staff,
	"GET /v1/campaigns/{id}/diagnostics": staff,
	"GET /v1/campaigns/{id}/live":        staff,
	"GET /v1/campaigns/{id}/amd":         staff,
	"GET /v1/campaigns/{id}/decisions":   staff,

	"GET /v1/lists":                   staff,
	"POST /v1/lists":                  managers,
	"GET /v1/lists/{id}":              staff,
	"POST /v1/lists/{id}/imports":     managers,
	"GET /v1/lists/{id}/imports":      staff,
	"GET /v1/imports/{id}":            staff,
	"GET /v1/imports/{id}/rejects":    managers,
	"GET /v1/lists/{id}/leads":        staff,
	"POST /v1/lists/{id}/leads":       managers,
	"GET /v1/lists/{id}/leads/{lead}": staff,

	"GET /v1/agents":         staff,
	"POST /v1/agents":        managers,
	"GET /v1/agents/{id}":    anyone,
	"PATCH /v1/agents/{id}":  managers,
	"DELETE /v1/agents/{id}": managers,

	"GET /v1/agents/{id}/sip":           leaders,
	"GET /v1/agents/{id}/state":         anyone,
	"POST /v1/agents/{id}/login":        floor,
	"POST /v1/agents/{id}/ready":        floor,
	"POST /v1/agents/{id}/not-ready":    floor,
	"POST /v1/agents/{id}/hangup":       floor,
	"POST /v1/agents/{id}/dispose":      floor,
	"POST /v1/agents/{id}/preview-dial": floor,
	"POST /v1/agents/{id}/preview-skip": floor,
	"POST /v1/agents/{id}/machine":      floor,
	"POST /v1/agents/{id}/logout":       floor,
	"POST /v1/agent/ticket":             access{dialer.RoleAgent},
	"GET /v1/agent/ws":                  public, // by ticket or header, checked there

	"GET /v1/dnc":             staff,
	"POST /v1/dnc":            anyone,
	"GET /v1/dnc/{number}":    staff,
	"DELETE /v1/dnc/{number}": officers,

	"POST /v1/assets":      managers,
	"GET /v1/assets/{sha}": staff,

	"GET /v1/calls":                staff,
	"GET /v1/calls/{id}":           staff,
	"GET /v1/calls/{id}/events":    staff,
	"GET /v1/calls/{id}/sip":       leaders,
	"GET /v1/calls/{id}/seconds":   {dialer.RoleSupervisor, dialer.RoleCompliance, dialer.RoleAdmin},
	"PUT /v1/calls/{id}/label":     {dialer.RoleSupervisor, dialer.RoleCompliance, dialer.RoleAdmin},
	"GET /v1/calls/{id}/recording": {dialer.RoleSupervisor, dialer.RoleCompliance, dialer.RoleAdmin},

	"GET /v1/simulations":         staff,
	"POST /v1/simulations":        managers,
	"GET /v1/simulations/{id}":    staff,
	"DELETE /v1/simulations/{id}": managers,

	"GET /v1/reports/abandon":       staff,
	"GET /v1/reports/abandon/calls": staff,

	"GET /v1/events":        staff,
	"GET /v1/events/stream": staff,
}

// allows reports whether a role may call a route of this access.
func (a access) allows(r dialer.Role) bool { return slices.Contains(a, r) }
