package scenario

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"strings"
)

// program runs the command line and returns what it wrote.
func (r *run) program(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, r.o.Binary, args...)
	// What the caller has set for its own use of the program is not meant here.
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "CHANCERY_") {
			cmd.Env = append(cmd.Env, v)
		}
	}
	cmd.Env = append(cmd.Env, "CHANCERY_PASSPHRASE_FILE="+r.o.Passphrase,
		"CHANCERY_TLS_CA="+r.o.CA, "CHANCERY_TLS_CERT="+r.o.Cert, "CHANCERY_TLS_KEY="+r.o.Key)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	return strings.TrimSpace(out.String()), err
}

// refused tells whether the program ended with exit code 1: what it was given was
// refused, not misunderstood.
func refused(err error) bool {
	var exit *exec.ExitError
	return errors.As(err, &exit) && exit.ExitCode() == 1
}
