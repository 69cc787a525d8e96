package identity

import (
	"context"

	"google.golang.org/grpc"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/state"
	"github.com/chancery/chancery/modules/identity/did"
	identityv1 "github.com/chancery/chancery/proto/chancery/identity/v1"
)

// RegisterQueries implements chain.Module.
func (m *Module) RegisterQueries(s grpc.ServiceRegistrar, q chain.Snapshots) {
	identityv1.RegisterQueryServer(s, &queries{m: m, q: q})
}

type queries struct {
	identityv1.UnimplementedQueryServer
	m *Module
	q chain.Snapshots
}

// pageSize is how many entries a page holds.
func pageSize(limit uint32) (int, error) {
	switch {
	case limit == 0:
		return defaultPage, nil
	case limit > maxPage:
		return 0, ErrBadQuery.With("limit is %d, at most %d", limit, maxPage)
	}
	return int(limit), nil
}

func (s *queries) Identity(ctx context.Context, q *identityv1.IdentityRequest) (*identityv1.IdentityResponse, error) {
	r, err := s.q.At(ctx)
	if err != nil {
		return nil, err
	}
	if _, err := checkDID("did", q.Did); err != nil {
		return nil, err
	}
	id, ok := s.m.s.identities.Lookup(r, q.Did)
	if !ok {
		return nil, ErrUnknownDID.With("%s", q.Did)
	}
	return &identityv1.IdentityResponse{Identity: id}, nil
}

func (s *queries) Document(ctx context.Context, q *identityv1.DocumentRequest) (*identityv1.DocumentResponse, error) {
	r, err := s.q.At(ctx)
	if err != nil {
		return nil, err
	}
	if _, err := checkDID("did", q.Did); err != nil {
		return nil, err
	}
	if q.Version != 0 && q.Time != 0 {
		return nil, ErrBadQuery.With("give version or time, not both")
	}
	return s.m.resolve(r, q.Did, q.Version, q.Time)
}

func (s *queries) Key(ctx context.Context, q *identityv1.KeyRequest) (*identityv1.KeyResponse, error) {
	r, err := s.q.At(ctx)
	if err != nil {
		return nil, err
	}
	if _, err := checkDID("did", q.Did); err != nil {
		return nil, err
	}
	if !did.IsFragment(q.Id) {
		return nil, ErrBadQuery.With("id: 1 to 64 characters of a-z, 0-9 and -")
	}
	k, ok := s.m.s.keys.Lookup(r, state.Join(q.Did, q.Id))
	if !ok {
		return nil, ErrUnknownKey.With("%s", did.URL(q.Did, q.Id))
	}
	return &identityv1.KeyResponse{Key: k}, nil
}

func (s *queries) Keys(ctx context.Context, q *identityv1.KeysRequest) (*identityv1.KeysResponse, error) {
	r, err := s.q.At(ctx)
	if err != nil {
		return nil, err
	}
	n, err := pageSize(q.Limit)
	if err != nil {
		return nil, err
	}
	if _, err := checkDID("did", q.Did); err != nil {
		return nil, err
	}
	out := &identityv1.KeysResponse{}
	out.Keys, out.NextPageToken = s.m.s.keys.Page(r, state.Under(state.String, q.Did).After(q.PageToken), n)
	return out, nil
}

func (s *queries) ByKey(ctx context.Context, q *identityv1.ByKeyRequest) (*identityv1.ByKeyResponse, error) {
	r, err := s.q.At(ctx)
	if err != nil {
		return nil, err
	}
	t, public := q.Type, q.Public
	if q.Multibase != "" {
		if t != 0 || len(public) != 0 {
			return nil, ErrBadQuery.With("give multibase, or type and public, not both")
		}
		if t, public, err = parseMultikey(q.Multibase); err != nil {
			return nil, ErrBadQuery.Wrap(err)
		}
	}
	if err := validatePublic(t, public); err != nil {
		return nil, ErrBadQuery.Wrap(err)
	}
	holder, ok := s.m.s.holders.Lookup(r, holderKey(t, public))
	if !ok {
		return nil, ErrUnknownPublicKey
	}
	return &identityv1.ByKeyResponse{Holder: holder}, nil
}

func (s *queries) Identities(ctx context.Context, q *identityv1.IdentitiesRequest) (*identityv1.IdentitiesResponse, error) {
	r, err := s.q.At(ctx)
	if err != nil {
		return nil, err
	}
	n, err := pageSize(q.Limit)
	if err != nil {
		return nil, err
	}
	if _, err := checkDID("organisation", q.Organisation); err != nil {
		return nil, err
	}
	page, next := s.m.s.members.Page(r, state.Under(state.String, q.Organisation).After(q.PageToken), n)
	out := &identityv1.IdentitiesResponse{NextPageToken: next}
	for _, k := range page {
		id, _ := s.m.s.identities.Lookup(r, k.B)
		out.Identities = append(out.Identities, id)
	}
	return out, nil
}

func (s *queries) Organisations(ctx context.Context, q *identityv1.OrganisationsRequest) (*identityv1.OrganisationsResponse, error) {
	r, err := s.q.At(ctx)
	if err != nil {
		return nil, err
	}
	n, err := pageSize(q.Limit)
	if err != nil {
		return nil, err
	}
	page, next := s.m.s.organisations.Page(r, all.After(q.PageToken), n)
	out := &identityv1.OrganisationsResponse{NextPageToken: next}
	for _, name := range page {
		id, _ := s.m.s.identities.Lookup(r, name)
		out.Organisations = append(out.Organisations, id)
	}
	return out, nil
}

