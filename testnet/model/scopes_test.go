package model

// equal is a genesis in which so many organisations have a validator with power 10.
func equal(organisations int) (s Set) {
	for o := range organisations {
		s[2*o] = 10
	}
	return s
}

// rules are those of so many organisations, of which the first have a validator each.
func rules(organisations, able int8) Model {
	return Model{Organisations: organisations, Reviewers: 2, HoldBlocks: 2, AppealBlocks: 2, GrantBlocks: 3, Room: 2, Genesis: equal(int(able))}
}

// scopes are those that are explored to the end; larger ones in long runs.
func scopes(long bool) []*Scope {
	or := func(n, more int8) int8 {
		if long {
			return more
		}
		return n
	}
	reviewers := []Actor{Administrator(0, 0), Administrator(1, 0), Administrator(1, 1)}
	if long {
		reviewers = append(reviewers, Administrator(2, 0))
	}
	return []*Scope{
		{
			Name: "consent", Model: rules(3, 3), Blocks: 4, Busy: or(2, 3), Sent: 2, Subjects: 1,
			Kinds:    []Kind{Give, Narrow, Withdraw, Expire, Restrict, Lift, Decide},
			Actors:   []Actor{0, Administrator(0, 1)},
			Purposes: []Purposes{Care, Care | Research}, Lasting: []int8{0, 1}, Paper: []bool{false}, Weights: []Weight{Light},
			Consents: 2, Restrictions: 1, Grants: 1,
		},
		{
			Name: "delegation", Model: rules(3, 3), Blocks: 4, Busy: or(2, 3), Sent: 2, Subjects: or(1, 2),
			Kinds:    []Kind{Give, Narrow, Withdraw, Delegate, Revoke},
			Actors:   []Actor{0, 1, Administrator(0, 0)},
			Purposes: []Purposes{Care}, Lasting: []int8{0, 1}, Paper: []bool{false, true}, Delegates: []Actor{1}, Scopes: []Scopes{MayGive, MayWithdraw},
			Weights: []Weight{Light}, Consents: 2,
		},
		{
			Name: "holds", Model: rules(3, 3), Blocks: 11, Busy: or(4, 6), Sent: 2, Subjects: 1,
			Kinds:   []Kind{Note, Release, Reject, Appeal},
			Actors:  append([]Actor{0}, reviewers...),
			Weights: []Weight{Heavy, Monstrous}, Holds: 1,
		},
		{
			Name: "validators", Model: rules(6, 5), Blocks: 6, Busy: or(2, 3), Sent: 2,
			Kinds: []Kind{Bind, Replace}, Weights: []Weight{Light},
			Keys: []int8{1, 3, 8, 10}, Powers: []int8{0, 5, 10},
		},
		{
			Name: "together", Model: rules(3, 3), Blocks: 6, Busy: or(3, 4), Sent: 2, Subjects: 1,
			Kinds:    []Kind{Give, Withdraw, Rotate, Decide, Release, Reject, Bind},
			Actors:   append([]Actor{0, Administrator(0, 1)}, reviewers[1:]...),
			Purposes: []Purposes{Care}, Lasting: []int8{0}, Paper: []bool{false}, Weights: []Weight{Light, Heavy},
			Keys: []int8{2, 4}, Powers: []int8{0, 10}, Consents: 1, Grants: 1, Holds: 1, Rotations: 1,
		},
	}
}
