package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The program is run on modules written for the purpose, because what matters is how it reads the events that the
// installed go test really writes.
func TestEachWayARunCanEnd(t *testing.T) {
	bin := filepath.Join(t.TempDir(), "testsum")
	if out, err := exec.Command("go", "build", "-o", bin, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, c := range []struct {
		name   string
		code   string
		args   []string
		failed bool
		last   string
		says   []string
		hides  []string
	}{
		{
			name: "all pass",
			code: `
func TestOne(t *testing.T) { t.Log("quiet") }
func TestMany(t *testing.T) {
	t.Run("x", func(t *testing.T) {})
	t.Run("y", func(t *testing.T) { t.Run("z", func(t *testing.T) {}) })
}`,
			last:  "3 passed, 0 failed, 0 skipped",
			says:  []string{"ok  \texample.test/m"},
			hides: []string{"Skipped:", "quiet", "==="},
		},
		{
			name: "skips are said with their sentence",
			code: `
func TestOne(t *testing.T) {}
func TestLater(t *testing.T) { t.Skip("needs a second machine") }
func TestMany(t *testing.T) { t.Run("x", func(t *testing.T) { t.SkipNow() }) }`,
			last: "1 passed, 0 failed, 2 skipped",
			says: []string{
				"Skipped:",
				"example.test/m TestLater: a_test.go:6: needs a second machine",
				"example.test/m TestMany/x: no reason was given",
			},
		},
		{
			name: "a failed subtest is one failure",
			code: `
func TestMany(t *testing.T) {
	t.Run("x", func(t *testing.T) { t.Error("x is wrong") })
	t.Run("y", func(t *testing.T) {})
}
func TestParent(t *testing.T) {
	t.Run("z", func(t *testing.T) {})
	t.Error("by itself")
}`,
			failed: true,
			last:   "2 passed, 2 failed, 0 skipped",
			says:   []string{"a_test.go:6: x is wrong", "by itself", "FAIL\texample.test/m"},
		},
		{
			name:   "a package that does not compile",
			code:   "\nfunc TestOne(t *testing.T) { undefined() }",
			failed: true,
			last:   "0 passed, 1 failed, 0 skipped",
			says:   []string{"undefined: undefined", "example.test/m failed outside of a test"},
		},
		{
			name:   "a panic",
			code:   "\nfunc TestOne(t *testing.T) { panic(\"broken\") }\nfunc TestTwo(t *testing.T) {}",
			failed: true,
			last:   "0 passed, 1 failed, 0 skipped",
			says:   []string{"panic: broken"},
		},
		{
			name: "a time limit",
			code: `
func TestOne(t *testing.T) {}
func TestHangs(t *testing.T) { t.Run("x", func(t *testing.T) { <-t.Context().Done() }) }`,
			args:   []string{"-timeout", "1s"},
			failed: true,
			last:   "1 passed, 1 failed, 0 skipped",
			says:   []string{"panic: test timed out after 1s"},
		},
		{
			name: "an exit before the test ended",
			code: `
func TestOne(t *testing.T) { os.Exit(3) }`,
			failed: true,
			last:   "0 passed, 1 failed, 0 skipped",
			says:   []string{"TestOne did not end"},
		},
		{
			name:   "a TestMain that fails",
			code:   "\nfunc TestMain(m *testing.M) { m.Run(); panic(\"no\") }\nfunc TestOne(t *testing.T) {}",
			failed: true,
			last:   "1 passed, 1 failed, 0 skipped",
			says:   []string{"failed outside of a test"},
		},
		{
			name:   "a pattern that go test refuses",
			code:   "",
			args:   []string{"-no-such-flag"},
			failed: true,
			last:   "0 passed, 1 failed, 0 skipped",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			write(t, dir, "go.mod", "module example.test/m\n\ngo 1.26\n")
			write(t, dir, "a_test.go", "package m\n\nimport (\"os\"; \"testing\")\n"+c.code+"\n\nvar (_ testing.TB; _ = os.Exit)\n")
			cmd := exec.Command(bin, append(c.args, "./...")...)
			cmd.Dir = dir
			var out bytes.Buffer
			cmd.Stdout = &out
			err := cmd.Run()
			if (err != nil) != c.failed {
				t.Errorf("exit: %v", err)
			}
			lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
			if got := lines[len(lines)-1]; got != c.last {
				t.Errorf("the last line is %q, want %q", got, c.last)
			}
			for _, want := range c.says {
				if !strings.Contains(out.String(), want) {
					t.Errorf("does not say %q", want)
				}
			}
			for _, not := range c.hides {
				if strings.Contains(out.String(), not) {
					t.Errorf("says %q", not)
				}
			}
			if t.Failed() {
				t.Logf("the whole output:\n%s", out.String())
			}
		})
	}
}

func write(t *testing.T, dir, file, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
