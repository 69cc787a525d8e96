package rpc

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/errs"
	"github.com/chancery/chancery/node/checkpoint"
	"github.com/chancery/chancery/node/forecast"
	"github.com/chancery/chancery/node/receipt"
)

// The errors of the door. Codes are permanent.
var (
	Errors = errs.Module("node")

	ErrBadRequest    = Errors.New(2, "the request is not usable; correct the field that is named")
	ErrNoResult      = Errors.New(3, "this node has no result of that transaction: it is not committed yet, or its record is no longer kept; wait for it, or submit the same bytes again")
	ErrCursorTooOld  = Errors.New(4, "the cursor is older than the oldest event that this node keeps; begin at oldest_record of its status, or ask an archive node")
	ErrCursorAhead   = Errors.New(5, "the cursor is ahead of this node; ask again when it has caught up, or ask another node")
	ErrReceiptTooBig = Errors.New(6, "the receipt is too large for a trailer; ask Receipts.Prove instead")
	ErrNoMethod      = Errors.New(7, "no query has this name; see what the server's reflection lists")
	ErrNoBlock       = Errors.New(8, "this node has no record of that block; ask for one from oldest_record to height of its status")
	ErrTimeout       = Errors.New(9, "the time for this call ran out; ask again with a later deadline")
	ErrNoPath        = Errors.New(10, "nothing of this node has this path and verb; see /openapi.json for what there is")
	ErrCrossOrigin   = Errors.New(11, "a page in a browser asked, or a name that is not this machine's was used; call the node from a program of yours, by its own name")

	// Who calls.
	ErrNoCertificate     = Errors.New(20, "no client certificate was shown, and no token; connect with a certificate that an authority of your organisation signed (--tls-cert, --tls-key)")
	ErrUnknownAuthority  = Errors.New(21, "no organisation of the chain has the authority that signed the client certificate; have your organisation set it with SetAuthorities, or use a certificate of one that it has")
	ErrExpired           = Errors.New(22, "the client certificate has expired; use a newer one")
	ErrNotYetValid       = Errors.New(23, "the client certificate is not valid yet; wait, or set this machine's or the node's clock right")
	ErrRevoked           = Errors.New(24, "the client certificate was revoked; use another")
	ErrOtherOrganisation = Errors.New(25, "the client certificate names a DID of an organisation whose authority did not sign it; use one that the DID's own organisation signed")
	ErrNoDID             = Errors.New(26, "the client certificate must name exactly one DID of this chain's method, as a URI among its alternative names; issue another")
	ErrUnknownCaller     = Errors.New(27, "the DID in the client certificate or token is not registered; have its organisation register it")
	ErrInactive          = Errors.New(28, "the DID in the client certificate or token, or its organisation, is suspended or has ended; have it reinstated")
	ErrForbidden         = Errors.New(29, "this caller may not call this method; see docs/doors.md for what it needs")

	// Who calls, by a bearer token.
	ErrBadToken          = Errors.New(30, "the bearer token is not usable; get one anew from your organisation's issuer, signed by a key and an algorithm that this node takes")
	ErrNoIssuer          = Errors.New(31, "this node takes no tokens of that issuer; use a client certificate, or have the node's operator add the issuer")
	ErrTokenExpired      = Errors.New(32, "the bearer token has expired; get a newer one")
	ErrTokenNotYet       = Errors.New(33, "the bearer token is not valid yet; wait, or set the issuer's or the node's clock right")
	ErrTokenAudience     = Errors.New(34, "the bearer token is for somebody else; ask the issuer for one with the audience that is named")
	ErrTokenDID          = Errors.New(35, "the bearer token names no DID of this chain's method; have the issuer or the node's operator give it one")
	ErrTokenOrganisation = Errors.New(36, "the bearer token names a DID of another organisation than its issuer's; use one of the DID's own organisation")
	ErrTwoCallers        = Errors.New(37, "the bearer token and the client certificate are of different DIDs; show one of them, or both of one DID")

	ErrIssuerSilent = Errors.New(errs.RetryFrom+5, "the keys of the token's issuer cannot be had; ask again shortly, or use a client certificate")

	ErrShare      = Errors.New(errs.RetryFrom+4, "this identity uses as much of the node as one may; ask again shortly")
	ErrSlowReader = Errors.New(errs.RetryFrom, "the client takes the events too slowly and was cut off; subscribe again at its cursor")
	ErrBusy       = Errors.New(errs.RetryFrom+1, "the node answers as many calls as it may; ask again shortly")
	ErrStopping   = Errors.New(errs.RetryFrom+2, "the node is shutting down; ask again when it is back, or ask another node")
	ErrIdle       = Errors.New(errs.RetryFrom+3, "the stream was idle for longer than the node keeps one open; open another one when there is something to send")
)

