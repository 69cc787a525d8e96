package identity

import (
	"bytes"
	"context"
	"testing"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/errs"
	identityv1 "github.com/chancery/chancery/proto/chancery/identity/v1"
)

// fixed is Snapshots of one state.
type fixed struct{ chain.ReadCtx }

func (f fixed) At(context.Context) (chain.ReadCtx, error) { return f.ReadCtx, nil }

// A page token of any bytes is refused, or answered with nothing of others.
func FuzzPageToken(f *testing.F) {
	w := start(f)
	q, c := &queries{m: w.m, q: fixed{w.View()}}, context.Background()
	first, err := q.Identities(c, &identityv1.IdentitiesRequest{Organisation: mercy, Limit: 1})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(first.NextPageToken)
	f.Add(bytes.Repeat([]byte{0xff}, 20))
	f.Fuzz(func(t *testing.T, token []byte) {
		mine, err := q.Identities(c, &identityv1.IdentitiesRequest{Organisation: mercy, PageToken: token})
		for _, i := range mine.GetIdentities() {
			if i.Organisation != mercy {
				t.Fatalf("%x: %v is of another organisation", token, i)
			}
		}
		answers := []error{err}
		ask := func(_ any, err error) { answers = append(answers, err) }
		ask(q.Organisations(c, &identityv1.OrganisationsRequest{PageToken: token}))
		ask(q.Keys(c, &identityv1.KeysRequest{Did: mercy, PageToken: token}))
		ask(q.GroupMembers(c, &identityv1.GroupMembersRequest{Id: "mercy/ward", PageToken: token}))
		ask(q.Groups(c, &identityv1.GroupsRequest{Organisation: mercy, PageToken: token}))
		ask(q.Validators(c, &identityv1.ValidatorsRequest{PageToken: token}))
		ask(q.Nodes(c, &identityv1.NodesRequest{Organisation: mercy, PageToken: token}))
		ask(q.Nodes(c, &identityv1.NodesRequest{PageToken: token}))
		for _, err := range answers {
			if err != nil && errs.As(err).Module != "identity" {
				t.Fatalf("%x: %v", token, err)
			}
		}
	})
}
