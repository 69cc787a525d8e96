// Package importer maps documents of other systems to transaction messages: FHIR
// R4 resources (Consent, AuditEvent, Provenance, Contract) to modules consent and
// provenance, OpenLineage events and facets to provenance, Cedar policies, schemas
// and entities to access.
//
// FHIR, OpenLineage and Cedar are pure but for what Options names: they read bytes
// and return a Result, which has the messages in order, which part of the document
// went into which field (Mapped), what did not reach the chain and why (Notes), and
// what the chain asks for and the document does not say (Assumed). A Session submits
// the messages, several documents to a transaction, and reports.
//
// Invariants:
//
//  1. Every leaf of a JSON document is in Mapped, or in Notes as kept or unmapped, or
//     in both. A leaf that no rule looked at is unmapped.
//  2. No name, narrative, display text, address or identifier of a person, and no
//     hash of one without a salt, is in a message (law 1). People are commitments
//     under salts that stay in Options.Salts (law 2).
//  3. A consent never permits more than its document does: what cannot be expressed
//     makes a permission smaller and a prohibition larger, or refuses the document.
//  4. The same document, options, salts and chain give the same messages; when the
//     chain has all of them, there are none.
//  5. What is read is bounded before it is parsed: see MaxBytes. Every refusal and
//     every reason has a permanent code in codespace import, or is a module's own.
//
// docs/importers.md has the tables.
package importer
