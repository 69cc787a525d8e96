package identity

import (
	"regexp"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/state"
	"github.com/chancery/chancery/modules/identity/did"
	identityv1 "github.com/chancery/chancery/proto/chancery/identity/v1"
)

var (
	serviceType     = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9.-]{0,63}$`)
	serviceEndpoint = regexp.MustCompile(`^(https?|grpcs?|wss?)://([a-z0-9]([a-z0-9.-]*[a-z0-9])?|\[[0-9a-f:]+\])(:[0-9]{1,5})?(/[A-Za-z0-9._~!$&'()*+,;=:/-]*)?$`)
)

func (m *Module) setServices() chain.Route {
	return chain.Handle(chain.Handler[*identityv1.SetServices]{
		Validate: func(msg *identityv1.SetServices) error { return validateServices(msg.Services) },
		Check: func(ctx chain.ReadCtx, msg *identityv1.SetServices) error {
			id, err := m.own(ctx)
			if err != nil {
				return err
			}
			if id.Kind == identityv1.Kind_KIND_PERSON && len(msg.Services) > 0 {
				return ErrBadKind.With("a person's endpoint would be personal data on the chain")
			}
			for _, s := range msg.Services {
				if m.s.keys.Has(ctx, state.Join(id.Did, s.Id)) {
					return ErrKeyIDTaken.With("%s is a key", did.URL(id.Did, s.Id))
				}
			}
			return nil
		},
		Execute: func(ctx *chain.Ctx, msg *identityv1.SetServices) (proto.Message, error) {
			id, err := m.own(ctx)
			if err != nil {
				return nil, err
			}
			m.revise(ctx, id)
			id.Services = slices.Clone(msg.Services)
			slices.SortFunc(id.Services, func(a, b *identityv1.Service) int { return strings.Compare(a.Id, b.Id) })
			m.s.identities.Put(ctx, id.Did, id)
			ctx.Emit(&identityv1.ServicesSet{Did: id.Did, Services: id.Services})
			return &identityv1.SetServicesResponse{}, nil
		},
	})
}

func validateServices(list []*identityv1.Service) error {
	if len(list) > MaxServices {
		return ErrTooMany.With("services: %d, at most %d", len(list), MaxServices)
	}
	for i, s := range list {
		switch {
		case !did.IsFragment(s.Id):
			return ErrBadService.With("id: 1 to 64 characters of a-z, 0-9 and -")
		case !serviceType.MatchString(s.Type):
			return ErrBadService.With("%s: type: a letter, then up to 63 letters, digits, . and -", s.Id)
		case len(s.Endpoint) > maxEndpoint || !serviceEndpoint.MatchString(s.Endpoint):
			return ErrBadService.With("%s: endpoint: a URL of at most %d bytes with https, http, grpcs, grpc, wss or ws, a lower-case host, port and path", s.Id, maxEndpoint)
		}
		if slices.ContainsFunc(list[:i], func(o *identityv1.Service) bool { return o.Id == s.Id }) {
			return ErrTwice.With("services: %s", s.Id)
		}
	}
	return nil
}
