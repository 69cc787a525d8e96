package commitment_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"testing"

	"github.com/chancery/chancery/modules/consent/commitment"
)

var salt = []byte("0123456789abcdef")

func TestCommitIsPinned(t *testing.T) {
	const want = "65e75151ec2d0e8f58f97dd072a04563e1b8739c324f39b89da93202e68ea830"
	if got := hex.EncodeToString(commitment.Commit(salt, []byte("patient 17"))); got != want {
		t.Fatalf("%s, want %s", got, want)
	}
}

func TestCommitIsKeyed(t *testing.T) { // law 1, law 2
	c := commitment.Commit(salt, []byte("patient 17"))
	other := commitment.Commit([]byte("another salt of its own"), []byte("patient 17"))
	plain := sha256.Sum256([]byte("patient 17"))
	if bytes.Equal(c, other) || bytes.Equal(c, plain[:]) {
		t.Fatal("the commitment does not depend on its salt")
	}
	if !commitment.Opens(c, salt, []byte("patient 17")) {
		t.Fatal("the commitment does not open")
	}
	if commitment.Opens(c, salt, []byte("patient 18")) || commitment.Opens(other, salt, []byte("patient 17")) {
		t.Fatal("the commitment opens to something else")
	}
	// Without the salt every guess fails, the right one too.
	for _, guess := range []string{"patient 16", "patient 17", "patient 18"} {
		if commitment.Opens(c, make([]byte, commitment.MinSalt), []byte(guess)) || commitment.Opens(c, nil, []byte(guess)) {
			t.Fatalf("guessing %q works without the salt", guess)
		}
	}
}

func TestCommitRefusesWhatHidesNothing(t *testing.T) { // law 1
	if _, err := commitment.New(salt[:15], []byte("x")); !errors.Is(err, commitment.ErrSalt) {
		t.Fatalf("%v, want %v", err, commitment.ErrSalt)
	}
	if _, err := commitment.New(salt, nil); !errors.Is(err, commitment.ErrIdentifier) {
		t.Fatalf("%v, want %v", err, commitment.ErrIdentifier)
	}
	defer func() {
		if recover() == nil {
			t.Fatal("Commit accepts a short salt")
		}
	}()
	commitment.Commit(nil, []byte("x"))
}