// retryAfter is the pause that clients are told to make where nothing else is known.
const retryAfter = 500 * time.Millisecond

// pause is how long a client should wait before it tries again what e refused for now.
func pause(e *errs.Error) time.Duration {
	if e.RetryMs > 0 {
		return time.Duration(e.RetryMs) * time.Millisecond
	}
	return retryAfter
}

// grpcCodes are those of errors that have a better one than FAILED_PRECONDITION.
// The permanent code is in the details; this one is for generic clients.
var grpcCodes = map[*errs.Error]codes.Code{
	chain.ErrWrongChain:      codes.InvalidArgument,
	chain.ErrSeen:            codes.AlreadyExists,
	chain.ErrBadSignature:    codes.PermissionDenied,
	chain.ErrOtherBytes:      codes.PermissionDenied,
	chain.ErrTooManyMessages: codes.InvalidArgument,
	chain.ErrTooManySigners:  codes.InvalidArgument,
	chain.ErrNotConsortium:   codes.PermissionDenied,
	chain.ErrBadParams:       codes.InvalidArgument,
	chain.ErrTooLarge:        codes.InvalidArgument,
	chain.ErrBadHeight:       codes.NotFound,
	chain.ErrBadPlan:         codes.InvalidArgument,
	chain.ErrNoPlan:          codes.NotFound,
	chain.ErrBadReport:       codes.InvalidArgument,
	chain.ErrNoReporter:      codes.PermissionDenied,
	chain.ErrNoReport:        codes.NotFound,
	chain.ErrBadPage:         codes.InvalidArgument,
	ErrBadRequest:            codes.InvalidArgument,
	ErrNoResult:              codes.NotFound,
	ErrCursorTooOld:          codes.OutOfRange,
	ErrCursorAhead:           codes.OutOfRange,
	ErrNoCertificate:         codes.Unauthenticated, ErrUnknownAuthority: codes.Unauthenticated, ErrExpired: codes.Unauthenticated,
	ErrNotYetValid: codes.Unauthenticated, ErrRevoked: codes.Unauthenticated, ErrOtherOrganisation: codes.Unauthenticated,
	ErrNoDID: codes.Unauthenticated, ErrUnknownCaller: codes.Unauthenticated, ErrInactive: codes.PermissionDenied,
	ErrBadToken: codes.Unauthenticated, ErrNoIssuer: codes.Unauthenticated, ErrTokenExpired: codes.Unauthenticated,
	ErrTokenNotYet: codes.Unauthenticated, ErrTokenAudience: codes.Unauthenticated, ErrTokenDID: codes.Unauthenticated,
	ErrTokenOrganisation: codes.Unauthenticated, ErrTwoCallers: codes.Unauthenticated,
	ErrIssuerSilent:        codes.Unavailable,
	ErrForbidden:           codes.PermissionDenied,
	ErrNoMethod:            codes.Unimplemented,
	ErrNoPath:              codes.NotFound,
	ErrCrossOrigin:         codes.PermissionDenied,
	ErrNoBlock:             codes.NotFound,
	ErrTimeout:             codes.DeadlineExceeded,
	ErrIdle:                codes.Unavailable,
	ErrStopping:            codes.Unavailable,
	forecast.ErrBadRequest: codes.InvalidArgument,
	forecast.ErrNoSubject:  codes.NotFound,
	checkpoint.ErrNoBlock:  codes.InvalidArgument,
	checkpoint.ErrNotYet:   codes.FailedPrecondition,
	checkpoint.ErrDamaged:  codes.DataLoss,
	receipt.ErrNoEntries:   codes.InvalidArgument,
	receipt.ErrUnknownKeys: codes.InvalidArgument,
	receipt.ErrNotYet:      codes.Unavailable,
}

