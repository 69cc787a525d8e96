package access

// Bounds on what enters. Each is part of consensus: changing one is an upgrade.
const (
	maxDocumentBytes  = 64 << 10  // a policy document, a schema, a list of entities
	maxSetBytes       = 960 << 10 // a policy set, so that it fits into a transaction
	maxDocuments      = 16
	maxPolicies       = 10_240  // in a set
	maxNodes          = 4096    // of one policy's syntax tree
	maxSetNodes       = 131_072 // of a set's policies together
	maxDepth          = 199     // brackets, if, unary operators and member chains, together
	maxHasChain       = 32      // a has b.c.d…: the parser makes a square of it
	maxOperators      = 2048    // in one expression
	maxStringBytes    = 4096    // a string in policies or values
	maxElements       = 512     // of a set
	maxNestedElements = 64      // of a set that holds sets or records
	maxAttributes     = 256     // of a record
	maxJSONDepth      = 64

	maxSchemaTypes    = 10_000 // types in a schema once its common types are expanded
	maxValidationWork = 4_000_000

	maxEntitiesPerMessage = 256
	maxEntityBytes        = 16 << 10
	maxEntities           = 1 << 20 // of an organisation
	maxEntitiesBytes      = 1 << 30 // of an organisation
	maxParents            = 64
	maxCategories         = 32 // of data in one resource; what consent can be asked about
	maxTypeBytes          = 256
	maxIDBytes            = 256

	maxContextBytes  = 8 << 10
	maxSliceEntities = 512 // that one decision can see
	maxSliceBytes    = 1 << 20
	maxSteps         = 200_000 // of one evaluation

	maxPurposes      = 256
	maxIRI           = 256
	maxDID           = 128
	maxReason        = 500
	maxScopeEntries  = 16
	maxGrantMs       = int64(30 * 24 * 3600 * 1000)
	minGrantMs       = int64(1000)
	minReviewMs      = int64(3600 * 1000)
	maxReviewMs      = int64(30 * 24 * 3600 * 1000)
	minGlassMs       = int64(60 * 1000)
	maxGlassMs       = int64(24 * 3600 * 1000)
	maxPageLimit     = 500
	defaultPageLimit = 50
)
