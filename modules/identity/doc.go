// Package identity is the root of authority: who is who, by which keys they act and
// who may run a validator. It is the chain's Authenticator.
//
// # Invariants
//
//   - A DID is created once, with its kind and organisation, and never removed. Each
//     change makes a new version; every version and every key is kept.
//   - A public key belongs to one DID, and is no validator's consensus key. Whoever
//     registers a key that can sign has proven to hold it.
//   - A key signs from valid_from until it expires, is rotated out and its overlap is
//     over, or is revoked, whichever is first; never again after.
//   - A DID that acts by its own keys always has one that is neither revoked nor on its
//     way out. An organisation and the consortium always have as many active
//     administrators as their threshold asks for, unless a superior steps in.
//   - A threshold counts distinct DIDs, each by its own rule.
//   - What is suspended does nothing, nor does what belongs to it, until it is
//     reinstated; what is deactivated does nothing for ever.
//   - What the sentinel suspended is reinstated by itself, unless the superior has suspended
//     it since. The sentinel suspends neither the consortium nor those without whom an
//     organisation, the consortium or the chain could not act.
//   - No record of a person holds a name, an address or an endpoint.
//
// # Keys
//
// Under the prefix 0x10. DIDs are strings; "written by" names messages.
//
//	0x01 identities     string DID                     -> Identity      every message about the DID
//	0x02 history        string DID, uint64 version     -> Identity      the same: the version before
//	0x03 keys           string DID, string key id      -> Key           Register…, AddKey, RotateKey, RevokeKey, RequestRecovery, EndBlock
//	0x04 holders        bytes SHA-256(type, public)    -> KeyHolder     with keys
//	0x05 organisations  string DID                     -> unit          RegisterOrganisation
//	0x06 members        string organisation, string DID-> unit          RegisterOrganisation, RegisterIdentity
//	0x07 recoveries     string DID                     -> Recovery      RequestRecovery, CancelRecovery, Deactivate, EndBlock
//	0x08 due            int64 ms, string DID           -> unit          with recoveries
//	0x09 roles          string DID                     -> RoleGrants    AssignRole, RevokeRole, Deactivate
//	0x0a groups         string slug, string name       -> Group         CreateGroup, ChangeGroupMembers, DeleteGroup, Deactivate
//	0x0b group-members  string slug, string name, string DID -> unit    with groups
//	0x0c memberships    string DID                     -> Membership    with groups
//	0x0d validators     bytes Ed25519 public key       -> Validator     BindValidator
//	0x0e nodes          string node id                 -> Node          BindNode, UnbindNode
//	0x0f nodes-of       string organisation, string node id -> unit     with nodes
//	0x10 turnover       ()                             -> Turnover      BindValidator, where four organisations have validators
//	0x11 authorities    string organisation            -> Authorities   SetAuthorities, RevokeCertificate, Deactivate
//
// The genesis state writes all of them but turnover, which a new chain starts without:
// its first validators are those that it goes on with.
package identity
