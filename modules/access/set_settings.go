package access

import (
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/state"
	accessv1 "github.com/chancery/chancery/proto/chancery/access/v1"
)

func (m *Module) setSettings() chain.Handler[*accessv1.SetSettings] {
	return chain.Handler[*accessv1.SetSettings]{
		Validate: func(msg *accessv1.SetSettings) error {
			if err := checkDID("organisation", msg.Organisation); err != nil {
				return err
			}
			return checkSettings(msg.Settings)
		},
		Check: func(ctx chain.ReadCtx, msg *accessv1.SetSettings) error {
			return m.checkPolicyAdmin(ctx, msg.Organisation)
		},
		Execute: func(ctx *chain.Ctx, msg *accessv1.SetSettings) (proto.Message, error) {
			settings := msg.Settings.CloneVT()
			slices.SortFunc(settings.Purposes, func(a, b *accessv1.Purpose) int { return strings.Compare(a.Iri, b.Iri) })
			o := m.store.organisation(ctx, msg.Organisation)
			o.Version++
			o.Settings = o.Version
			m.store.settings.Put(ctx, state.Join(o.Organisation, o.Version), &accessv1.SettingsVersion{
				Organisation: o.Organisation, Version: o.Version, Settings: settings, Change: changeOf(ctx),
			})
			m.store.organisations.Put(ctx, o.Organisation, o)
			ctx.Emit(&accessv1.SettingsSet{Organisation: o.Organisation, Version: o.Version, Author: ctx.Author()})
			return &accessv1.SetSettingsResponse{Version: o.Version}, nil
		},
	}
}

func checkSettings(s *accessv1.Settings) error {
	if s == nil {
		return ErrField.With("settings is missing")
	}
	if len(s.Purposes) > maxPurposes {
		return ErrTooLarge.With("%d purposes, at most %d", len(s.Purposes), maxPurposes)
	}
	var names []string
	for _, p := range s.Purposes {
		if p == nil {
			return ErrField.With("settings.purposes has an empty entry")
		}
		if err := checkIRI("settings.purposes.iri", p.Iri); err != nil {
			return err
		}
		if err := checkIRI("settings.purposes.legal_basis", p.LegalBasis); err != nil {
			return err
		}
		names = append(names, p.Iri)
	}
	slices.Sort(names)
	if len(slices.Compact(names)) != len(s.Purposes) {
		return ErrField.With("settings.purposes names a purpose twice")
	}
	switch s.BreakGlass {
	case accessv1.BreakGlassRule_BREAK_GLASS_RULE_DISABLED, accessv1.BreakGlassRule_BREAK_GLASS_RULE_MEMBERS, accessv1.BreakGlassRule_BREAK_GLASS_RULE_ANYONE:
	default:
		return ErrField.With("settings.break_glass must be disabled, members or anyone")
	}
	if s.ReviewMs < minReviewMs || s.ReviewMs > maxReviewMs {
		return ErrField.With("settings.review_ms must be %d to %d", minReviewMs, maxReviewMs)
	}
	if s.GrantMs < minGrantMs || s.GrantMs > maxGrantMs {
		return ErrField.With("settings.grant_ms must be %d to %d", minGrantMs, maxGrantMs)
	}
	return nil
}
