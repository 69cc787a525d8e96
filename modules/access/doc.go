// Package access decides who may see what. Organisations keep Cedar policies, a
// schema and entities; the consortium keeps guard rails that can only forbid; a
// decision is a transaction (recorded, with everything needed to repeat it) or a
// query (not recorded), by one and the same evaluation.
//
// Invariants:
//
//   - What is stored parses, is within the bounds of limits.go and, where the
//     organisation had a schema at the time, validates against it.
//   - A decision depends on nothing but its request, state and the block's time.
//     Its inputs hash covers all of it, and Explain repeats it from state.
//   - An unlisted purpose is denied. A guard rail that forbids is final. Only
//     break-glass overrides policy and consent, never a guard rail.
//   - Every break-glass has a person, a reason, a scope, an end and a review.
//   - A grant that rests on a consent ends with it.
//   - Grants of a principal that the sentinel revoked never grant again.
//
// # State
//
// Versions count an organisation's changes as a whole: the number names its
// policies, schema, settings and entities together.
//
//	0x11 0x01 organisations              string                   -> access.v1.Organisation      every write of an organisation
//	0x11 0x02 policies                   string, uint64           -> access.v1.PolicySet         SetPolicies
//	0x11 0x03 schemas                    string, uint64           -> access.v1.Schema            SetSchema, SetPolicies
//	0x11 0x04 settings                   string, uint64           -> access.v1.SettingsVersion   SetSettings
//	0x11 0x05 guard_rails                uint64                   -> access.v1.PolicySet         SetGuardRails
//	0x11 0x06 entity_heads               string, string, string   -> uint64                      PutEntities, RemoveEntities; organisation, type, id -> version
//	0x11 0x07 entities                   string, string, string, uint64 -> access.v1.Entity      PutEntities, RemoveEntities
//	0x11 0x08 decisions                  bytes                    -> access.v1.Decision          Decide, Revoke
//	0x11 0x09 decisions_by_organisation  string, uint64, uint64   -> string                      Decide; organisation, height, sequence -> id
//	0x11 0x0A decisions_by_principal     string, uint64           -> string                      Decide; principal, sequence -> id
//	0x11 0x0B decisions_by_resource      string, string, string, uint64 -> string                Decide; organisation, type, id, sequence -> id
//	0x11 0x0C decisions_by_consent       bytes, uint64            -> string                      Decide; consent, sequence -> id
//	0x11 0x0D decisions_by_glass         bytes, uint64            -> string                      Decide; break-glass, sequence -> id
//	0x11 0x0E sequence                   ()                       -> uint64                      Decide
//	0x11 0x0F ended_consents             bytes                    -> access.v1.EndedConsent      OnConsentEnded
//	0x11 0x10 glasses                    bytes                    -> access.v1.Glass             BreakGlass, EndBreakGlass, Review, Decide
//	0x11 0x11 open_glasses               string, string           -> string                      BreakGlass, EndBreakGlass; organisation, person -> id
//	0x11 0x12 glasses_by_organisation    string, uint64           -> string                      BreakGlass; organisation, sequence -> id
//	0x11 0x13 glasses_by_person          string, uint64           -> string                      BreakGlass; person, sequence -> id
//	0x11 0x14 reviews_by_organisation    string, int64, bytes     -> unit                        BreakGlass, Review; organisation, due, id
//	0x11 0x15 reviews_by_person          string, int64, bytes     -> unit                        BreakGlass, Review; person, due, id
//	0x11 0x16 glass_sequence             ()                       -> uint64                      BreakGlass
//	0x11 0x17 ended_principals           string                   -> access.v1.EndedPrincipal    RevokeGrants
package access
