//go:build linux

package testnet_test

import (
	"context"
	"fmt"
	"path/filepath"
	"regexp"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chancery/chancery/consensus/alerttest"
	"github.com/chancery/chancery/node/config"
)

// metricIn is a measurement without labels, or the first one, of what a node served; false
// when it is not there.
func metricIn(text, name string) (float64, bool) {
	m := regexp.MustCompile(`(?m)^` + name + `(?:{[^}]*})? (\S+)$`).FindStringSubmatch(text)
	if m == nil {
		return 0, false
	}
	v, err := strconv.ParseFloat(m[1], 64)
	return v, err == nil
}

// serves waits until what a validator serves is so, and returns it.
func (s *started) serves(what string, i int, ok func(value func(string) float64) bool) string {
	s.t.Helper()
	for end := time.Now().Add(2 * time.Minute); ; time.Sleep(10 * time.Millisecond) {
		text := alerttest.Ask(s.record.Validators[i].Telemetry)
		if text != "" && ok(func(name string) float64 {
			v, known := metricIn(text, name)
			if !known {
				v = -1
			}
			return v
		}) {
			return text
		}
		if time.Now().After(end) {
			s.t.Fatalf("validator %d does not serve that %s:\n%s", i, what, text)
		}
	}
}

// Validators that end, stand still and come back raise the alerts of a network, and clear
// them. The recordings spread over minutes what lasts seconds here.
func TestAlertsOfANetwork(t *testing.T) {
	e := newE2E(t)
	e.run("testnet", "start", "--validators", "4", "--dir", e.dir, "--detach")
	e.run("testnet", "stop", "--dir", e.dir)
	for i := range 4 {
		home := config.Home(filepath.Join(e.dir, fmt.Sprintf("validator-%d", i)))
		c, err := config.Load(home)
		if err != nil {
			t.Fatal(err)
		}
		c.Pool.MaxBytes, c.Pool.MaxLaneBytes = 1<<20, 1<<20
		if err := config.Write(home, c); err != nil {
			t.Fatal(err)
		}
	}
	e.run("testnet", "start", "--dir", e.dir, "--detach")
	s := &started{e2e: e}
	s.reload()
	well := func(value func(string) float64) bool {
		return value("chancery_node_healthy") == 1 && value("chancery_node_peers") == 3 && value("chancery_validators_signed_power") == value("chancery_validators_power") &&
			value("chancery_node_behind_blocks") < 3 && value("chancery_node_clock_offset_seconds") < 2 && value("chancery_node_height") > 0
	}
	// all writes what the validators serve once each is well.
	all := func(rec *alerttest.Recording, minute int, which ...int) {
		t.Helper()
		for _, i := range which {
			rec.Write(minute, fmt.Sprintf("validator-%d", i), s.serves("it is well", i, well))
		}
	}

	// One is killed, and started again.
	rec := alerttest.Record(t, "ChanceryNodeDown", "ChanceryTooFewValidators", "ChanceryPeersMissing")
	all(rec, 0, 0, 3)
	s.run("testnet", "kill", "3", "--dir", s.dir)
	rec.Write(5, "validator-0", s.serves("one is missing", 0, func(value func(string) float64) bool {
		return value("chancery_node_peers") == 2 && value("chancery_validators_signed_power") < 0.8*value("chancery_validators_power")
	}))
	if text := rec.Scrape(5, "validator-3", s.record.Validators[3].Telemetry); text != "" {
		t.Error("a killed node answers")
	}
	s.run("testnet", "restart", "3", "--dir", s.dir)
	all(rec, 25, 0, 3)

	// One stands still, as a paused virtual machine does, while the others go on, and goes
	// on: it is behind, and to it the others' votes are old.
	rec = alerttest.Record(t, "ChanceryFallingBehind", "ChanceryClockSkew")
	all(rec, 0, 3)
	height, _ := metricIn(alerttest.Ask(s.record.Validators[0].Telemetry), "chancery_node_height")
	s.run("testnet", "kill", "3", "--signal", "STOP", "--dir", s.dir)
	s.serves("there are 100 blocks more", 0, func(value func(string) float64) bool { return value("chancery_node_height") > height+100 })
	s.run("testnet", "kill", "3", "--signal", "CONT", "--dir", s.dir)
	rec.Write(5, "validator-3", s.serves("it is behind and its clock seems ahead", 3, func(value func(string) float64) bool {
		return value("chancery_node_behind_blocks") > 20 && value("chancery_node_clock_offset_seconds") > 2
	}))
	all(rec, 15, 3)

	// Two are killed: there is no quorum, and what is submitted waits.
	rec = alerttest.Record(t, "ChanceryNoBlock", "ChanceryUnhealthy", "ChanceryPoolFull", "ChanceryLaneFull")
	all(rec, 0, 0)
	s.run("testnet", "kill", "2", "--dir", s.dir)
	s.run("testnet", "kill", "3", "--dir", s.dir)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var taken atomic.Int64
	go func() { _ = s.flood(ctx, 0, &taken) }()
	rec.Write(5, "validator-0", s.serves("no block comes and its pool is full", 0, func(value func(string) float64) bool {
		return value("chancery_node_block_age_seconds") > 31 && value("chancery_node_healthy") == 0 && value("chancery_pool_bytes") > 0.95*value("chancery_pool_capacity_bytes")
	}))
	cancel()
	s.run("testnet", "restart", "2", "--dir", s.dir)
	s.run("testnet", "restart", "3", "--dir", s.dir)
	rec.Write(25, "validator-0", s.serves("blocks come and its pool is empty", 0, func(value func(string) float64) bool {
		return well(value) && value("chancery_pool_bytes") == 0
	}))
}
