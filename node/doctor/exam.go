package doctor

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/cometbft/cometbft/types"
	"github.com/gofrs/flock"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/chancery/chancery/node/config"
	"github.com/chancery/chancery/node/telemetry"
	nodev1 "github.com/chancery/chancery/proto/chancery/node/v1"
)

// exam is what is known at the beginning of an examination.
type exam struct {
	Options
	raw         []byte // of the configuration file
	config      config.Config
	configErr   error // of reading or checking it
	genesis     *types.GenesisDoc
	genesisHash [sha256.Size]byte
	genesisErr  error
	locked      bool // a process holds the home's lock
	running     bool // and it answers
	health      *telemetry.Health
	metrics     map[string]*dto.MetricFamily
	connected   []string // node ids of the peers of the running node
	silent      error    // why a process that holds the lock does not answer
	peers       []Peer
}

func newExam(ctx context.Context, o Options) *exam {
	e := &exam{Options: o}
	if e.raw, e.configErr = os.ReadFile(o.Home.ConfigFile()); e.configErr == nil {
		e.config, e.configErr = config.Load(o.Home, o.Overrides...)
	}
	var raw []byte
	if e.genesis, raw, e.genesisErr = config.ReadGenesis(o.Home.GenesisFile()); e.genesisErr == nil {
		e.genesisHash = sha256.Sum256(raw)
	}
	e.locked = lockHeld(filepath.Join(o.Home.Data(), "node.lock"))
	if e.configErr == nil && e.config.Telemetry.Listen != "" {
		e.silent = e.ask(ctx)
		e.running = e.silent == nil
	}
	if o.Peers != nil {
		e.peers = o.Peers(ctx)
	}
	return e
}

// lockHeld tells whether another process holds a lock. It does not make the file.
func lockHeld(path string) bool {
	if _, err := os.Stat(path); err != nil {
		return false
	}
	l := flock.New(path, flock.SetFlag(os.O_RDONLY))
	got, err := l.TryRLock()
	if got {
		_ = l.Unlock() // its file stays open no longer than this
	}
	return err == nil && !got
}

// maxAnswer bounds what a node's telemetry answers.
const maxAnswer = 8 << 20

// ask asks the node of the home how it is. Another program that listens there is not it.
func (e *exam) ask(ctx context.Context) error {
	get := func(path string) ([]byte, error) {
		ctx, cancel := context.WithTimeout(ctx, e.Patience)
		defer cancel()
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+e.config.Telemetry.Listen+path, nil)
		if err != nil {
			return nil, err
		}
		client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}} // no proxy
		answer, err := client.Do(r)
		if err != nil {
			return nil, err
		}
		defer answer.Body.Close()
		return io.ReadAll(io.LimitReader(answer.Body, maxAnswer))
	}
	raw, err := get("/health")
	if err != nil {
		return err
	}
	h := new(telemetry.Health)
	if err := json.Unmarshal(raw, h); err != nil || h.State == "" {
		return fmt.Errorf("%s is answered by something that is no node", e.config.Telemetry.Listen)
	}
	e.health = h
	if raw, err = get("/metrics"); err != nil {
		return err
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	if e.metrics, err = parser.TextToMetricFamilies(strings.NewReader(string(raw))); err != nil {
		return err
	}
	if raw, err = get("/status"); err != nil {
		return err
	}
	status := new(nodev1.StatusResponse)
	if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(raw, status); err != nil {
		return fmt.Errorf("the status of %s does not decode: %w", e.config.Telemetry.Listen, err)
	}
	e.connected = status.PeerIds
	return nil
}

// metric is a measurement without labels of the running node.
func (e *exam) metric(name string) (float64, bool) {
	f := e.metrics[name]
	if f == nil || len(f.Metric) != 1 {
		return 0, false
	}
	m := f.Metric[0]
	return m.GetGauge().GetValue() + m.GetCounter().GetValue() + m.GetUntyped().GetValue(), true
}

// lacks says what is missing of a need.
func (e *exam) lacks(n need) string {
	ok := true
	switch n {
	case needsConfig:
		ok = e.configErr == nil
	case needsGenesis:
		ok = e.configErr == nil && e.genesisErr == nil
	case needsStopped:
		ok = e.configErr == nil && !e.running && !e.locked
	case needsRunning:
		ok = e.running
	case needsPeers:
		ok = len(e.peers) > 0
	}
	if ok {
		return ""
	}
	return string(n)
}

// lastSigned is the latest height that the home's validator key signed something of.
func (e *exam) lastSigned() (int64, error) {
	raw, err := os.ReadFile(e.Home.ValidatorStateFile())
	if err != nil {
		return 0, err
	}
	var s struct {
		Height string `json:"height"`
	}
	if err := json.Unmarshal(raw, &s); err != nil {
		return 0, fmt.Errorf("%s: %w", e.Home.ValidatorStateFile(), err)
	}
	return strconv.ParseInt(s.Height, 10, 64)
}

// besideSigner finds the signer's key in the home, where it could sign beside the signer.
func (e *exam) besideSigner() []string {
	if _, err := e.config.Keys(e.Home); err != nil {
		return one("%v", err)
	}
	return nil
}

// missing tells whether a path is not there.
func missing(path string) bool {
	_, err := os.Stat(path)
	return errors.Is(err, fs.ErrNotExist)
}
