package chain

import (
	"context"
	"encoding/json"
	"fmt"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/chancery/chancery/chain/keys"
	"github.com/chancery/chancery/chain/state"
	"github.com/chancery/chancery/chain/tx"
	chainv1 "github.com/chancery/chancery/proto/chancery/chain/v1"
)

// Module is one application module.
type Module interface {
	// Name is the module's folder, error module and genesis section.
	Name() string
	// Schema declares the module's collections.
	Schema() *state.Schema
	// Routes handle the module's arms of tx.v1.Message.
	Routes() []Route
	// InitGenesis writes the module's section of the genesis state, protobuf
	// JSON. Errors stop the chain from starting.
	InitGenesis(ctx *Ctx, raw json.RawMessage) error
	// ExportGenesis returns what InitGenesis would read to build this state, with
	// lists sorted by key.
	ExportGenesis(r state.Reader) (proto.Message, error)
	// RegisterQueries registers the module's gRPC query service.
	RegisterQueries(s grpc.ServiceRegistrar, q Snapshots)
}

// BlockEnder is a Module with work at the end of each block, after its
// transactions, in order of modules. The work must be bounded.
type BlockEnder interface {
	EndBlock(ctx *Ctx)
}

// Witness is a Module that is told of validators' misbehaviour, after a block's last
// transaction and before anything is decided.
type Witness interface {
	Misbehaved(ctx *Ctx, of []*chainv1.Misbehaviour)
}

// Snapshots gives queries the state that the caller asked for: by default the
// latest, or the height named in the call's metadata.
type Snapshots interface {
	// At returns a context for reading. Errors are for the caller (ErrBadHeight).
	At(ctx context.Context) (ReadCtx, error)
}

// Handler is what a module does with one kind of message. M is a pointer to a
// generated message. Handlers must not change the message.
type Handler[M proto.Message] struct {
	// Validate looks at the message alone. Optional.
	Validate func(m M) error
	// Check reads state and refuses what Execute would refuse for reasons that
	// the author should learn early. Optional.
	Check func(ctx ReadCtx, m M) error
	// Holds are the messages that m carries within, to be executed later; nil where one
	// cannot be read. Optional.
	Holds func(m M) []proto.Message
	// Execute is the only writer. It returns the response, which may not be nil.
	Execute func(ctx *Ctx, m M) (proto.Message, error)
}

// Planner is a Handler whose Check finds out what Execute goes by, so that a block
// finds it out once. P is the plan: it may not be changed after Execute has returned.
type Planner[M proto.Message, P any] struct {
	// Validate is that of a Handler. Optional.
	Validate func(m M) error
	// Check is that of a Handler, for admission, where Plan is too much work for that.
	// Optional: Plan stands in for it.
	Check func(ctx ReadCtx, m M) error
	// Plan reads state, and refuses as a Handler's Check does. It may be asked ahead of the
	// message's turn, by several goroutines for several messages at a time.
	Plan func(ctx ReadCtx, m M) (P, error)
	// Execute is that of a Handler, by the plan of this very moment.
	Execute func(ctx *Ctx, m M, plan P) (proto.Message, error)
}

// Route is a Handler or a Planner for the Router.
type Route struct {
	message  protoreflect.FullName
	since    uint32                              // the version that brought the message; 0: the first
	holds    func(proto.Message) []proto.Message // nil: it carries none within
	held     func(proto.Message) (Route, bool)   // the routes of those, set by the router
	validate func(proto.Message) error
	check    func(ReadCtx, proto.Message) error // for admission
	// plan refuses what may not be executed, and finds out what execute goes by.
	plan    func(ReadCtx, proto.Message) (any, error)
	execute func(ctx *Ctx, m proto.Message, plan any) (proto.Message, error)
}

// Message is the full name of the message that the route handles.
func (r Route) Message() protoreflect.FullName { return r.message }

// Since makes a message one that a version of the state machine brings: before it is in
// force the message is refused at the door, SPEC U6, as a program that does not know the
// message does.
func (r Route) Since(version uint32) Route {
	r.since = version
	return r
}

// knownIn refuses a message that a later version of the state machine than the one in
// force brings, itself or within.
func (r Route) knownIn(version uint32, m proto.Message) error {
	if r.since > version {
		return ErrLaterVersion.With("%s belongs to version %d, version %d is in force", r.message, r.since, version)
	}
	if r.holds == nil {
		return nil
	}
	for _, inner := range r.holds(m) {
		if route, ok := r.held(inner); ok {
			if err := route.knownIn(version, inner); err != nil {
				return err
			}
		}
	}
	return nil
}

// Handle makes a route of a handler. It panics when Execute is missing.
func Handle[M proto.Message](h Handler[M]) Route {
	var zero M
	name := zero.ProtoReflect().Descriptor().FullName()
	if h.Execute == nil {
		panic(fmt.Sprintf("chain: the handler of %s has no Execute", name))
	}
	r := Route{message: name, validate: validated(h.Validate), check: func(ReadCtx, proto.Message) error { return nil }}
	if h.Check != nil {
		r.check = func(c ReadCtx, m proto.Message) error { return h.Check(c, m.(M)) }
	}
	r.plan = func(c ReadCtx, m proto.Message) (any, error) { return nil, r.check(c, m) }
	if h.Holds != nil {
		r.holds = func(m proto.Message) []proto.Message { return h.Holds(m.(M)) }
	}
	r.execute = func(c *Ctx, m proto.Message, _ any) (proto.Message, error) { return h.Execute(c, m.(M)) }
	return r
}

