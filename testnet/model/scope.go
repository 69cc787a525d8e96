package model

import "slices"

// Scope is what is tried: a model and the actions that there are in it.
type Scope struct {
	Model
	Name   string
	Blocks int8 // the last block
	Busy   int8 // the last block with transactions
	Sent   int8 // transactions in one block, at most

	Kinds  []Kind
	Actors []Actor // who signs; the validators are the consortium's, and those' to try

	Subjects  int8
	Purposes  []Purposes // of what is given, restricted, taken away and asked for
	Lasting   []int8     // for how many blocks something is given; 0: for good
	Paper     []bool     // whether by the subject, or on its behalf
	Delegates []Actor
	Scopes    []Scopes
	Weights   []Weight

	Keys   []int8 // those that may become validators
	Powers []int8

	// How many of each there may be, at most as many as a State can hold.
	Consents, Restrictions, Grants, Holds, Rotations int8
}

// Actions are those that may be tried in a state, in an order of their own.
func (x *Scope) Actions(s *State) []Action {
	var out []Action
	if s.Height < x.Blocks {
		out = append(out, Action{Kind: End})
	}
	if s.Sent == x.Sent || s.Height > x.Busy {
		return out
	}
	for _, kind := range x.Kinds {
		if kind == Bind || kind == Replace {
			out = append(out, x.changes(kind)...)
			continue
		}
		for _, actor := range x.Actors {
			for _, weight := range x.Weights {
				for _, a := range x.by(s, kind, actor) {
					a.Kind, a.Actor, a.Weight = kind, actor, weight
					if x.fits(s, a) {
						out = append(out, a)
					}
				}
			}
		}
	}
	return out
}

// by are the actions of a kind that an actor may try.
func (x *Scope) by(s *State, kind Kind, actor Actor) (out []Action) {
	switch kind {
	case Give:
		for subject := range x.Subjects {
			for _, purposes := range x.Purposes {
				for _, until := range x.untils(s) {
					for _, paper := range x.Paper {
						out = append(out, Action{Subject: subject, Purposes: purposes, Until: until, Paper: paper})
					}
				}
			}
		}
	case Narrow:
		for i := range s.Consented {
			for _, purposes := range append([]Purposes{0}, x.Purposes...) {
				for _, until := range x.untils(s) {
					out = append(out, Action{Record: i, Purposes: purposes, Until: until})
				}
			}
		}
	case Withdraw, Expire:
		for i := range s.Consented {
			out = append(out, Action{Record: i})
		}
	case Delegate:
		for subject := range x.Subjects {
			for _, delegate := range x.Delegates {
				for _, scopes := range x.Scopes {
					for _, until := range x.untils(s) {
						out = append(out, Action{Subject: subject, Delegate: delegate, Scopes: scopes, Until: until})
					}
				}
			}
		}
	case Revoke:
		for subject := range x.Subjects {
			for _, delegate := range x.Delegates {
				out = append(out, Action{Subject: subject, Delegate: delegate})
			}
		}
	case Restrict:
		for subject := range x.Subjects {
			for _, purposes := range append([]Purposes{0}, x.Purposes...) {
				out = append(out, Action{Subject: subject, Purposes: purposes})
			}
		}
	case Lift:
		for i := range s.Restricted {
			for _, paper := range x.Paper {
				out = append(out, Action{Subject: s.Restrictions[i].Subject, Record: i, Paper: paper})
			}
		}
	case Decide:
		if actor != Administrator(0, 1) {
			return nil
		}
		for subject := range x.Subjects {
			for _, purpose := range []Purposes{Care, Research} {
				out = append(out, Action{Subject: subject, Purposes: purpose})
			}
		}
	case Release, Reject, Appeal:
		for i := range s.Keeping {
			out = append(out, Action{Record: i})
		}
	default:
		out = append(out, Action{})
	}
	return out
}

func (x *Scope) untils(s *State) []int8 {
	out := slices.Clone(x.Lasting)
	for i, n := range out {
		if n != 0 {
			out[i] = s.Height + n
		}
	}
	return out
}

// changes are the changes of validators that may be tried.
func (x *Scope) changes(kind Kind) (out []Action) {
	authors := []Actor{Consortium}
	if len(x.Actors) > 0 {
		authors = append(authors, x.Actors[len(x.Actors)-1])
	}
	for _, author := range authors {
		for _, key := range x.Keys {
			for _, power := range x.Powers {
				a := Action{Kind: kind, Actor: author, Key: key, Power: power}
				if kind == Replace {
					a.New = key ^ 1
				}
				for _, weight := range x.Weights {
					if a.Weight = weight; author == Consortium || weight == Light {
						out = append(out, a)
					}
				}
			}
		}
	}
	return out
}

// fits tells whether what an action may make has room, also where it is what waits that
// is executed.
func (x *Scope) fits(s *State, a Action) bool {
	waiting := func(kind Kind) (n int8) {
		for _, h := range s.Holds[:s.Keeping] {
			if h.Body.Kind == kind && h.Kept {
				n++
			}
		}
		return n
	}
	if a.Weight != Light && !NeverHeld(a) && s.Keeping >= x.Holds {
		return false
	}
	switch a.Kind {
	case Give:
		return s.Consented+waiting(Give) < x.Consents
	case Restrict:
		return s.Restricted < x.Restrictions
	case Decide:
		return a.Weight == Light && s.Granted < x.Grants
	case Rotate:
		return a.Actor < MaxSubjects && s.Keys[a.Actor] < x.Rotations
	case Vote, Release, Reject:
		return true
	}
	return true
}
