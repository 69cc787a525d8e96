package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/errs"
	"github.com/chancery/chancery/consensus/divergence"
	"github.com/chancery/chancery/node/client"
	"github.com/chancery/chancery/node/keyring"
	"github.com/chancery/chancery/testnet"
)

// Exit codes; see doc.go.
const (
	exitDone        = 0
	exitRefused     = 1
	exitUsage       = 2
	exitUnreachable = 3
	exitTimeout     = 4
	exitNotFound    = 5
	exitHeld        = 6
	exitUpgrade     = 7
	exitParted      = 8
)

// The errors of the command line itself. Codes are permanent.
var (
	cliErrors   = errs.Module("cli")
	errUsage    = cliErrors.New(2, "the command line is wrong")
	errKey      = cliErrors.New(3, "the key cannot be used")
	errFile     = cliErrors.New(4, "the file cannot be used")
	errNothing  = cliErrors.New(5, "there is no such thing")
	errDiffers  = cliErrors.New(6, "the states differ")
	errNotSaved = cliErrors.New(7, "the result could not be written")
	errHome     = cliErrors.New(8, "the home folder cannot be used")
	errSick     = cliErrors.New(9, "the node is not healthy")
	errUnsure   = cliErrors.New(10, "nothing was changed, for the answer was not yes")
	// errDocuments is an import that refused some.
	errDocuments = cliErrors.New(11, "documents were refused; the report says why")
	errDamaged   = cliErrors.New(12, "the data is damaged")
	errLost      = cliErrors.New(13, "transactions that a node took are in no block, and their time is out")
)

// sentence makes an error of the command line whose text is all that there is to
// say.
func sentence(kind *errs.Error, format string, args ...any) *errs.Error {
	e := *kind
	e.Text = fmt.Sprintf(format, args...)
	return &e
}

func usagef(format string, args ...any) error { return sentence(errUsage, format, args...) }

// asUsage makes a usage error of one that arose before a command began.
func asUsage(err error) error {
	var e *errs.Error
	if errors.As(err, &e) {
		return err
	}
	// What cobra suggests comes in lines of its own.
	text, near, _ := strings.Cut(err.Error(), "\n\nDid you mean this?")
	if names := strings.Fields(near); len(names) > 0 {
		text += "; did you mean " + strings.Join(names, " or ") + "?"
	}
	return usagef("%s", text)
}

// absent tells whether a refusal says that what was asked for does not exist. The
// modules' texts begin that way; a test lists all that do.
func absent(err error) bool {
	var tx refusedTx
	var e *errs.Error
	return !errors.As(err, &tx) && errors.As(err, &e) && e.Module != cliErrors.Module() &&
		(strings.Contains(e.Text, "no such ") || strings.HasPrefix(e.Text, "no DID holds "))
}

// code is the exit code that an error stands for.
func code(err error) int {
	s, remote := status.FromError(err)
	var network *testnet.UsageError
	switch {
	case err == nil:
		return exitDone
	case errors.Is(err, chain.ErrHeld):
		return exitHeld
	case errors.Is(err, chain.ErrUpgradeNeeded), errors.Is(err, chain.ErrTooNew):
		return exitUpgrade
	case errors.Is(err, divergence.ErrParted):
		return exitParted
	case errors.Is(err, errUsage), errors.Is(err, client.ErrAddress), errors.As(err, &network):
		return exitUsage
	case errors.Is(err, errNotSaved), errors.Is(err, errHome), errors.Is(err, keyring.ErrNoPassphrase):
		return exitRefused // also where it is for want of a folder or a file
	case errors.Is(err, client.ErrUnreachable), errors.Is(err, client.ErrTLS):
		return exitUnreachable
	case errors.Is(err, client.ErrTimeout), errors.Is(err, context.DeadlineExceeded),
		remote && s.Code() == codes.DeadlineExceeded:
		return exitTimeout
	case errors.Is(err, errNothing), errors.Is(err, keyring.ErrNotFound), errors.Is(err, fs.ErrNotExist),
		remote && s.Code() == codes.NotFound, absent(err):
		return exitNotFound
	case remote && s.Code() == codes.Unavailable:
		return exitUnreachable
	default:
		return exitRefused
	}
}

// failure is the JSON form of an error.
type failure struct {
	Error struct {
		Module    string `json:"module"`
		Code      uint32 `json:"code"`
		Text      string `json:"text"`
		Detail    string `json:"detail,omitempty"`
		Retryable bool   `json:"retryable"`
		Exit      int    `json:"exit"`
	} `json:"error"`

	said *errs.Error
}

// fail tells an error: one sentence on standard error, and with --output json an
// object on standard output. It returns the exit code.
func (a *app) fail(err error) int {
	f := failureOf(err)
	fmt.Fprintf(a.Err, "chancery: %s\n", clean(say(f.said)))
	var said silent
	if a.output == outputJSON && !errors.As(err, &said) {
		raw, _ := jsonOf(f) // strings and numbers always marshal
		var out bytes.Buffer
		_ = json.Indent(&out, raw, "", "  ")
		fmt.Fprintf(a.Out, "%s\n", out.Bytes())
	}
	return f.Error.Exit
}

// failureOf is the JSON form of an error.
func failureOf(err error) failure {
	exit := code(err)
	var e *errs.Error
	if !errors.As(err, &e) {
		e = &errs.Error{Module: "cli", Code: errs.Internal, Text: err.Error()}
		if exit == exitUsage {
			e.Code = errUsage.Code
		}
		switch {
		case errors.Is(err, context.Canceled):
			e.Text = "interrupted"
		case errors.Is(err, context.DeadlineExceeded):
			e = client.ErrTimeout
		}
	}
	f := failure{said: e}
	f.Error.Module, f.Error.Code, f.Error.Text, f.Error.Detail = e.Module, e.Code, e.Text, e.Detail
	f.Error.Retryable, f.Error.Exit = e.Retryable(), exit
	return f
}

// say is an error in one line: what the chain and its node say with their code, what
// the command line says without.
func say(e *errs.Error) string {
	if e.Module != "cli" {
		return e.Error()
	}
	if e.Detail != "" {
		return e.Text + ": " + e.Detail
	}
	return e.Text
}

// clean keeps what came from outside from steering the terminal.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' && r != '\n' && r != '\t' || r >= 0x7f && r < 0xa0 || r == '\u202e' || r == '\u2066' || r == '\u2067' {
			return '\uFFFD'
		}
		return r
	}, s)
}
