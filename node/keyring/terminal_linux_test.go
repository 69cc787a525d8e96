package keyring

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func duplicate(t *testing.T, f *os.File) int {
	t.Helper()
	fd, err := unix.Dup(int(f.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	return fd
}

// terminal opens a pseudo-terminal: what is typed into keyboard is read from tty.
func terminal(t *testing.T) (keyboard, tty *os.File) {
	t.Helper()
	keyboard, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skip("no pseudo-terminals: ", err)
	}
	t.Cleanup(func() { keyboard.Close() })
	if err := unix.IoctlSetPointerInt(int(keyboard.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Skip("no pseudo-terminals: ", err)
	}
	number, err := unix.IoctlGetInt(int(keyboard.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Skip("no pseudo-terminals: ", err)
	}
	tty, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skip("no pseudo-terminals: ", err)
	}
	t.Cleanup(func() { tty.Close() })
	return keyboard, tty
}

// screen collects what is written, and calls onPrompt after each prompt.
type screen struct {
	mu       sync.Mutex // guards text
	text     strings.Builder
	onPrompt func()
}

func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.text.Write(p)
	if strings.HasSuffix(string(p), ": ") {
		go s.onPrompt()
	}
	return len(p), nil
}

func TestTheTerminalIsReadWithoutEcho(t *testing.T) {
	for name, v := range map[string]struct {
		typed   []string
		confirm bool
		want    string
		err     error
	}{
		"once":      {[]string{right}, false, right, nil},
		"twice":     {[]string{right, right}, true, right, nil},
		"different": {[]string{right, wrong}, true, "", ErrMismatch},
	} {
		t.Run(name, func(t *testing.T) {
			keyboard, tty := terminal(t)
			typed := make(chan string, len(v.typed))
			for _, line := range v.typed {
				typed <- line
			}
			s := &screen{}
			s.onPrompt = func() {
				time.Sleep(20 * time.Millisecond) // until the echo is off
				fmt.Fprintln(keyboard, <-typed)
			}
			got, err := FromTerminal(tty, s)("Passphrase", v.confirm)
			if string(got) != v.want || !errors.Is(err, v.err) {
				t.Fatalf("%q, %v", got, err)
			}
			if s.mu.Lock(); !strings.HasPrefix(s.text.String(), "Passphrase: ") || strings.Contains(s.text.String(), right) {
				t.Errorf("shown: %q", s.text.String())
			}
			s.mu.Unlock()
		})
	}
}
