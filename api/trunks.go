package api

import (
	"context"
	"net/http"
	"net/netip"

	"github.com/danielgtaylor/huma/v2"

	"dialer"
	"dialer/telephony"
)

// TrunkCreate is a new trunk.
type TrunkCreate struct {
	Name         string   `json:"name" minLength:"1" maxLength:"200"`
	Address      string   `json:"address" maxLength:"256" doc:"host or host:port of the SIP peer" example:"sip.example.net:5060"`
	Username     string   `json:"username,omitempty" maxLength:"128"`
	Password     string   `json:"password,omitempty" maxLength:"256" doc:"Never shown"`
	Realm        string   `json:"realm,omitempty" maxLength:"256"`
	FromDomain   string   `json:"from_domain,omitempty" maxLength:"256"`
	Channels     int      `json:"channels" doc:"Most calls at once"`
	CPS          float64  `json:"cps" doc:"Most new calls a second"`
	Codecs       []string `json:"codecs,omitempty" maxItems:"8" doc:"PCMU, PCMA in order of preference; both when absent"`
	MediaSources []string `json:"media_sources,omitempty" maxItems:"64" doc:"Networks (CIDR) that may send audio beside the address of the SDP"`
	Disabled     bool     `json:"disabled,omitempty"`
}

// TrunkChange changes what it names.
type TrunkChange struct {
	Name         *string   `json:"name,omitempty" minLength:"1" maxLength:"200"`
	Address      *string   `json:"address,omitempty" maxLength:"256"`
	Username     *string   `json:"username,omitempty" maxLength:"128"`
	Password     *string   `json:"password,omitempty" maxLength:"256" doc:"Never shown"`
	Realm        *string   `json:"realm,omitempty" maxLength:"256"`
	FromDomain   *string   `json:"from_domain,omitempty" maxLength:"256"`
	Channels     *int      `json:"channels,omitempty"`
	CPS          *float64  `json:"cps,omitempty"`
	Codecs       *[]string `json:"codecs,omitempty" maxItems:"8"`
	MediaSources *[]string `json:"media_sources,omitempty" maxItems:"64"`
	Disabled     *bool     `json:"disabled,omitempty"`
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
}

func viewTrunk(t telephony.Trunk) TrunkView {
	v := TrunkView{
		ID: t.ID, Name: t.Name, Address: t.Address, Username: t.Username, HasPassword: t.Password != "",
		Realm: t.Realm, FromDomain: t.FromDomain, Channels: t.Channels, CPS: t.CPS,
		Codecs: append([]string{}, t.Codecs...), MediaSources: []string{}, Disabled: !t.Enabled,
	}
	for _, p := range t.MediaSources {
		v.MediaSources = append(v.MediaSources, p.String())
	}
	return v
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

// trunk returns a trunk whose version is of no interest.
func (s *Server) trunk(ctx context.Context, id dialer.TrunkID) (telephony.Trunk, error) {
	t, _, err := s.store.GetTrunk(ctx, id)
	return t, err
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
			out.Items = append(out.Items, viewTrunk(t))
		}
		return &bodyOf[Page[TrunkView]]{out}, nil
	})
	route(s, huma.Operation{
		OperationID: "create-trunk", Method: http.MethodPost, Path: "/v1/trunks", DefaultStatus: http.StatusCreated,
		Summary: "Create a trunk", Tags: tags,
	}, func(ctx context.Context, in *struct{ Body TrunkCreate }) (*created[TrunkView], error) {
		b := in.Body
		sources, found := prefixes(b.MediaSources)
		t := telephony.Trunk{
			ID: dialer.NewTrunkID(), Name: b.Name, Address: b.Address, Username: b.Username, Password: b.Password,
			Realm: b.Realm, FromDomain: b.FromDomain, Channels: b.Channels, CPS: b.CPS, Codecs: b.Codecs,
			MediaSources: sources, Enabled: !b.Disabled,
		}
		if err := mistakes(append(found, t.Validate()...)); err != nil {
			return nil, err
		}
		if err := s.store.CreateTrunk(ctx, t); err != nil {
			return nil, err
		}
		s.scheduler.Wake()
		return &created[TrunkView]{Location: "/v1/trunks/" + string(t.ID), Body: viewTrunk(t)}, nil
	})
	route(s, huma.Operation{
		OperationID: "get-trunk", Method: http.MethodGet, Path: "/v1/trunks/{id}", Summary: "Get a trunk", Tags: tags,
	}, func(ctx context.Context, in *TrunkPath) (*tagged[TrunkView], error) {
		t, version, err := s.store.GetTrunk(ctx, in.ID)
		if err != nil {
			return nil, err
		}
		return tagTrunk(t, version), nil
	})
	route(s, huma.Operation{
		OperationID: "change-trunk", Method: http.MethodPatch, Path: "/v1/trunks/{id}", Summary: "Change a trunk", Tags: tags,
	}, s.changeTrunk)
	route(s, huma.Operation{
		OperationID: "delete-trunk", Method: http.MethodDelete, Path: "/v1/trunks/{id}", DefaultStatus: http.StatusNoContent,
		Summary: "Delete a trunk", Tags: tags, Description: "One that a campaign uses or a call names is a conflict: disable it instead.",
	}, func(ctx context.Context, in *TrunkPath) (*struct{}, error) {
		return nil, s.store.DeleteTrunk(ctx, in.ID)
	})
}

func tagTrunk(t telephony.Trunk, version int) *tagged[TrunkView] {
	v := viewTrunk(t)
	v.Version = version
	return &tagged[TrunkView]{ETag: etag(version), Body: v}
}

func (s *Server) changeTrunk(ctx context.Context, in *struct {
	TrunkPath
	IfMatch
	Body TrunkChange
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
	c := in.Body
	set(&t.Name, c.Name)
	set(&t.Address, c.Address)
	set(&t.Username, c.Username)
	set(&t.Password, c.Password)
	set(&t.Realm, c.Realm)
	set(&t.FromDomain, c.FromDomain)
	set(&t.Channels, c.Channels)
	set(&t.CPS, c.CPS)
	set(&t.Codecs, c.Codecs)
	if c.Disabled != nil {
		t.Enabled = !*c.Disabled
	}
	var found []*dialer.Error
	if c.MediaSources != nil {
		t.MediaSources, found = prefixes(*c.MediaSources)
	}
	if err := mistakes(append(found, t.Validate()...)); err != nil {
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
	return tagTrunk(t, version), nil
}