// HandlePlan makes a route of a planner. It panics when Plan or Execute is missing.
func HandlePlan[M proto.Message, P any](h Planner[M, P]) Route {
	var zero M
	name := zero.ProtoReflect().Descriptor().FullName()
	if h.Plan == nil || h.Execute == nil {
		panic(fmt.Sprintf("chain: the planner of %s has no Plan or no Execute", name))
	}
	r := Route{
		message:  name,
		validate: validated(h.Validate),
		check: func(c ReadCtx, m proto.Message) error {
			_, err := h.Plan(c, m.(M))
			return err
		},
		plan: func(c ReadCtx, m proto.Message) (any, error) { return h.Plan(c, m.(M)) },
		execute: func(c *Ctx, m proto.Message, plan any) (proto.Message, error) {
			return h.Execute(c, m.(M), plan.(P))
		},
	}
	if h.Check != nil {
		r.check = func(c ReadCtx, m proto.Message) error { return h.Check(c, m.(M)) }
	}
	return r
}

func validated[M proto.Message](validate func(M) error) func(proto.Message) error {
	if validate == nil {
		return func(proto.Message) error { return nil }
	}
	return func(m proto.Message) error { return validate(m.(M)) }
}

// Claim is what a transaction says of its authority.
type Claim struct {
	Author   string
	Keys     []string // DID URLs, one per signature, in order
	Messages []proto.Message
}

// Authority is what an Authenticator makes of a Claim.
type Authority struct {
	// Keys verify the signatures, in order.
	Keys []keys.Public
	// Signers are the DIDs that the keys belong to, in order.
	Signers []string
	// Organisation is charged for the work.
	Organisation string
}

// Authenticator decides who may act for whom. The module identity is one.
type Authenticator interface {
	// Authenticate resolves the keys and refuses a claim that they could not
	// support even if every signature verified. It only reads state.
	Authenticate(r ReadCtx, c Claim) (Authority, error)
	// Organisation is the DID of the organisation that a DID belongs to, and whether
	// there is such a DID. It only reads state.
	Organisation(r ReadCtx, name string) (string, bool)
	// Consortium is the DID that stands for all members together.
	Consortium() string
}

// Topic carries a fact of one module to others. Subscribers are set at boot, in
// order, and called in that order.
type Topic[E any] struct {
	name        string
	subscribers []subscriber[E]
}

type subscriber[E any] struct {
	name string
	fn   func(*Ctx, E) error
}

// NewTopic names a topic.
func NewTopic[E any](name string) *Topic[E] { return &Topic[E]{name: name} }

// Subscribe appends a subscriber. It panics when the name is taken. Boot only.
func (t *Topic[E]) Subscribe(name string, fn func(*Ctx, E) error) {
	for _, s := range t.subscribers {
		if s.name == name {
			panic(fmt.Sprintf("chain: %s subscribes to %s twice", name, t.name))
		}
	}
	t.subscribers = append(t.subscribers, subscriber[E]{name, fn})
}

// Publish calls the subscribers in order; the first error ends it and is
// returned, so that the fact and its consequences happen together or not at all.
func (t *Topic[E]) Publish(ctx *Ctx, event E) error {
	for _, s := range t.subscribers {
		if err := s.fn(ctx, event); err != nil {
			return fmt.Errorf("%s, told of %s: %w", s.name, t.name, err)
		}
	}
	return nil
}

// router finds the route of a message.
type router struct {
	routes map[protoreflect.FullName]Route
}

// newRouter refuses to boot unless every arm of tx.v1.Message has exactly one
// route and every route an arm.
func newRouter(routes []Route, partial bool) (*router, error) {
	r := &router{routes: make(map[protoreflect.FullName]Route)}
	arms := make(map[protoreflect.FullName]bool)
	for _, fd := range tx.Arms() {
		arms[fd.Message().FullName()] = true
	}
	for _, route := range routes {
		if !arms[route.message] {
			return nil, fmt.Errorf("%s has a route but no arm in proto/chancery/tx/v1/tx.proto; add one", route.message)
		}
		if _, ok := r.routes[route.message]; ok {
			return nil, fmt.Errorf("%s has two routes; remove one", route.message)
		}
		route.held = r.find
		r.routes[route.message] = route
	}
	for _, fd := range tx.Arms() {
		if _, ok := r.routes[fd.Message().FullName()]; !ok && !partial {
			return nil, fmt.Errorf("%s (arm %d of tx.v1.Message) has no route; a module in node/wiring.go must handle it", fd.Message().FullName(), fd.Number())
		}
	}
	return r, nil
}

func (r *router) route(m proto.Message) Route {
	return r.routes[m.ProtoReflect().Descriptor().FullName()]
}

func (r *router) find(m proto.Message) (Route, bool) {
	route, ok := r.routes[m.ProtoReflect().Descriptor().FullName()]
	return route, ok
}
