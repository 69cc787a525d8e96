package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"runtime/pprof"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/chancery/chancery/chain/state"
	"github.com/chancery/chancery/node/config"
	"github.com/chancery/chancery/node/nodetest"
	nodev1 "github.com/chancery/chancery/proto/chancery/node/v1"
)

const testChain = nodetest.HomeChain

// newHome makes the home of the only validator of a consortium.
func newHome(t *testing.T) (config.Home, config.Config) {
	t.Helper()
	return nodetest.NewHome(t, NewGenesis)
}

// quiet keeps the log for failures.
func quiet(t *testing.T) *slog.Logger {
	if os.Getenv("CHANCERY_LOG") != "" {
		return slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	return slog.New(slog.NewTextHandler(io.Discard, nil))
}

func open(t *testing.T, home config.Home) *Node {
	t.Helper()
	n, err := Open(home, Options{Version: "test", Log: quiet(t)})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func dial(t *testing.T, n *Node) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient(n.Address(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(60 * time.Second); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not so after a minute: %s", what)
		}
	}
}

func TestNodeRunsProvesStopsAndRunsAgain(t *testing.T) {
	onEachTree(t, testNodeRuns)
}

// onEachTree runs a test on a home with its state on disk and on one in memory.
func onEachTree(t *testing.T, test func(*testing.T, config.Home)) {
	for _, tree := range []string{"disk", "memory"} {
		t.Run(tree, func(t *testing.T) {
			home, c := newHome(t)
			c.State.Tree = tree
			if err := config.Write(home, c); err != nil {
				t.Fatal(err)
			}
			test(t, home)
		})
	}
}

func testNodeRuns(t *testing.T, home config.Home) {
	n := open(t, home)
	if err := n.Start(); err != nil {
		t.Fatal(err)
	}
	conn := dial(t, n)
	ctx := t.Context()
	nodes := nodev1.NewNodeClient(conn)
	height := func() int64 {
		s, err := nodes.Status(ctx, &nodev1.StatusRequest{})
		if err != nil {
			t.Fatal(err)
		}
		return s.Height
	}
	until(t, "blocks are made", func() bool { return height() >= 3 })
	until(t, "the health service says so", func() bool {
		r, err := healthv1.NewHealthClient(conn).Check(ctx, &healthv1.HealthCheckRequest{})
		return err == nil && r.Status == healthv1.HealthCheckResponse_SERVING
	})

	// A receipt of chain/params from a real engine verifies with the file alone.
	built, err := nodev1.NewReceiptsClient(conn).Build(ctx, &nodev1.BuildRequest{Keys: []*nodev1.Key{{Collection: "chain/params", Key: []byte{1, 1}}}})
	if err != nil {
		t.Fatal(err)
	}
	genesis, _, err := config.ReadGenesis(home.GenesisFile())
	if err != nil {
		t.Fatal(err)
	}
	report, err := VerifyReceipt(built.Receipt, genesis)
	if err != nil {
		t.Fatal(err)
	}
	if len(report.Facts) != 1 || !report.Facts[0].Present || report.Height != built.Height || report.SignedPower != 10 {
		t.Fatalf("the receipt says %+v", report)
	}

	for path, want := range map[string]string{"/metrics": "chancery_node_height", "/health": `"healthy":true`, "/status": `"chain_id":"node-test"`} {
		resp, err := http.Get("http://" + n.TelemetryAddress() + path)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusOK || !strings.Contains(string(body), want) {
			t.Errorf("%s answers %d without %s", path, resp.StatusCode, want)
		}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+n.TelemetryAddress()+"/status", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = "attacker.example"
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusForbidden {
		t.Errorf("a request for another host is answered with %d", resp.StatusCode)
	}

	if err := n.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := n.Stop(); err != nil {
		t.Fatalf("stopping twice: %v", err)
	}

	again := open(t, home)
	before := again.Engine().Status().Height
	if before < 3 {
		t.Fatalf("the node starts again at height %d", before)
	}
	if err := again.Start(); err != nil {
		t.Fatal(err)
	}
	until(t, "blocks are made after a restart", func() bool { return again.Engine().Status().Height > before })
	if err := again.Stop(); err != nil {
		t.Fatal(err)
	}
}

func TestRunEndsWithItsContext(t *testing.T) {
	home, _ := newHome(t)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- Run(ctx, home, Options{Log: quiet(t)}) }()
	time.Sleep(500 * time.Millisecond)
	cancel()
	select {
	case err := <-done:
		if err != nil {
			t.Fatal(err)
		}
	case <-time.After(time.Minute):
		stacks := new(bytes.Buffer)
		_ = pprof.Lookup("goroutine").WriteTo(stacks, 2)
		t.Fatalf("Run did not return:\n%s", stacks)
	}
}

func TestOneNodePerHome(t *testing.T) { onEachTree(t, testOneNode) }

func testOneNode(t *testing.T, home config.Home) {
	n := open(t, home)
	defer func() {
		if err := n.Stop(); err != nil {
			t.Error(err)
		}
	}()
	if _, err := Open(home, Options{Log: quiet(t)}); err == nil || !strings.Contains(err.Error(), "is another node running in this home?") {
		t.Fatalf("a second node opens the same home: %v", err)
	}
}

// TestGuardOfTheValidatorKey: a home whose record of what it signed is an old copy
// does not start, since another process may have signed with the key.
func TestGuardOfTheValidatorKey(t *testing.T) {
	home, _ := newHome(t)
	old, err := os.ReadFile(home.ValidatorStateFile())
	if err != nil {
		t.Fatal(err)
	}
	n := open(t, home)
	if err := n.Start(); err != nil {
		t.Fatal(err)
	}
	until(t, "blocks are made", func() bool { return n.Engine().Status().Height >= 2 })
	if err := n.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(home.ValidatorStateFile(), old, 0o600); err != nil {
		t.Fatal(err)
	}
	n = open(t, home)
	err = n.Start()
	if err == nil || !strings.Contains(err.Error(), "Another process uses the key") {
		t.Fatalf("the node starts with an old record of what it signed: %v", err)
	}
	if err := n.Stop(); err != nil {
		t.Fatal(err)
	}
}

func TestOpenSaysWhatIsMissing(t *testing.T) {
	empty := config.Home(t.TempDir())
	if _, err := Open(empty, Options{}); err == nil || !strings.Contains(err.Error(), "chancery init") {
		t.Errorf("an empty home: %v", err)
	}
	for _, lost := range []func(config.Home) string{config.Home.GenesisFile, config.Home.NodeKeyFile, config.Home.ValidatorKeyFile, config.Home.ValidatorStateFile} {
		home, _ := newHome(t)
		if err := os.Remove(lost(home)); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(home, Options{Log: quiet(t)}); err == nil || !strings.Contains(err.Error(), filepath.Base(lost(home))) {
			t.Errorf("a home without %s: %v", filepath.Base(lost(home)), err)
		}
	}
}

// A home that holds its state in one kind of tree does not start with the other.
func TestTheKindOfTreeStays(t *testing.T) {
	onEachTree(t, func(t *testing.T, home config.Home) {
		c, err := config.Load(home)
		if err != nil {
			t.Fatal(err)
		}
		tree, err := openTree(c.State, c.Pruning.Images(), home.Data(), quiet(t))
		if err != nil {
			t.Fatal(err)
		}
		root, err := tree.Apply([]state.Change{{Key: []byte("key"), Value: []byte("value")}})
		if err := errors.Join(err, tree.Save(), tree.Close()); err != nil {
			t.Fatal(err)
		}
		is := c.State.Tree
		c.State.Tree = map[string]string{"disk": "memory", "memory": "disk"}[is]
		if _, err := Open(home, Options{Config: &c, Log: quiet(t)}); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("set state.tree = %q", is)) {
			t.Fatalf("opens with the other tree: %v", err)
		}
		c.State.Tree = is
		if tree, err = openTree(c.State, c.Pruning.Images(), home.Data(), quiet(t)); err != nil {
			t.Fatal(err)
		}
		if tree.Version() != 1 || !bytes.Equal(tree.Root(), root) {
			t.Fatalf("version %d with root %x, want %x", tree.Version(), tree.Root(), root)
		}
		if err := tree.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

// The images of a tree in memory are written beside the blocks, and the next start
// goes on from the newest. A state that takes more memory than it may is complained of,
// once in a while.
func TestImagesAreWritten(t *testing.T) {
	dir := t.TempDir()
	files, err := openFolder(dir)
	if err != nil {
		t.Fatal(err)
	}
	tree, err := state.OpenMemory(files, state.MemoryOptions{ImageVersions: 30, SegmentBytes: 1})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	var told bytes.Buffer
	go func() {
		defer close(done)
		writeImages(ctx, config.State{MemoryBytes: 50}, tree, slog.New(slog.NewTextHandler(&told, nil)))
	}()
	var root []byte
	until(t, "the log before the first of two images is gone", func() bool {
		if root, err = tree.Apply([]state.Change{{Key: []byte("key"), Value: []byte(fmt.Sprint(tree.Version()))}}); err != nil {
			t.Fatal(err)
		}
		if err := tree.Save(); err != nil {
			t.Fatal(err)
		}
		_, err := os.Stat(filepath.Join(dir, fmt.Sprintf("log-%020d", 1)))
		return errors.Is(err, fs.ErrNotExist)
	})
	cancel()
	<-done
	if n := strings.Count(told.String(), "wrote an image of the state"); n < 2 {
		t.Fatalf("%d images were written beside the blocks:\n%s", n, told.String())
	}
	if n := strings.Count(told.String(), "takes more memory than state.memory_bytes says"); n != 1 {
		t.Errorf("the size of the state was complained of %d times in a moment, want once:\n%s", n, told.String())
	}
	version := tree.Version()
	if err := tree.Close(); err != nil {
		t.Fatal(err)
	}
	if files, err = openFolder(dir); err != nil {
		t.Fatal(err)
	}
	if tree, err = state.OpenMemory(files, state.MemoryOptions{}); err != nil {
		t.Fatal(err)
	}
	if r := tree.Recovered(); r.Image == 0 || r.Image+r.Replayed != version || tree.Version() != version || !bytes.Equal(tree.Root(), root) {
		t.Fatalf("%+v, version %d, want %d", r, tree.Version(), version)
	}
	if err := tree.Close(); err != nil {
		t.Fatal(err)
	}
}

// A node whose configuration says so serves its methods over HTTP too, and stops at once
// with a stream under way.
func TestNodeServesHTTP(t *testing.T) {
	home, c := newHome(t)
	c.REST.Listen = "127.0.0.1:0"
	if err := config.Write(home, c); err != nil {
		t.Fatal(err)
	}
	n := open(t, home)
	if err := n.Start(); err != nil {
		t.Fatal(err)
	}
	get := func(path string) string {
		resp, err := http.Get("http://" + n.WebAddress() + path)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = resp.Body.Close() }()
		body, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("%s: %s %s (%v)", path, resp.Status, body, err)
		}
		return strings.ReplaceAll(string(body), " ", "")
	}
	until(t, "it is healthy", func() bool { return strings.Contains(get("/v1/node/status"), `"healthy":true`) })
	if body := get("/v1/node/params"); !strings.Contains(body, `"params":{`) {
		t.Errorf("the parameters: %s", body)
	}
	stream, err := http.Get("http://" + n.WebAddress() + "/v1/events?follow=true")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = stream.Body.Close() }()
	begun := time.Now()
	if err := n.Stop(); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(begun); took > stopTime {
		t.Errorf("to stop took %s", took)
	}
	if rest, err := io.ReadAll(stream.Body); err != nil || !strings.Contains(string(rest), `{"error":`) {
		t.Errorf("the stream ended with %s (%v)", rest, err)
	}
}
