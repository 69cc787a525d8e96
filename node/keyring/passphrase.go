package keyring

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/term"
)

const (
	// PassphraseVariable names the environment variable that holds the passphrase.
	PassphraseVariable = "CHANCERY_PASSPHRASE"
	// PassphraseFileVariable names the environment variable that says where to read
	// the passphrase: a path, or "fd:3" for an inherited file descriptor.
	PassphraseFileVariable = "CHANCERY_PASSPHRASE_FILE"

	// maxPassphrase bounds a passphrase that is read from a file, in bytes.
	maxPassphrase = 1024
)

// ErrMismatch says that a new passphrase was not typed the same way twice.
var ErrMismatch = errors.New("the passphrases differ")

// PassphraseFunc returns a passphrase. The prompt says which one. With confirm, it
// is a new one, and a person should type it twice. The caller overwrites what is
// returned. Errors must not hold the passphrase.
type PassphraseFunc func(prompt string, confirm bool) ([]byte, error)

// Static always returns the same passphrase. It is for tests and demonstrations.
func Static(passphrase string) PassphraseFunc {
	return func(string, bool) ([]byte, error) { return []byte(passphrase), nil }
}

// Standard asks the environment if one of the two variables is set, and otherwise
// the person at the terminal.
func Standard() PassphraseFunc {
	// As with the program's other variables, an empty one is none.
	lookup := func(name string) (string, bool) {
		v, ok := os.LookupEnv(name)
		return v, ok && v != ""
	}
	environment, terminal := FromEnvironment(lookup), FromTerminal(os.Stdin, os.Stderr)
	return func(prompt string, confirm bool) ([]byte, error) {
		_, value := lookup(PassphraseVariable)
		_, file := lookup(PassphraseFileVariable)
		if value || file {
			return environment(prompt, confirm)
		}
		return terminal(prompt, confirm)
	}
}

// FromTerminal shows the prompt on out and reads the passphrase from in, without
// echo. With confirm it reads it twice and returns ErrMismatch if they differ. The
// error wraps ErrNoPassphrase if in is no terminal.
func FromTerminal(in *os.File, out io.Writer) PassphraseFunc {
	return func(prompt string, confirm bool) ([]byte, error) {
		if !term.IsTerminal(int(in.Fd())) {
			return nil, fmt.Errorf("%w: this is no terminal; set %s to the path of a file that holds it",
				ErrNoPassphrase, PassphraseFileVariable)
		}
		first, err := readHidden(in, out, prompt)
		if err != nil || !confirm {
			return first, err
		}
		second, err := readHidden(in, out, "Again")
		defer clear(second)
		if err != nil {
			clear(first)
			return nil, err
		}
		if !bytes.Equal(first, second) {
			clear(first)
			return nil, fmt.Errorf("%w: try again", ErrMismatch)
		}
		return first, nil
	}
}

// readHidden reads a line without echo. An interrupt turns echo on again before it
// takes its course.
func readHidden(in *os.File, out io.Writer, prompt string) ([]byte, error) {
	fd := int(in.Fd())
	if state, err := term.GetState(fd); err == nil {
		interrupts, done := make(chan os.Signal, 1), make(chan struct{})
		signal.Notify(interrupts, os.Interrupt)
		defer close(done)
		go func() {
			defer signal.Stop(interrupts)
			select {
			case s := <-interrupts:
				_ = term.Restore(fd, state)
				signal.Stop(interrupts)
				if self, err := os.FindProcess(os.Getpid()); err == nil {
					_ = self.Signal(s)
				}
			case <-done:
			}
		}()
	}
	fmt.Fprintf(out, "%s: ", prompt)
	line, err := term.ReadPassword(fd)
	fmt.Fprintln(out)
	if err != nil {
		return nil, fmt.Errorf("%w: read the terminal: %w", ErrNoPassphrase, err)
	}
	return line, nil
}

// FromEnvironment takes the passphrase from CHANCERY_PASSPHRASE, or from the file
// or descriptor that CHANCERY_PASSPHRASE_FILE names, without one newline at its
// end. It reads the file once, since a descriptor cannot be read again. lookup is
// os.LookupEnv but in tests. The error wraps ErrNoPassphrase if neither variable
// is set, or both are.
func FromEnvironment(lookup func(string) (string, bool)) PassphraseFunc {
	var (
		mu   sync.Mutex // guards read and kept
		read bool
		kept func() string // a closure, so that printing does not show it
	)
	return func(string, bool) ([]byte, error) {
		value, hasValue := lookup(PassphraseVariable)
		source, hasFile := lookup(PassphraseFileVariable)
		switch {
		case hasValue && hasFile:
			return nil, fmt.Errorf("%w: both %s and %s are set; unset one", ErrNoPassphrase, PassphraseVariable, PassphraseFileVariable)
		case hasValue:
			return []byte(value), nil
		case !hasFile:
			return nil, fmt.Errorf("%w: set %s to the path of a file that holds it", ErrNoPassphrase, PassphraseFileVariable)
		}
		mu.Lock()
		defer mu.Unlock()
		if !read {
			passphrase, err := readPassphrase(source)
			if err != nil {
				return nil, err
			}
			read, kept = true, func() string { return passphrase }
		}
		return []byte(kept()), nil
	}
}

func readPassphrase(source string) (string, error) {
	var f *os.File
	if number, ok := strings.CutPrefix(source, "fd:"); ok {
		fd, err := strconv.ParseUint(number, 10, 16)
		if err != nil {
			return "", fmt.Errorf("%w: %s must be a path or fd:N", ErrNoPassphrase, PassphraseFileVariable)
		}
		f = os.NewFile(uintptr(fd), source)
		if f == nil {
			return "", fmt.Errorf("%w: %s names a descriptor that is not open", ErrNoPassphrase, PassphraseFileVariable)
		}
	} else {
		var err error
		if f, err = os.Open(source); err != nil {
			return "", fmt.Errorf("%w: %s: %w", ErrNoPassphrase, PassphraseFileVariable, err)
		}
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, maxPassphrase+2))
	defer clear(raw)
	if err != nil {
		return "", fmt.Errorf("%w: %s: %w", ErrNoPassphrase, PassphraseFileVariable, err)
	}
	line := bytes.TrimSuffix(bytes.TrimSuffix(raw, []byte("\n")), []byte("\r"))
	if len(line) > maxPassphrase {
		return "", fmt.Errorf("%w: what %s names has more than %d bytes", ErrNoPassphrase, PassphraseFileVariable, maxPassphrase)
	}
	return string(line), nil
}
