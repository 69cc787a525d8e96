package rpc

import "testing"

// What the policies cost a call.
func BenchmarkPermits(b *testing.B) {
	p := DefaultPolicies()
	who := principal{did: "did:chancery:alpha:desk", known: true, organisation: "did:chancery:alpha", kind: "service", roles: []string{"analyst"}}
	b.ReportAllocs()
	for b.Loop() {
		if ok, _ := p.permits(who, "/chancery.node.v1.Tx/Submit"); !ok {
			b.Fatal("not permitted")
		}
	}
}

// Nobody may do anything but what the policies say of nobody.
func TestPoliciesDenyByDefault(t *testing.T) {
	p := DefaultPolicies()
	all := principal{did: "did:chancery:alpha", known: true, own: true, administrator: true, roles: []string{"analyst"}}
	for _, method := range []string{"/chancery.node.v1.Node/Unknown", "/", "", "/chancery.node.v1.Node/Status/"} {
		if ok, _ := p.permits(all, method); ok || p.Named(method) {
			t.Errorf("%q is permitted", method)
		}
	}
	if ok, _ := p.permits(principal{}, "/chancery.node.v1.Node/Status"); ok {
		t.Error("nobody may ask for the status")
	}
	if ok, audit := p.permits(all, "/chancery.node.v1.Node/Export"); !ok || !audit {
		t.Errorf("an export: %v, on the log %v", ok, audit)
	}
	if ok, audit := p.permits(all, "/chancery.node.v1.Node/Status"); !ok || audit {
		t.Errorf("the status: %v, on the log %v", ok, audit)
	}
	// An error of a policy permits nothing, whatever it is about.
	broken, err := ParsePolicies([]byte(`permit (principal, action, resource) when { principal.nothing == 1 };`))
	if err != nil {
		t.Fatal(err)
	}
	if ok, _ := broken.permits(all, "/chancery.node.v1.Node/Status"); ok {
		t.Error("a policy with an error permits")
	}
	if _, err := ParsePolicies(make([]byte, maxPolicies+1)); err == nil {
		t.Error("policies without bound")
	}
}