func (s *queries) Recovery(ctx context.Context, q *identityv1.RecoveryRequest) (*identityv1.RecoveryResponse, error) {
	r, err := s.q.At(ctx)
	if err != nil {
		return nil, err
	}
	if _, err := checkDID("did", q.Did); err != nil {
		return nil, err
	}
	pending, _ := s.m.s.recoveries.Lookup(r, q.Did)
	return &identityv1.RecoveryResponse{Recovery: pending}, nil
}

func (s *queries) Roles(ctx context.Context, q *identityv1.RolesRequest) (*identityv1.RolesResponse, error) {
	r, err := s.q.At(ctx)
	if err != nil {
		return nil, err
	}
	if _, err := checkDID("did", q.Did); err != nil {
		return nil, err
	}
	return &identityv1.RolesResponse{Roles: s.m.grants(r, q.Did)}, nil
}

func (s *queries) Group(ctx context.Context, q *identityv1.GroupRequest) (*identityv1.GroupResponse, error) {
	r, err := s.q.At(ctx)
	if err != nil {
		return nil, err
	}
	key, err := queriedGroup(q.Id)
	if err != nil {
		return nil, err
	}
	g, ok := s.m.s.groups.Lookup(r, key)
	if !ok {
		return nil, ErrNoGroup.With("%s", q.Id)
	}
	return &identityv1.GroupResponse{Group: g}, nil
}

func (s *queries) Groups(ctx context.Context, q *identityv1.GroupsRequest) (*identityv1.GroupsResponse, error) {
	r, err := s.q.At(ctx)
	if err != nil {
		return nil, err
	}
	n, err := pageSize(q.Limit)
	if err != nil {
		return nil, err
	}
	d, err := checkDID("organisation", q.Organisation)
	if err != nil {
		return nil, err
	}
	out := &identityv1.GroupsResponse{}
	out.Groups, out.NextPageToken = s.m.s.groups.Page(r, state.Under(state.String, d.Slug()).After(q.PageToken), n)
	return out, nil
}

func (s *queries) GroupMembers(ctx context.Context, q *identityv1.GroupMembersRequest) (*identityv1.GroupMembersResponse, error) {
	r, err := s.q.At(ctx)
	if err != nil {
		return nil, err
	}
	n, err := pageSize(q.Limit)
	if err != nil {
		return nil, err
	}
	key, err := queriedGroup(q.Id)
	if err != nil {
		return nil, err
	}
	page, next := s.m.s.groupMembers.Page(r, membersOf(key).After(q.PageToken), n)
	out := &identityv1.GroupMembersResponse{NextPageToken: next}
	for _, k := range page {
		out.Members = append(out.Members, k.C)
	}
	return out, nil
}

func (s *queries) Memberships(ctx context.Context, q *identityv1.MembershipsRequest) (*identityv1.MembershipsResponse, error) {
	r, err := s.q.At(ctx)
	if err != nil {
		return nil, err
	}
	if _, err := checkDID("did", q.Did); err != nil {
		return nil, err
	}
	return &identityv1.MembershipsResponse{Groups: s.m.Groups(r, q.Did)}, nil
}

func (s *queries) Validators(ctx context.Context, q *identityv1.ValidatorsRequest) (*identityv1.ValidatorsResponse, error) {
	r, err := s.q.At(ctx)
	if err != nil {
		return nil, err
	}
	n, err := pageSize(q.Limit)
	if err != nil {
		return nil, err
	}
	out := &identityv1.ValidatorsResponse{}
	out.Validators, out.NextPageToken = s.m.s.validators.Page(r, all.After(q.PageToken), n)
	return out, nil
}

func (s *queries) Nodes(ctx context.Context, q *identityv1.NodesRequest) (*identityv1.NodesResponse, error) {
	r, err := s.q.At(ctx)
	if err != nil {
		return nil, err
	}
	n, err := pageSize(q.Limit)
	if err != nil {
		return nil, err
	}
	out := &identityv1.NodesResponse{}
	if q.Organisation == "" {
		out.Nodes, out.NextPageToken = s.m.s.nodes.Page(r, all.After(q.PageToken), n)
		return out, nil
	}
	if _, err := checkDID("organisation", q.Organisation); err != nil {
		return nil, err
	}
	page, next := s.m.s.nodesOf.Page(r, state.Under(state.String, q.Organisation).After(q.PageToken), n)
	out.NextPageToken = next
	for _, k := range page {
		node, _ := s.m.s.nodes.Lookup(r, k.B)
		out.Nodes = append(out.Nodes, node)
	}
	return out, nil
}

func (s *queries) Authorities(ctx context.Context, q *identityv1.AuthoritiesRequest) (*identityv1.AuthoritiesResponse, error) {
	r, err := s.q.At(ctx)
	if err != nil {
		return nil, err
	}
	if _, err := checkDID("organisation", q.Organisation); err != nil {
		return nil, err
	}
	a, _ := s.m.s.authorities.Lookup(r, q.Organisation)
	return &identityv1.AuthoritiesResponse{Authorities: a}, nil
}

// queriedGroup reads SLUG/NAME.
func queriedGroup(id string) (state.Pair[string, string], error) {
	key := groupKey(id)
	if !did.IsSlug(key.A) || !did.IsName(key.B, maxName) {
		return key, ErrBadQuery.With("a group id is SLUG/NAME")
	}
	return key, nil
}
