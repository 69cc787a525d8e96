package importer

import "github.com/chancery/chancery/chain/errs"

// Codes are permanent. Up to 29 they are refusals of a document or of the import.
// From 30 they are the reasons of a report: see Class.
var declared = errs.Module("import")

// Refusals.
var (
	ErrTooLarge      = declared.New(2, "the document is larger than what is read; split it")
	ErrTooDeep       = declared.New(3, "the document is nested too deeply; write it flatter")
	ErrXML           = declared.New(4, "this is XML, which is not read; export the resource as application/fhir+json")
	ErrSyntax        = declared.New(5, "this is not strict JSON; correct it at the place that is named")
	ErrInvalid       = declared.New(6, "the document is not valid in its format; correct the place that is named")
	ErrModifier      = declared.New(7, "an element that can change the meaning of everything around it is not understood; FHIR forbids to go on")
	ErrKind          = declared.New(8, "this kind of document is not mapped; docs/importers.md lists those that are")
	ErrOptions       = declared.New(9, "the import needs another option; give the one that is named")
	ErrUnclear       = declared.New(10, "the document does not say whether it permits or denies by default; say it with --base permit or --base deny")
	ErrInexpressible = declared.New(11, "no terms say this without permitting more; enter it by hand")
	ErrNothing       = declared.New(12, "nothing is left of what the document permits, so no consent is made of it")
	ErrSaltFile      = declared.New(13, "the salt file cannot be used; correct what is named")
	ErrNoDocuments   = declared.New(14, "there is no document in what was named; name files, folders that hold some, or -")
	ErrTooBig        = declared.New(15, "what became of the document fits into no transaction; split it")
	ErrClash         = declared.New(16, "two documents would have one name on the chain; rename one of the files")
	ErrTogether      = declared.New(17, "Cedar files are imported together and another one was refused; correct that one and run the import again")
)

// Reasons why an element stays off the chain, which holds a salted commitment to
// the whole document.
var (
	keptPersonal     = declared.New(30, "personal data")
	keptText         = declared.New(31, "text for people, which may hold personal data")
	keptHousekeeping = declared.New(32, "housekeeping of the system that it comes from")
	keptVersion      = declared.New(33, "codes are compared without the version of their system")
	keptPolicy       = declared.New(34, "a policy's address may be that of a person's own consent")
	keptTerm         = declared.New(35, "a term of a contract, for which PROV has no meaning")
	keptFacet        = declared.New(36, "content of a facet, of which the chain holds a salted commitment of its own")
	keptVerification = declared.New(37, "who verified the consent, with whom and when: the document is the evidence")
	keptResource     = declared.New(38, "only Consent, AuditEvent, Provenance and Contract are mapped")
	keptNotice       = declared.New(39, "the notice is the one that the import was given")
	keptTime         = declared.New(40, "a request has the time of its block")
	keptNetwork      = declared.New(41, "network addresses are personal data")
	keptName         = declared.New(42, "names stay off the chain by --hide-names")
	keptEnded        = declared.New(43, "the consent that it ends is on the chain with these terms")
)

// Reasons why an element has no counterpart on the chain.
var (
	unmappedElement    = declared.New(50, "no rule maps this element")
	unmappedForm       = declared.New(51, "the kind of form; module consent keeps purposes and categories instead")
	unmappedException  = declared.New(52, "an exception to a prohibition: module consent has none, so the prohibition stands in full")
	unmappedCovered    = declared.New(53, "inside a refusal, which covers it already")
	unmappedController = declared.New(54, "a consent has one controller; this is not the first custodian")
	unmappedLimit      = declared.New(55, "a limit of a prohibition that terms do not have: it excludes more")
	unmappedMore       = declared.New(56, "more than the chain keeps of its kind")
	unmappedUncoded    = declared.New(57, "it has no code")
	unmappedRoot       = declared.New(58, "a limit of the consent's first rule, of which FHIR does not say whether it permits or excepts: what both readings permit is kept")
	unmappedSelf       = declared.New(59, "it would relate a thing to itself")
	unmappedIdentifier = declared.New(60, "it names nothing that can be related")
	unmappedFacet      = declared.New(61, "no rule maps this facet, of which the chain holds a salted commitment")
	unmappedEmpty      = declared.New(62, "it is empty, so there is nothing to map")
)

// Remarks on how an element was read.
var (
	remarkZone    = declared.New(70, "a time without a zone, read as UTC like every other in the document")
	remarkEpoch   = declared.New(71, "before 1970, where the chain's times begin, so it is left open")
	remarkUntyped = declared.New(72, "a rule that does not say whether it permits or denies, read like the one around it")
	remarkEmpty   = declared.New(73, "it permits nothing that the rule around it permits, so no consent is made of it")
	remarkUnion   = declared.New(74, "several limits to data: the exclusion covers what any one of them covers")
	remarkPeriod  = declared.New(75, "the time in which the consent holds, as FHIR defines it; some systems write an exception this way: --root-rule except")
	remarkRefusal = declared.New(76, "a refusal ends no consent that was given before; withdraw those by chancery tx consent withdraw")
	remarkEnd     = declared.New(77, "the run has another end, or started later: this end is a relation alone")
	remarkAddress = declared.New(78, "it looks like an e-mail address and goes onto the chain with the text")
	remarkComment = declared.New(79, "comments go onto the chain with the text; leave them out with --strip-comments")
	remarkReplace = declared.New(80, "it replaces what the organisation has")
)

// Class is what a reason's code means.
type Class string

// The classes.
const (
	Kept     Class = "kept"     // off the chain, which holds a commitment to it
	Unmapped Class = "unmapped" // nothing on the chain says it
	Remark   Class = "remark"   // how it was read; it may be mapped besides
)

func classOf(code uint32) Class {
	switch {
	case code < 50:
		return Kept
	case code < 70:
		return Unmapped
	default:
		return Remark
	}
}
