//go:build unix

package testnet

import (
	"context"
	"encoding/hex"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	nodev1 "github.com/chancery/chancery/proto/chancery/node/v1"
)

// askPatience bounds one question to one node.
const askPatience = 2 * time.Second

// View is how a validator looks from outside.
type View struct {
	Index        int    `json:"validator"`
	Organisation string `json:"organisation"`
	PID          int    `json:"pid,omitempty"`
	// Running tells whether there is a process, Answers whether it answers.
	Running bool   `json:"running"`
	Answers bool   `json:"answers"`
	Height  int64  `json:"height"`
	AppHash string `json:"app_hash"` // hexadecimal, of the state at height
	// CatchingUp tells that the node still fetches blocks that others have.
	CatchingUp bool   `json:"catching_up"`
	Healthy    bool   `json:"healthy"`
	Reason     string `json:"reason,omitempty"` // why it is not healthy, or does not answer
	Peers      int    `json:"peers"`
	PoolTxs    uint64 `json:"pool_txs"`
	// TxRate is the transactions that it committed per second since the look before.
	TxRate float64 `json:"tx_per_second"`
	RPC    string  `json:"rpc"`
}

// watch looks at the nodes again and again.
type watch struct {
	conns []*grpc.ClientConn
	last  []seenAt
	pids  func(context.Context, *Record) []int

	mu     sync.Mutex    // guards counts
	counts map[int64]int // transactions by height, of the latest blocks
}

type seenAt struct {
	height int64
	at     time.Time
}

const keptCounts = 1000

func newWatch(d Dir, r *Record) (*watch, error) {
	w := &watch{last: make([]seenAt, len(r.Validators)), counts: make(map[int64]int), pids: pidsOf}
	secure := insecure.NewCredentials()
	if t, err := d.Credentials(r, r.Validators[0]).TLS(); err != nil {
		return nil, err
	} else if t != nil {
		secure = credentials.NewTLS(t)
	}
	for _, v := range r.Validators {
		// A target of this form is never refused.
		conn, err := grpc.NewClient("passthrough:///"+v.RPC, grpc.WithTransportCredentials(secure),
			grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(32<<20)))
		if err != nil {
			panic("testnet: " + err.Error())
		}
		w.conns = append(w.conns, conn)
	}
	return w, nil
}

// pidsOf are the processes of the validators, 0 of one that does not run.
func pidsOf(_ context.Context, r *Record) []int {
	out := make([]int, len(r.Validators))
	for i, v := range r.Validators {
		if v.Process.alive() {
			out[i] = v.Process.PID
		}
	}
	return out
}

func (w *watch) close() {
	for _, c := range w.conns {
		_ = c.Close() // it was only read from
	}
}

// look asks every node at once.
func (w *watch) look(ctx context.Context, r *Record) []View {
	out := make([]View, len(r.Validators))
	var group sync.WaitGroup
	pids := w.pids(ctx, r)
	for i, v := range r.Validators {
		out[i] = View{Index: i, Organisation: v.Organisation, RPC: v.RPC, Running: pids[i] != 0, PID: pids[i]}
		if !out[i].Running {
			out[i].Reason = "no process"
			continue
		}
		group.Go(func() { w.ask(ctx, &out[i]) })
	}
	group.Wait()
	return out
}

func (w *watch) ask(ctx context.Context, v *View) {
	ctx, cancel := context.WithTimeout(ctx, askPatience)
	defer cancel()
	node := nodev1.NewNodeClient(w.conns[v.Index])
	s, err := node.Status(ctx, &nodev1.StatusRequest{})
	if err != nil {
		v.Reason = "does not answer"
		return
	}
	v.Answers, v.Height, v.AppHash = true, s.Height, hex.EncodeToString(s.AppHash)
	v.CatchingUp, v.Healthy, v.Reason, v.Peers, v.PoolTxs = s.CatchingUp, s.Healthy, s.Reason, int(s.Peers), s.PoolTxs
	now, last := time.Now(), w.last[v.Index]
	w.last[v.Index] = seenAt{s.Height, now}
	if last.height == 0 || s.Height <= last.height || s.Height-last.height > keptCounts/2 {
		return
	}
	total := 0
	for h := last.height + 1; h <= s.Height; h++ {
		n, err := w.count(ctx, node, h)
		if err != nil {
			return
		}
		total += n
	}
	v.TxRate = float64(total) / now.Sub(last.at).Seconds()
}

// count is the number of transactions of a block, asked once of any node.
func (w *watch) count(ctx context.Context, node nodev1.NodeClient, height int64) (int, error) {
	w.mu.Lock()
	n, ok := w.counts[height]
	w.mu.Unlock()
	if ok {
		return n, nil
	}
	b, err := node.Block(ctx, &nodev1.BlockRequest{Height: height})
	if err != nil {
		return 0, err
	}
	n = len(b.GetRecord().GetTxs())
	w.mu.Lock()
	defer w.mu.Unlock()
	w.counts[height] = n
	delete(w.counts, height-keptCounts)
	return n, nil
}
