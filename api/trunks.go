package api

import (
	"context"
	"net/http"
	"net/netip"

	"github.com/danielgtaylor/huma/v2"

	"dialer"
	"dialer/telephony"
)

// TrunkSettings are what a trunk is made of and changed by.
type TrunkSettings struct {
	Name         string   `json:"name" minLength:"1" maxLength:"200"`
	Address      string   `json:"address" maxLength:"256" doc:"host or host:port of the SIP peer; a host without a port is looked up by SRV first" example:"sip.example.net:5060"`
	Username     string   `json:"username,omitempty" maxLength:"128"`
	Password     string   `json:"password,omitempty" maxLength:"256" doc:"Never shown"`
	Realm        string   `json:"realm,omitempty" maxLength:"256" doc:"Answered only when the challenge names it; the first one of the peer when absent"`
	FromDomain   string   `json:"from_domain,omitempty" maxLength:"256" doc:"The host part of From; our address when absent"`
	Channels     int      `json:"channels" doc:"Most calls at once"`
	CPS          float64  `json:"cps" doc:"Most new calls a second"`
	Codecs       []string `json:"codecs,omitempty" maxItems:"8" doc:"PCMU, PCMA in order of preference; both when absent"`
	MediaSources []string `json:"media_sources,omitempty" maxItems:"64" doc:"Networks (CIDR) that may send audio beside the address of the SDP"`
	Disabled     bool     `json:"disabled,omitempty"`
	telephony.TrunkOptions
}

// TrunkPatch are the settings to change; what is absent stays.
type TrunkPatch TrunkSettings

// TransformSchema is called by huma.
func (*TrunkPatch) TransformSchema(_ huma.Registry, s *huma.Schema) *huma.Schema {
	s.Required = nil
	s.Properties["headers"].AdditionalProperties = &huma.Schema{Type: huma.TypeString, Nullable: true} // null removes one
	return s
}

// TrunkView is a trunk without its password.
type TrunkView struct {
	ID           dialer.TrunkID `json:"id"`
	Version      int            `json:"version,omitempty" doc:"The ETag"`
	Name         string         `json:"name"`
	Address      string         `json:"address"`
	Username     string         `json:"username,omitempty"`
	HasPassword  bool           `json:"has_password"`
	Realm        string         `json:"realm,omitempty"`
	FromDomain   string         `json:"from_domain,omitempty"`
	Channels     int            `json:"channels"`
	CPS          float64        `json:"cps"`
	Codecs       []string       `json:"codecs"`
	MediaSources []string       `json:"media_sources"`
	Disabled     bool           `json:"disabled"`
	telephony.TrunkOptions
	Now *TrunkNow `json:"now,omitempty" doc:"How the trunk is this moment, at this process"`
}

// TrunkNow is what a trunk can take.
type TrunkNow struct {
	Up    bool   `json:"up"`
	Why   string `json:"why,omitempty" doc:"Why it is down or full"`
	InUse int    `json:"channels_in_use"`
	// Peers are the trunk's addresses, none while they are not known.
	Peers []telephony.PeerState `json:"peers" doc:"The trunk's addresses, in the order of preference"`
}

// viewTrunk shows a trunk as it is kept, and as it is now.
func (s *Server) viewTrunk(t telephony.Trunk) TrunkView {
	v := storedTrunk(t)
	if c, ok := s.trunksNow()[t.ID]; ok {
		v.Now = &TrunkNow{c.Up, c.Why, c.InUse, []telephony.PeerState{}}
		if s.peersNow != nil {
			v.Now.Peers = append(v.Now.Peers, s.peersNow(t.ID)...)
		}
	}
	return v
}

func storedTrunk(t telephony.Trunk) TrunkView {
	s := settingsOf(t)
	return TrunkView{
		ID: t.ID, Name: s.Name, Address: s.Address, Username: s.Username, HasPassword: s.Password != "",
		Realm: s.Realm, FromDomain: s.FromDomain, Channels: s.Channels, CPS: s.CPS,
		Codecs: s.Codecs, MediaSources: s.MediaSources, Disabled: s.Disabled, TrunkOptions: s.TrunkOptions,
	}
}

// settingsOf is a trunk as its settings, the password among them.
func settingsOf(t telephony.Trunk) TrunkSettings {
	s := TrunkSettings{
		Name: t.Name, Address: t.Address, Username: t.Username, Password: t.Password, Realm: t.Realm, FromDomain: t.FromDomain,
		Channels: t.Channels, CPS: t.CPS, Codecs: append([]string{}, t.Codecs...), MediaSources: []string{},
		Disabled: !t.Enabled, TrunkOptions: t.TrunkOptions,
	}
	for _, p := range t.MediaSources {
		s.MediaSources = append(s.MediaSources, p.String())
	}
	return s
}

// trunk is the trunk that settings describe, and every mistake in them.
func (s TrunkSettings) trunk(id dialer.TrunkID) (telephony.Trunk, error) {
	sources, found := prefixes(s.MediaSources)
	t := telephony.Trunk{
		ID: id, Name: s.Name, Address: s.Address, Username: s.Username, Password: s.Password,
		Realm: s.Realm, FromDomain: s.FromDomain, Channels: s.Channels, CPS: s.CPS, Codecs: s.Codecs,
		MediaSources: sources, Enabled: !s.Disabled, TrunkOptions: s.TrunkOptions,
	}
	return t, mistakes(append(found, t.Validate()...))
}

