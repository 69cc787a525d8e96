package client

import (
	"context"
	"errors"
	"io"
	"strconv"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/chancery/chancery/chain/errs"
	chainv1 "github.com/chancery/chancery/proto/chancery/chain/v1"
)

// The errors of the client itself. Codes are permanent.
var (
	Errors         = errs.Module("client")
	ErrUnreachable = Errors.New(2, "no node answers; check the address, the TLS files, and that the node runs")
	ErrTimeout     = Errors.New(3, "the time is over and the outcome is not known; ask for the result later, or submit the same bytes again")
	ErrWrongChain  = Errors.New(4, "the node is of another chain; check the address")
	ErrAddress     = Errors.New(5, "this is no address of a node; write HOST:PORT, several with commas between them")
	ErrTLS         = Errors.New(6, "the TLS files are not usable")
	ErrNoAnswer    = Errors.New(7, "the node's answer lacks a part; use a client of the node's version")
	ErrStream      = Errors.New(8, "the stream is closed; open another one")
)

// errCursorAhead is the node's refusal of a cursor beyond its latest block, which a
// node that lags behind another one gives.
var errCursorAhead = &errs.Error{Module: "node", Code: 5}

// remote is an error that a node returned: an *errs.Error to errors.Is and
// errors.As, and a gRPC status to status.FromError.
type remote struct {
	refusal *errs.Error
	status  *status.Status
}

func (r *remote) Error() string              { return r.refusal.Error() }
func (r *remote) Unwrap() error              { return r.refusal }
func (r *remote) GRPCStatus() *status.Status { return r.status }

// FromStatus turns an error of gRPC into one whose chain holds an *errs.Error: the
// module's own where the node sent one, otherwise one of this package, or, for
// what only gRPC knows, of module grpc with gRPC's code. The status stays
// available to status.FromError.
func FromStatus(err error) error {
	if err == nil || errors.Is(err, io.EOF) {
		return err
	}
	var have *errs.Error
	if errors.As(err, &have) {
		return err
	}
	s, ok := status.FromError(err)
	if !ok {
		switch {
		case errors.Is(err, context.DeadlineExceeded):
			return ErrTimeout.Wrap(err)
		default:
			return err
		}
	}
	for _, d := range s.Details() {
		info, ok := d.(*errdetails.ErrorInfo)
		if !ok {
			continue
		}
		module, number, ok := strings.Cut(info.Reason, "/")
		code, bad := strconv.ParseUint(number, 10, 32)
		if !ok || bad != nil {
			continue
		}
		e := refusal(module, uint32(code), s.Message())
		if detail := info.Metadata["detail"]; detail != "" {
			if text, ok := strings.CutSuffix(e.Text, " ("+detail+")"); ok {
				e.Text, e.Detail = text, detail
			}
		}
		return &remote{e, s}
	}
	switch s.Code() {
	case codes.Unavailable:
		return &remote{ErrUnreachable.With("%s", plain(s.Message())), s}
	case codes.DeadlineExceeded:
		return &remote{ErrTimeout.Wrap(context.DeadlineExceeded), s}
	case codes.Canceled:
		return &remote{(&errs.Error{Module: "grpc", Code: uint32(codes.Canceled), Text: "the call was cancelled"}).Wrap(context.Canceled), s}
	default:
		return &remote{&errs.Error{Module: "grpc", Code: uint32(s.Code()), Text: s.Message()}, s}
	}
}

// plain takes the reason out of gRPC's report of a failed connection.
func plain(message string) string {
	const (
		report  = "connection error: desc = "
		dialing = "transport: Error while dialing: "
		preface = "error reading server preface: "
	)
	if quoted, ok := strings.CutPrefix(message, report); ok {
		if text, err := strconv.Unquote(quoted); err == nil {
			message = text
		}
	}
	if strings.HasPrefix(message, preface) || strings.HasPrefix(message, "write tcp ") {
		message += "; a node that has as many connections as it takes closes another one, as one that speaks TLS does to a client that does not"
	}
	return strings.TrimPrefix(message, dialing)
}

// FromResult is the refusal of a transaction that failed, nil for one that
// succeeded.
func FromResult(r *chainv1.TxResult) error {
	if r.GetCode() == 0 {
		return nil
	}
	return refusal(r.Codespace, r.Code, r.Log)
}

// FromCode is the refusal that a code, its module and a text stand for, nil for
// code 0.
func FromCode(module string, code uint32, text string) error {
	if code == 0 {
		return nil
	}
	return refusal(module, code, text)
}

func refusal(module string, code uint32, text string) *errs.Error {
	e := &errs.Error{Module: module, Code: code}
	// The text is what Error() of the original wrote.
	e.Text = strings.TrimPrefix(text, module+"/"+strconv.FormatUint(uint64(code), 10)+": ")
	return e
}

// retryable tells whether the same request may succeed later.
func retryable(err error) bool {
	if err == nil || errors.Is(err, context.Canceled) || errors.Is(err, ErrWrongChain) {
		return false
	}
	var e *errs.Error
	if errors.As(err, &e) && e.Retryable() {
		return true
	}
	return unavailable(err)
}

// unavailable tells whether another node might answer.
func unavailable(err error) bool {
	if errors.Is(err, ErrUnreachable) {
		return true
	}
	s, ok := status.FromError(err)
	return ok && s.Code() == codes.Unavailable
}

// retryDelay is how long the node asks to wait, 0 when it does not say.
func retryDelay(err error) time.Duration {
	s, ok := status.FromError(err)
	if !ok {
		return 0
	}
	for _, d := range s.Details() {
		if info, ok := d.(*errdetails.RetryInfo); ok {
			return info.GetRetryDelay().AsDuration()
		}
	}
	return 0
}

// timedOut tells whether a call ended because of its deadline, here or there.
func timedOut(err error) bool {
	if errors.Is(err, context.DeadlineExceeded) {
		return true
	}
	s, ok := status.FromError(err)
	return ok && s.Code() == codes.DeadlineExceeded
}
