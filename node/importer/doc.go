// Package importer maps documents of other systems to transaction messages: FHIR
// R4 resources (Consent, AuditEvent, Provenance, Contract) to modules consent and
// provenance, OpenLineage events and facets to provenance, Cedar policies, schemas
// and entities to access.
//
// The core is pure: FHIR, OpenLineage and Cedar read bytes and Options and return
// a Result, which has
//
//   - the messages, in order, each an arm of tx.v1.Message;
//   - which part of the document went into which field (Mapped);
//   - what did not reach the chain, and why (Unmapped);
//   - what the chain asks for and the document does not say (Assumed).
//
// Invariants:
//
//  1. Every leaf of a JSON document is in Mapped, in Unmapped, or in both. A leaf
//     that no rule looked at is in Unmapped.
//  2. No name, narrative, display text, address or identifier of a person, and no
//     hash of one without a salt, is in a message (law 1). People are commitments
//     under salts that stay in Options.Salts (law 2).
//  3. A consent never permits more than its document does: what cannot be
//     expressed makes a permission smaller and a prohibition larger. Two things are
//     outside the document's hands and are reported: module consent always covers
//     the controller itself, and categories hold for resources labelled with them.
//  4. The same document, options and salts give the same messages.
//
// docs/importers.md has the tables.
package importer