// prefixes reads the networks and returns each mistake.
func prefixes(texts []string) (all []netip.Prefix, found []*dialer.Error) {
	for _, text := range texts {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			found = append(found, dialer.Fieldf("media_sources", "%q is not a network such as 192.0.2.0/24", clip(text, 50)))
			continue
		}
		all = append(all, p)
	}
	return all, found
}

type TrunkPath struct {
	ID dialer.TrunkID `path:"id" maxLength:"40"`
}

// trunks returns all trunks by their ids.
func (s *Server) trunks(ctx context.Context) (map[dialer.TrunkID]telephony.Trunk, error) {
	all, err := s.store.ListTrunks(ctx)
	byID := make(map[dialer.TrunkID]telephony.Trunk, len(all))
	for _, t := range all {
		byID[t.ID] = t
	}
	return byID, err
}

func (s *Server) routeTrunks() {
	tags := []string{"trunks"}
	route(s, huma.Operation{
		OperationID: "list-trunks", Method: http.MethodGet, Path: "/v1/trunks", Summary: "List trunks", Tags: tags,
	}, func(ctx context.Context, _ *struct{}) (*bodyOf[Page[TrunkView]], error) {
		all, err := s.store.ListTrunks(ctx)
		if err != nil {
			return nil, err
		}
		out := Page[TrunkView]{Items: make([]TrunkView, 0, len(all))}
		for _, t := range all {
			out.Items = append(out.Items, s.viewTrunk(t))
		}
		return &bodyOf[Page[TrunkView]]{out}, nil
	})
	route(s, huma.Operation{
		OperationID: "create-trunk", Method: http.MethodPost, Path: "/v1/trunks", DefaultStatus: http.StatusCreated,
		Summary: "Create a trunk", Tags: tags,
	}, func(ctx context.Context, in *struct{ Body TrunkSettings }) (*created[TrunkView], error) {
		t, err := in.Body.trunk(dialer.NewTrunkID())
		if err != nil {
			return nil, err
		}
		if err := s.store.CreateTrunk(ctx, t); err != nil {
			return nil, err
		}
		s.scheduler.Wake()
		return &created[TrunkView]{Location: "/v1/trunks/" + string(t.ID), Body: s.viewTrunk(t)}, nil
	})
	route(s, huma.Operation{
		OperationID: "get-trunk", Method: http.MethodGet, Path: "/v1/trunks/{id}", Summary: "Get a trunk", Tags: tags,
	}, func(ctx context.Context, in *TrunkPath) (*tagged[TrunkView], error) {
		t, version, err := s.store.GetTrunk(ctx, in.ID)
		if err != nil {
			return nil, err
		}
		return s.tagTrunk(t, version), nil
	})
	route(s, huma.Operation{
		OperationID: "change-trunk", Method: http.MethodPatch, Path: "/v1/trunks/{id}", Summary: "Change a trunk", Tags: tags,
		Description: "A merge (RFC 7396): what is absent stays, null gives a field its default, lists are replaced.",
	}, s.changeTrunk)
	route(s, huma.Operation{
		OperationID: "delete-trunk", Method: http.MethodDelete, Path: "/v1/trunks/{id}", DefaultStatus: http.StatusNoContent,
		Summary: "Delete a trunk", Tags: tags, Description: "One that a campaign uses or a call names is a conflict: disable it instead.",
	}, func(ctx context.Context, in *TrunkPath) (*struct{}, error) {
		return nil, s.store.DeleteTrunk(ctx, in.ID)
	})
}

func (s *Server) tagTrunk(t telephony.Trunk, version int) *tagged[TrunkView] {
	v := s.viewTrunk(t)
	v.Version = version
	return &tagged[TrunkView]{ETag: etag(version), Body: v}
}

func (s *Server) changeTrunk(ctx context.Context, in *struct {
	TrunkPath
	IfMatch
	Body    TrunkPatch
	RawBody []byte
}) (*tagged[TrunkView], error) {
	seen, err := in.version()
	if err != nil {
		return nil, err
	}
	t, version, err := s.store.GetTrunk(ctx, in.ID)
	switch {
	case err != nil:
		return nil, err
	case version != seen:
		return nil, errVersion()
	}
	changed, err := merge(settingsOf(t), in.RawBody)
	if err != nil {
		return nil, err
	}
	if t, err = changed.trunk(t.ID); err != nil {
		return nil, err
	}
	if err := s.store.UpdateTrunk(ctx, version, t); err != nil {
		if dialer.CodeOf(err) == dialer.Conflict {
			return nil, errVersion()
		}
		return nil, err
	}
	s.scheduler.Wake()
	return s.tagged(ctx, in.ID)
}

func (s *Server) tagged(ctx context.Context, id dialer.TrunkID) (*tagged[TrunkView], error) {
	t, version, err := s.store.GetTrunk(ctx, id)
	if err != nil {
		return nil, err
	}
	return s.tagTrunk(t, version), nil
}