type errorKey struct {
	module string
	code   uint32
}

var grpcCodeOf = func() map[errorKey]codes.Code {
	m := make(map[errorKey]codes.Code, len(grpcCodes))
	for e, c := range grpcCodes {
		m[errorKey{e.Module, e.Code}] = c
	}
	return m
}()

func codeOf(e *errs.Error) codes.Code {
	if c, ok := grpcCodeOf[errorKey{e.Module, e.Code}]; ok {
		return c
	}
	switch {
	case e.Retryable():
		return codes.ResourceExhausted
	case e.Module == "tx":
		return codes.InvalidArgument
	default:
		return codes.FailedPrecondition
	}
}

// toStatus is what a client is told of an error. It is logged when it is the
// node's fault.
func toStatus(log *slog.Logger, method string, err error) error {
	if err == nil {
		return nil
	}
	var e *errs.Error
	switch {
	case errors.As(err, &e) && e.Code != errs.Internal:
		return refusal(e)
	case errors.Is(err, context.DeadlineExceeded):
		return refusal(ErrTimeout)
	case errors.Is(err, context.Canceled):
		return status.Error(codes.Canceled, "the client cancelled the call")
	}
	if s, ok := status.FromError(err); ok && s.Code() != codes.Unknown {
		return err
	}
	return incident(log, method, slog.String("error", err.Error()))
}

func refusal(e *errs.Error) error {
	s := status.New(codeOf(e), text(e.Error()))
	info := &errdetails.ErrorInfo{
		Domain: e.Module, Reason: fmt.Sprintf("%s/%d", e.Module, e.Code),
		Metadata: map[string]string{"retryable": strconv.FormatBool(e.Retryable())},
	}
	if e.Detail != "" {
		info.Metadata["detail"] = text(e.Detail)
	}
	details := []protoadapt.MessageV1{info}
	if e.Retryable() {
		details = append(details, &errdetails.RetryInfo{RetryDelay: durationpb.New(pause(e))})
	}
	with, err := s.WithDetails(details...)
	if err != nil {
		// Only a status without a code or an unmarshallable detail gets here.
		return s.Err()
	}
	return with.Err()
}

// maxText is the longest message of a status, in bytes.
const maxText = 4 << 10

// text makes a message fit for a status, which may quote what the client sent.
func text(s string) string {
	if len(s) > maxText {
		s = s[:maxText] + "…"
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}

// incident logs a fault of the node and returns what the client is told of it.
func incident(log *slog.Logger, method string, attrs ...slog.Attr) error {
	id := make([]byte, 8)
	_, _ = rand.Read(id) // it never fails, by its contract
	number := hex.EncodeToString(id)
	attrs = append([]slog.Attr{slog.String("incident", number), slog.String("method", method)}, attrs...)
	log.LogAttrs(context.Background(), slog.LevelError, "a call failed through a fault of the node", attrs...)
	e := chain.ErrInternal
	s := status.New(codes.Internal, fmt.Sprintf("%s/%d: %s (incident %s)", e.Module, e.Code, e.Text, number))
	with, err := s.WithDetails(&errdetails.ErrorInfo{
		Domain: e.Module, Reason: fmt.Sprintf("%s/%d", e.Module, e.Code),
		Metadata: map[string]string{"retryable": "false", "incident": number},
	})
	if err != nil {
		return s.Err()
	}
	return with.Err()
}
