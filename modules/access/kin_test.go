package access

import (
	"strings"
	"testing"

	accessv1 "github.com/chancery/chancery/proto/chancery/access/v1"
)

// The kin of an entity is the least of its parents, as it is now.
func TestKin(t *testing.T) {
	w := newWorld(t).furnish()
	put := func(entities string) {
		t.Helper()
		w.Do(hospital, &accessv1.PutEntities{Organisation: hospital, Entities: entities})
	}
	kin := func(organisation string, of *accessv1.EntityUid) string {
		t.Helper()
		parent, ok := w.module.Kin(w.View(), organisation, of)
		if ok != (parent != nil) {
			t.Fatalf("the kin of %v is %v, found %v", of, parent, ok)
		}
		if !ok {
			return ""
		}
		return parent.Type + "::" + parent.Id
	}
	want := func(organisation string, of *accessv1.EntityUid, want string) {
		t.Helper()
		if got := kin(organisation, of); got != want {
			t.Errorf("the kin of %v is %q, want %q", of, got, want)
		}
	}
	put(`[{"uid":{"type":"Ward","id":"3"},"attrs":{},"parents":[]},
		{"uid":{"type":"Chart","id":"1"},"attrs":{},"parents":[{"type":"Ward","id":"3"}]},
		{"uid":{"type":"Chart","id":"2"},"attrs":{},"parents":[{"type":"Ward","id":"7"},{"type":"Unit","id":"9"},{"type":"Ward","id":"1"},{"type":"Unit","id":"8"}]}]`)
	want(hospital, uid("Chart", "1"), "Ward::3")
	want(hospital, uid("Chart", "2"), "Unit::8")
	want(hospital, uid("Ward", "3"), "")
	want(hospital, uid("Chart", "3"), "")
	want(hospital, nil, "")
	want(hospital, &accessv1.EntityUid{}, "")
	want(hospital, uid("Chart", strings.Repeat("1", maxIDBytes+1)), "")
	want(hospital, uid(strings.Repeat("C", maxTypeBytes+1), "1"), "")
	want("did:chancery:nobody", uid("Chart", "1"), "")
	want(strings.Repeat("x", 1<<20), uid("Chart", "1"), "")
	put(`[{"uid":{"type":"Chart","id":"1"},"attrs":{},"parents":[{"type":"Ward","id":"4"}]}]`)
	want(hospital, uid("Chart", "1"), "Ward::4")
	w.Do(hospital, &accessv1.RemoveEntities{Organisation: hospital, Entities: []*accessv1.EntityUid{uid("Chart", "1")}})
	want(hospital, uid("Chart", "1"), "")
}
