package provenance

import "github.com/chancery/chancery/chain/errs"

// The errors of this module. Codes are permanent.
var (
	Errors           = errs.Module("provenance")
	ErrBadID         = Errors.New(2, "not an id; use 1 to 128 characters of A-Z a-z 0-9 . _ ~ : / @ # + = % - , ; ! $ & * ( ) ?, and percent-encode others")
	ErrBadIRI        = Errors.New(3, "not an absolute IRI of at most 256 ASCII characters; percent-encode what RFC 3986 does not allow")
	ErrBadHash       = Errors.New(4, "not an acceptable list of content hashes; give at most 4 multihashes, each of another function, with SHA-256 among them")
	ErrBadAttribute  = Errors.New(5, "not an acceptable attribute; give an IRI as key and a short value in the form of its type")
	ErrBadNode       = Errors.New(6, "the entity, activity or agent is incomplete or contradicts itself")
	ErrBadRelation   = Errors.New(7, "the relation does not have the form that PROV-DM gives its kind; see docs/modules/provenance.md")
	ErrTooMany       = Errors.New(8, "the message holds none or too many; split it into several transactions, or anchor the records as a batch")
	ErrNotYours      = Errors.New(9, "only the organisation that owns the namespace writes there; relate from a node of your own")
	ErrNotFound      = Errors.New(10, "there is no such node; register it first, or make the reference external")
	ErrExists        = Errors.New(11, "the id is taken by other content; use ReviseEntity for a new version of an entity, EndActivity to end an activity, or another id")
	ErrOtherKind     = Errors.New(12, "the node is of another kind than is needed here")
	ErrNotLatest     = Errors.New(13, "the version to be replaced is not the latest; read the latest and decide again")
	ErrCycle         = Errors.New(14, "the relation would make something its own ancestor; relate versions of entities, or split the activity")
	ErrTooEntangled  = Errors.New(15, "too many relations would have to be followed to show that this one closes no cycle; relate new nodes instead of old ones, or split the activity")
	ErrEnded         = Errors.New(16, "the activity has an end already, or would end before it started")
	ErrInvalidated   = Errors.New(17, "the entity is invalidated already")
	ErrNoIdentity    = Errors.New(18, "the DID is no active identity of the kind that the agent is; give an active DID, an IRI or a commitment")
	ErrPersonNamed   = Errors.New(19, "a person may not be named; give a DID or a salted commitment, and an id of 26 characters of lower-case base32")
	ErrBadBatch      = Errors.New(20, "not a batch; give a root of 32 bytes, 1 to 2^32 leaves and their format")
	ErrAnchorExists  = Errors.New(21, "the anchor's id is taken by another batch; use another id")
	ErrBadPage       = Errors.New(22, "limit or page token is not acceptable; use a limit of at most 500 and the token of the page before with the same request")
	ErrBadQuery      = Errors.New(23, "the request is incomplete or out of bounds")
	ErrNoRelation    = Errors.New(24, "there is no such relation")
	ErrNoAnchor      = Errors.New(25, "there is no such anchor")
	ErrTraceTooLarge = Errors.New(26, "the trace passes too many relations; lower max_depth, name the kinds to follow, or start nearer")
	ErrBadGenesis    = Errors.New(27, "the genesis section is not consistent")
)
