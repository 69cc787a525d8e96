// Package errs is the errors that clients can see. Each has a permanent pair of
// module and code, which is never reused for another meaning, and a text that
// says what to do.
package errs

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// RetryFrom is the first code of those that mean "the same bytes may succeed
// later". The value is CometBFT's CodeTypeRetry.
const RetryFrom uint32 = 32_000

// Internal is the code, in every module, of a failure that is the node's fault.
const Internal uint32 = 1

// Error is a refusal. Two Errors are the same to errors.Is when module and code
// are equal, whatever their detail.
type Error struct {
	Module string
	Code   uint32
	Text   string // what is wrong and what to do
	Detail string // which value; may be empty
	// RetryMs is in how many milliseconds the same bytes are best tried again, of a
	// retryable error; 0: it does not say.
	RetryMs int64
	cause   error
}

// Error implements error: "module/code: text (detail)".
func (e *Error) Error() string {
	s := fmt.Sprintf("%s/%d: %s", e.Module, e.Code, e.Text)
	if e.Detail != "" {
		s += " (" + e.Detail + ")"
	}
	return s
}

// Is implements errors.Is by module and code.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Module == e.Module && t.Code == e.Code
}

// Unwrap returns the cause given to Wrap.
func (e *Error) Unwrap() error { return e.cause }

// Retryable tells whether the same bytes may succeed later.
func (e *Error) Retryable() bool { return e.Code >= RetryFrom }

// With returns the error with a detail. It must hold no secret and no personal
// data.
func (e *Error) With(format string, args ...any) *Error {
	c := *e
	c.Detail = fmt.Sprintf(format, args...)
	return &c
}

// RetryIn returns the error with when to try again.
func (e *Error) RetryIn(ms int64) *Error {
	c := *e
	c.RetryMs = ms
	return &c
}

// Wrap returns the error with a cause, whose text becomes the detail.
func (e *Error) Wrap(cause error) *Error {
	c := *e
	c.cause = cause
	c.Detail = cause.Error()
	return &c
}

// As finds the Error in err's chain. Anything else is an internal error of module
// chain.
func As(err error) *Error {
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	return &Error{Module: "chain", Code: Internal, Text: "internal error; report it to the operator", Detail: err.Error(), cause: err}
}

// Set is the errors of one module.
type Set struct {
	module string
	all    []*Error
}

// sets is every set of the program, in order of declaration. It is filled while
// packages are initialised and read-only afterwards.
var sets []*Set

// Module starts the errors of a module. It is called while packages are
// initialised, once per name, and panics when the name is taken.
func Module(name string) *Set {
	for _, s := range sets {
		if s.module == name {
			panic(fmt.Sprintf("errs: two sets are named %s", name))
		}
	}
	s := &Set{module: name}
	sets = append(sets, s)
	return s
}

// Sets lists the error sets of all packages that are linked in, sorted by module.
func Sets() []*Set {
	out := slices.Clone(sets)
	slices.SortFunc(out, func(a, b *Set) int { return strings.Compare(a.module, b.module) })
	return out
}

// Module is the name given to Module.
func (s *Set) Module() string { return s.module }

// New declares an error. It panics when the code is taken.
func (s *Set) New(code uint32, text string) *Error {
	for _, e := range s.all {
		if e.Code == code {
			panic(fmt.Sprintf("errs: module %s gives code %d twice", s.module, code))
		}
	}
	e := &Error{Module: s.module, Code: code, Text: text}
	s.all = append(s.all, e)
	return e
}

// All lists the errors, sorted by code.
func (s *Set) All() []*Error {
	out := slices.Clone(s.all)
	slices.SortFunc(out, func(a, b *Error) int { return int(a.Code) - int(b.Code) })
	return out
}
