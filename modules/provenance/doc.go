// Package provenance records where data came from: the entities, activities and
// agents of W3C PROV-DM (https://www.w3.org/TR/prov-dm/), every relation between
// them, hashes of content, and batches of records anchored by a Merkle root.
//
// Invariants:
//
//   - An organisation alone writes in its namespace. What is related to something
//     is in the namespace of who says so; what it is related to may be anywhere.
//   - A registered node does not change, except that an activity gets its end once
//     and that an entity's status goes from active to superseded or invalidated.
//   - Each version of an entity is a node of its own. Versions count from 1 without
//     a gap, each later one is related to the one before by REVISION, and the latest
//     is the one that has no later one.
//   - Registering the same content again changes nothing. A relation is its content.
//   - The graph of the lineage (kinds 1 to 10) has no cycle.
//   - A reference leads to a node that exists, or is external.
//   - No person is named: an agent that is a person has a DID or a salted commitment,
//     and an id without meaning (law 1, law 2).
//
// # State
//
// Under prefix 0x13. A node key is (string organisation, string id, uint32 version).
// An external reference stands in relation keys as ("", IRI, 0).
//
//	0x01 nodes    node key                       -> chancery.provenance.v1.Node      Register…, ReviseEntity, EndActivity, InvalidateEntity, Relate, Record
//	0x02 out      node key, uint32 kind, bytes id -> chancery.provenance.v1.Edge      all that registers a relation; node key is the subject
//	0x03 in       node key, uint32 kind, bytes id -> chancery.provenance.v1.Backlink  with out, when there is an object; node key is the object
//	0x04 hashes   bytes multihash, int64 registered_at, node key -> unit              RegisterEntity, ReviseEntity, Record
//	0x05 anchors  string organisation, string id -> chancery.provenance.v1.Anchor    AnchorBatch
//	0x06 roots    bytes root, int64 registered_at, string organisation, string id -> unit  AnchorBatch
//
// In nodes, the latest version is under version 0 and each earlier one under its
// own number, so that one point lookup answers for the latest, with proof. In out,
// in and hashes, versions are always real ones.
package provenance
