package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/cometbft/cometbft/p2p"
	"github.com/cometbft/cometbft/privval"

	"github.com/chancery/chancery/consensus/ports"
	"github.com/chancery/chancery/node/config"
	"github.com/chancery/chancery/testnet/links"
)

// member is one validator's home and addresses.
type member struct {
	home    config.Home
	config  config.Config
	nodeID  string
	pv      *privval.FilePV
	process *exec.Cmd
}

// network is the validators' homes, without genesis, and their processes.
type network struct {
	members []*member
	links   *links.Links // nil: the members reach one another directly
}

// layOut makes the homes with keys and configuration: the same timers for every
// application. tree is where Chancery's validators hold their state, and far what is between
// their regions, where there are regions.
func layOut(dir, tree string, s setting, far links.Regions) (*network, error) {
	n, validators := &network{}, s.Validators
	first, err := ports.Pick(3 * validators)
	if err != nil {
		return nil, err
	}
	for i := range validators {
		m := &member{home: config.Home(filepath.Join(dir, fmt.Sprint("validator-", i))), config: config.Default()}
		m.config.Signer.WatchBlocks = 0
		if err := m.home.Create(); err != nil {
			return nil, err
		}
		key, err := p2p.LoadOrGenNodeKey(m.home.NodeKeyFile())
		if err != nil {
			return nil, err
		}
		m.nodeID = string(key.ID())
		m.pv = privval.GenFilePV(m.home.ValidatorKeyFile(), m.home.ValidatorStateFile())
		m.pv.Save()
		m.config.Node.Moniker = fmt.Sprint("validator-", i)
		m.config.Node.LogLevel = "warn"
		m.config.State.Tree = tree
		m.config.P2P.Listen = ports.Address(first + 3*i)
		m.config.RPC.Development = true
		m.config.RPC.Listen = ports.Address(first + 3*i + 1)
		m.config.Telemetry.Listen = ports.Address(first + 3*i + 2)
		m.config.Telemetry.Pprof = true
		m.config.Consensus = patient(m.config.Consensus, validators)
		n.members = append(n.members, m)
	}
	if s.Regions > 0 {
		var targets []string
		for _, m := range n.members {
			targets = append(targets, m.config.P2P.Listen)
		}
		if n.links, err = links.New(targets); err != nil {
			return nil, err
		}
		n.links.Spread(far)
	}
	for i, m := range n.members {
		for k, other := range n.members {
			if k == i {
				continue
			}
			at := other.config.P2P.Listen
			if n.links != nil {
				at = n.links.Address(i, k)
			}
			m.config.P2P.PersistentPeers = append(m.config.P2P.PersistentPeers, other.nodeID+"@"+at)
		}
		if err := config.Write(m.home, m.config); err != nil {
			return nil, err
		}
	}
	return n, nil
}

// manyValidators is how many still vote within the timers of a network's defaults where they
// share two processors.
const manyValidators = 8

// patient are timers that wait longer where there are many validators, each of whom must hear
// of the votes of all: as their number grows, the votes do by its square.
func patient(c config.Consensus, validators int) config.Consensus {
	if validators <= manyValidators {
		return c
	}
	for _, timer := range []*config.Duration{&c.Propose, &c.ProposeDelta, &c.Vote, &c.VoteDelta} {
		*timer = *timer * config.Duration(validators*validators) / (manyValidators * manyValidators)
	}
	return c
}

// run starts a process for each member.
func (n *network) run(command func(m *member) []string) error {
	for _, m := range n.members {
		args := command(m)
		log, err := os.Create(filepath.Join(string(m.home), "node.log"))
		if err != nil {
			return err
		}
		m.process = exec.Command(args[0], args[1:]...)
		m.process.Stdout, m.process.Stderr = log, log
		m.process.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		err = m.process.Start()
		_ = log.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

// pids are the members' processes.
func (n *network) pids() []int {
	out := make([]int, len(n.members))
	for i, m := range n.members {
		out[i] = m.process.Process.Pid
	}
	return out
}

// disk is how many bytes the members' files hold together.
func (n *network) disk() (sum int64, err error) {
	for _, m := range n.members {
		err = errors.Join(err, filepath.WalkDir(m.home.Data(), func(_ string, e fs.DirEntry, err error) error {
			if err != nil || e.IsDir() {
				return ignoreGone(err)
			}
			info, err := e.Info()
			if err == nil {
				sum += info.Size()
			}
			return ignoreGone(err)
		}))
	}
	return sum, err
}

// ignoreGone passes over a file that the node removed meanwhile.
func ignoreGone(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func (n *network) stop() {
	if n == nil {
		return
	}
	if n.links != nil {
		defer n.links.Close()
	}
	for _, m := range n.members {
		if m.process != nil {
			_ = m.process.Process.Signal(syscall.SIGTERM)
		}
	}
	for _, m := range n.members {
		if m.process == nil {
			continue
		}
		done := make(chan struct{})
		go func() { _ = m.process.Wait(); close(done) }()
		select {
		case <-done:
		case <-time.After(10 * time.Second):
			_ = m.process.Process.Kill()
			<-done
		}
	}
}

// eventually tries until it works, for at most five minutes: many validators on few processors need them.
func eventually(ctx context.Context, what string, try func() error) error {
	deadline := time.Now().Add(5 * time.Minute)
	for {
		err := try()
		if err == nil {
			return nil
		}
		if time.Now().After(deadline) || ctx.Err() != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		time.Sleep(100 * time.Millisecond)
	}
}
