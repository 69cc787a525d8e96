package ports

import (
	"net"
	"strings"
	"testing"
)

func TestPickFindsPortsThatCanBeListenedAt(t *testing.T) {
	first, err := Pick(20)
	if err != nil {
		t.Fatal(err)
	}
	if first < lowest || first+20 > highest {
		t.Fatalf("ports from %d are outside of the range", first)
	}
	for port := first; port < first+20; port++ {
		l, err := net.Listen("tcp", Address(port))
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
	}
	// All of them are taken now, and whoever wants one is told which.
	for from := first; from < first+20; from++ {
		if err := Free(from, 1); err == nil || !strings.Contains(err.Error(), Address(from)) {
			t.Errorf("port %d: %v", from, err)
		}
	}
	if err := Free(first-1, 3); err == nil || !strings.Contains(err.Error(), "127.0.0.1:") {
		t.Errorf("a range with ports in use is free: %v", err)
	}
}
