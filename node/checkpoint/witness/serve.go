package witness

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"golang.org/x/net/netutil"

	"github.com/chancery/chancery/chain/errs"
	"github.com/chancery/chancery/node/checkpoint"
)

const (
	requestTime    = 10 * time.Second
	idleTime       = 10 * time.Minute
	maxConnections = 256
)

// ServeHTTP implements http.Handler: POST /add-checkpoint.
func (w *Witness) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	switch {
	case r.URL.Path != checkpoint.AddPath:
		http.Error(rw, "a witness serves "+checkpoint.AddPath+" alone", http.StatusNotFound)
		return
	case r.Method != http.MethodPost:
		rw.Header().Set("Allow", http.MethodPost)
		http.Error(rw, "POST a body of add-checkpoint", http.StatusMethodNotAllowed)
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(rw, r.Body, checkpoint.MaxProof))
	if err != nil {
		http.Error(rw, fmt.Sprintf("the body cannot be read, or has more than %d bytes", checkpoint.MaxProof), http.StatusBadRequest)
		return
	}
	lines, err := w.AddCheckpoint(body)
	var conflict *Conflict
	switch {
	case errors.As(err, &conflict):
		rw.Header().Set("Content-Type", checkpoint.SizeType)
		rw.WriteHeader(http.StatusConflict)
		_, _ = fmt.Fprintf(rw, "%d\n", conflict.Size)
	case err != nil:
		http.Error(rw, err.Error(), statusOf(err))
	default:
		rw.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = rw.Write(lines)
	}
}

// statusOf is what https://c2sp.org/tlog-witness says of an error that is no Conflict.
func statusOf(err error) int {
	for e, code := range map[*errs.Error]int{
		ErrMalformed: http.StatusBadRequest, ErrUnknownLog: http.StatusNotFound, ErrUnsigned: http.StatusForbidden, ErrFork: http.StatusUnprocessableEntity,
	} {
		if errors.Is(err, e) {
			return code
		}
	}
	return http.StatusInternalServerError
}

// Serve answers on a listener until ctx ends; over TLS where c is not nil.
func (w *Witness) Serve(ctx context.Context, l net.Listener, c *tls.Config) error {
	server := &http.Server{
		Handler: w, TLSConfig: c, ReadHeaderTimeout: requestTime, ReadTimeout: requestTime, WriteTimeout: requestTime, IdleTimeout: idleTime, MaxHeaderBytes: 16 << 10,
	}
	stopped := make(chan error, 1)
	defer context.AfterFunc(ctx, func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), requestTime)
		defer cancel()
		stopped <- server.Shutdown(ctx)
	})()
	l = netutil.LimitListener(l, maxConnections)
	var err error
	if c != nil {
		err = server.ServeTLS(l, "", "")
	} else {
		err = server.Serve(l)
	}
	if errors.Is(err, http.ErrServerClosed) {
		return <-stopped
	}
	return err
}
