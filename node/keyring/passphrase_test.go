package keyring

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func environment(pairs map[string]string) func(string) (string, bool) {
	return func(name string) (string, bool) {
		value, ok := pairs[name]
		return value, ok
	}
}

func TestTheEnvironmentHoldsOrNamesThePassphrase(t *testing.T) {
	dir := t.TempDir()
	file := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for name, v := range map[string]struct {
		variables map[string]string
		want      string
	}{
		"value":          {map[string]string{PassphraseVariable: right}, right},
		"value verbatim": {map[string]string{PassphraseVariable: " a b \n"}, " a b \n"},
		"file":           {map[string]string{PassphraseFileVariable: file("plain", right)}, right},
		"file, newline":  {map[string]string{PassphraseFileVariable: file("nl", right+"\n")}, right},
		"file, CRLF":     {map[string]string{PassphraseFileVariable: file("crlf", right+"\r\n")}, right},
		"file, two":      {map[string]string{PassphraseFileVariable: file("two", right+"\n\n")}, right + "\n"},
		"file, longest":  {map[string]string{PassphraseFileVariable: file("long", strings.Repeat("a", maxPassphrase)+"\n")}, strings.Repeat("a", maxPassphrase)},
	} {
		got, err := FromEnvironment(environment(v.variables))("prompt", true)
		if err != nil || string(got) != v.want {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	for name, variables := range map[string]map[string]string{
		"none":       {},
		"both":       {PassphraseVariable: right, PassphraseFileVariable: file("both", right)},
		"no file":    {PassphraseFileVariable: filepath.Join(dir, "missing")},
		"directory":  {PassphraseFileVariable: dir},
		"too long":   {PassphraseFileVariable: file("huge", strings.Repeat("a", maxPassphrase+1))},
		"fd, odd":    {PassphraseFileVariable: "fd:x"},
		"fd, closed": {PassphraseFileVariable: "fd:60000"},
	} {
		got, err := FromEnvironment(environment(variables))("prompt", true)
		if !errors.Is(err, ErrNoPassphrase) || got != nil {
			t.Errorf("%s: %q, %v", name, got, err)
		}
		if err != nil && strings.Contains(err.Error(), right) {
			t.Errorf("%s: the error shows the passphrase", name)
		}
	}
}

func TestADescriptorIsReadOnceAndRemembered(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.WriteString(right + "\n"); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	fd := duplicate(t, r)
	ask := FromEnvironment(environment(map[string]string{PassphraseFileVariable: fmt.Sprintf("fd:%d", fd)}))
	for range 2 {
		got, err := ask("prompt", false)
		if err != nil || string(got) != right {
			t.Fatalf("%q, %v", got, err)
		}
		clear(got)
	}
}

func TestWithoutATerminalThePersonIsToldWhatToSet(t *testing.T) {
	f, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	_, err = FromTerminal(f, &strings.Builder{})("prompt", false)
	if !errors.Is(err, ErrNoPassphrase) || !strings.Contains(err.Error(), PassphraseFileVariable) {
		t.Errorf("%v", err)
	}
}

func TestStandardPrefersTheEnvironment(t *testing.T) {
	t.Setenv(PassphraseVariable, right)
	t.Setenv(PassphraseFileVariable, "") // an empty variable is none
	got, err := Standard()("prompt", false)
	if err != nil || string(got) != right {
		t.Errorf("%q, %v", got, err)
	}
}
