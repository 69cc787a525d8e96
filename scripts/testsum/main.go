// Command testsum runs `go test -json` with its arguments and says at the end what was skipped and why.
//
//	testsum -timeout 14m ./...
//
// It prints the output of what failed, one line per package, each skipped test with its sentence, and last a line
// `N passed, N failed, N skipped`. Its exit code is that of go test.
package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
)

func main() {
	code, err := run(os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "testsum:", err)
		os.Exit(1)
	}
	os.Exit(code)
}

func run(args []string) (code int, err error) {
	cmd := exec.Command("go", append([]string{"test", "-json"}, args...)...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return 0, err
	}
	// An interrupt reaches go test as well, and what it says on its way out is still to be summed up. The signals are
	// caught rather than ignored, because a child would inherit the latter.
	signal.Notify(make(chan os.Signal, 1), os.Interrupt, syscall.SIGTERM)
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	s := newSummary(os.Stdout)
	readErr := s.read(out)
	err = cmd.Wait()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		code = exit.ExitCode()
		if code < 0 {
			code = 1 // killed by a signal
		}
	} else if err != nil {
		return 0, err
	}
	if readErr != nil {
		return 0, readErr
	}
	s.close(code != 0)
	return code, nil
}
