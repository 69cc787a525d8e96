package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/chancery/chancery/node/config"
)

// admin is the door for the operator of this machine alone: HTTP over a socket in the home,
// which the file system lets only the home's owner open. It does what no client may.
//
//	POST /backup         the body is encrypted keys, or nothing; the answer is a backup
//	GET /state?height=   the answer is the image of a state, for a dry run of an upgrade
type admin struct {
	node     *Node
	listener net.Listener
	server   *http.Server
	busy     atomic.Bool
	calls    sync.WaitGroup
}

// The bounds of the door.
const (
	adminHeader = 5 * time.Second
	adminKeys   = 64 << 10
	// maxSocketPath is the most that a socket's path may have on all systems.
	maxSocketPath = 103
)

// openAdmin makes the door, nil where the home's path is too long for one.
func openAdmin(n *Node) (*admin, error) {
	path := n.home.AdminSocket()
	if len(path) > maxSocketPath {
		n.log.Warn("no backup can be made while the node runs: the path of its socket is too long", "path", path, "most", maxSocketPath)
		return nil, nil
	}
	// The home's lock is held: a socket that is there is of a node that was killed.
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("make the operator's socket: %w", err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("make the operator's socket: %w", err)
	}
	// The folder is its owner's alone already.
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	a := &admin{node: n, listener: l}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /backup", a.backup)
	mux.HandleFunc("GET /state", a.image)
	a.server = &http.Server{Handler: mux, ReadHeaderTimeout: adminHeader, MaxHeaderBytes: 8 << 10}
	return a, nil
}

func (a *admin) serve() error {
	if err := a.server.Serve(a.listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve the operator's socket: %w", err)
	}
	return nil
}

// close cuts off what is under way: a backup that is cut off has no manifest.
func (a *admin) close() error {
	err := a.server.Close()
	_ = a.listener.Close() // closed already when the door served
	a.calls.Wait()
	return err
}

func (a *admin) backup(w http.ResponseWriter, r *http.Request) {
	if !a.busy.CompareAndSwap(false, true) {
		http.Error(w, "a backup is being made already", http.StatusConflict)
		return
	}
	defer a.busy.Store(false)
	a.calls.Add(1)
	defer a.calls.Done()
	keys, err := io.ReadAll(http.MaxBytesReader(w, r.Body, adminKeys))
	if err != nil {
		http.Error(w, "the encrypted keys cannot be read", http.StatusBadRequest)
		return
	}
	if len(keys) == 0 {
		keys = nil
	}
	start := time.Now()
	m, err := a.node.Backup(r.Context(), w, keys)
	if err != nil {
		a.node.log.Error("the backup failed", "error", err)
		panic(http.ErrAbortHandler) // the connection is cut, so that the reader learns of it
	}
	a.node.log.Info("made a backup", "height", m.Header.Height, "bytes", m.Size(), "took", time.Since(start))
}

// AdminClient calls the door of a node that runs in a home.
func AdminClient(home config.Home) *http.Client {
	return &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", home.AdminSocket())
		},
	}}
}
