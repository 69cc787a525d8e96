package doctor

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/cometbft/cometbft/p2p"
)

var homeChecks = []Check{
	{
		Code: "config-present", Level: Fault, What: "The home has a configuration.",
		Remedy: "Name the node's home with --home or CHANCERY_HOME; make a new one with 'chancery init'.",
		look: func(_ context.Context, e *exam) []string {
			if missing(e.Home.ConfigFile()) {
				return one("%s does not exist", e.Home.ConfigFile())
			}
			return nil
		},
	},
	{
		Code: "config-keys", Level: Fault, What: "The configuration, the environment and the flags name only keys that there are, with values that a node can run with.",
		Remedy: "Correct what is named, in config/chancery.toml or where it was given; docs/operating.md lists every key.",
		look: func(_ context.Context, e *exam) []string {
			if e.configErr == nil || missing(e.Home.ConfigFile()) {
				return nil
			}
			return strings.Split(e.configErr.Error(), "\n")
		},
	},
	{
		Code: "genesis", Level: Fault, What: "The genesis file is there and is one.",
		Remedy: "Put the consortium's genesis file to config/genesis.json, byte for byte as the others have it.",
		look: func(_ context.Context, e *exam) []string {
			if e.genesisErr == nil {
				return nil
			}
			return one("%v", e.genesisErr)
		},
	},
	{
		Code: "node-key", Level: Fault, What: "The node key is there and can be read.",
		Remedy: "Restore config/node_key.json from its backup. A node with a new key is another node: its organisation must bind it on the chain (identity bind-node).",
		look: func(_ context.Context, e *exam) []string {
			if _, err := p2p.LoadNodeKey(e.Home.NodeKeyFile()); err != nil {
				return one("%v", err)
			}
			return nil
		},
	},
	{
		Code: "validator-key", Level: Fault, What: "The validator key is there and can be read; with a signer, it is there alone.",
		Remedy: "With a signer: move the key out of the home. Without: restore config/priv_validator_key.json from its backup, or bind a new validator key on the chain (identity bind-validator).",
		look: func(_ context.Context, e *exam) []string {
			if e.configErr == nil && e.config.Signer.Remote() {
				return e.besideSigner()
			}
			raw, err := os.ReadFile(e.Home.ValidatorKeyFile())
			if err != nil {
				return one("%v", err)
			}
			var key struct {
				Address string `json:"address"`
			}
			if err := json.Unmarshal(raw, &key); err != nil || len(key.Address) != 40 {
				return one("%s is no validator key", e.Home.ValidatorKeyFile())
			}
			return nil
		},
	},
	{
		Code: "validator-state", Level: Fault, What: "The record of what the validator key signed is there and whole: without it the key may sign two blocks of one height.",
		Remedy: "Put the newest copy of data/priv_validator_state.json in place. Without any, follow 'Two processes with one key' in docs/operating.md; never make an empty one.",
		look: func(_ context.Context, e *exam) []string {
			if _, err := e.lastSigned(); err != nil {
				return one("%v", err)
			}
			return nil
		},
	},
	{
		Code: "key-permissions", Level: Fault, What: "Files with secrets are readable by their owner alone.",
		Remedy: "chmod 600 the file, and replace the secret if others may have read it.",
		look: func(_ context.Context, e *exam) (found []string) {
			files := []string{e.Home.NodeKeyFile(), e.Home.NextNodeKeyFile(), e.Home.LastNodeKeyFile(), e.Home.ValidatorKeyFile(), e.Home.NextValidatorKeyFile()}
			if e.configErr == nil {
				files = append(files, e.secretFiles()...)
			}
			_ = filepath.WalkDir(e.Home.Keyring(), func(path string, d fs.DirEntry, err error) error {
				if err == nil && d.Type().IsRegular() {
					files = append(files, path)
				}
				return nil
			})
			for _, path := range files {
				if info, err := os.Stat(path); err == nil && info.Mode().Perm()&0o077 != 0 {
					found = append(found, fmt.Sprintf("%s has the mode %04o", path, info.Mode().Perm()))
				}
			}
			return found
		},
	},
	{
		Code: "home-permissions", Level: Fault, What: "Nobody but its owner writes to the home, and this user can.",
		Remedy: "chmod 700 the folder, and let it belong to the user that the node runs as.",
		look: func(_ context.Context, e *exam) (found []string) {
			for _, dir := range []string{string(e.Home), filepath.Dir(e.Home.ConfigFile()), e.Home.Data(), e.Home.Keyring()} {
				info, err := os.Stat(dir)
				switch {
				case err != nil:
					continue
				case info.Mode().Perm()&0o022 != 0:
					found = append(found, fmt.Sprintf("%s has the mode %04o", dir, info.Mode().Perm()))
				case info.Mode().Perm()&0o200 == 0:
					found = append(found, fmt.Sprintf("%s, of mode %04o, cannot be written to", dir, info.Mode().Perm()))
				}
			}
			return found
		},
	},
	{
		Code: "secrets-readable", Level: Fault, Needs: needsConfig, What: "The files that the configuration names are there.",
		Remedy: "Put the file in place, or correct its path in config/chancery.toml; paths are relative to the home.",
		look: func(_ context.Context, e *exam) (found []string) {
			for _, path := range append(e.secretFiles(), e.publicFiles()...) {
				f, err := os.Open(path)
				if err != nil {
					found = append(found, err.Error())
					continue
				}
				_ = f.Close() // it was only looked whether it opens
			}
			return found
		},
	},
	{
		Code: "state-tree", Level: Fault, Needs: needsConfig, What: "The state in the home is of the kind that state.tree says.",
		Remedy: "Set state.tree to the kind that is there; or stop the node, 'chancery reset', and let it fetch the blocks from its peers.",
		look: func(_ context.Context, e *exam) []string {
			other := map[string]string{"disk": "state.memory", "memory": "state.db"}[e.config.State.Tree]
			if !missing(filepath.Join(e.Home.Data(), other)) {
				return one("state.tree is %q, and %s holds a state of the other kind", e.config.State.Tree, filepath.Join(e.Home.Data(), other))
			}
			return nil
		},
	},
	{
		Code: "data-whole", Level: Fault, What: "State, records and the engine's blocks are there together, or none of them.",
		Remedy: "Restore all of data/ from one backup; or 'chancery reset', and let the node fetch the blocks from its peers.",
		look: func(_ context.Context, e *exam) []string {
			parts := map[string]bool{
				"the state":           !missing(filepath.Join(e.Home.Data(), "state.db")) || !missing(filepath.Join(e.Home.Data(), "state.memory")),
				"data/records.db":     !missing(filepath.Join(e.Home.Data(), "records.db")),
				"data/engine's store": !missing(filepath.Join(e.Home.Data(), "engine", "blockstore.db")),
			}
			var there, gone []string
			for _, name := range []string{"the state", "data/records.db", "data/engine's store"} {
				if parts[name] {
					there = append(there, name)
				} else {
					gone = append(gone, name)
				}
			}
			if len(there) > 0 && len(gone) > 0 {
				return one("%s is missing where %s is there", strings.Join(gone, " and "), strings.Join(there, " and "))
			}
			return nil
		},
	},
	{
		Code: "process", Level: Fault, Needs: needsConfig, What: "A process that holds the home's lock answers.",
		Remedy: "Read its log. If it hangs, end it by its process id and start it again; if telemetry.listen is empty or taken by another program, set it.",
		look: func(_ context.Context, e *exam) []string {
			if e.locked && !e.running {
				if e.config.Telemetry.Listen == "" {
					return one("a process runs in this home, and telemetry.listen is empty, so nobody can ask it")
				}
				return one("a process runs in this home and does not answer at %s: %v", e.config.Telemetry.Listen, e.silent)
			}
			return nil
		},
	},
	{
		Code: "certificates", Level: Fault, Needs: needsConfig, What: "Certificate and key belong together, and neither the certificate nor one of the authorities has expired.",
		Remedy: "Put a new certificate and its key in place, or a current file of authorities, and restart the node.",
		look:   func(_ context.Context, e *exam) []string { found, _ := e.certificates(); return found },
	},
	{
		Code: "certificates-expiry", Level: Warning, Needs: needsConfig, What: "Certificates are valid for another 30 days.",
		Remedy: "Have the certificate renewed now, by your organisation's authority.",
		look:   func(_ context.Context, e *exam) []string { _, soon := e.certificates(); return soon },
	},
}

// secretFiles are the files with secrets that the configuration names.
func (e *exam) secretFiles() (files []string) {
	add := func(path string) {
		if path != "" {
			files = append(files, e.Home.Resolve(path))
		}
	}
	add(e.config.RPC.TLSKey)
	add(e.config.Intelligence.FeedKey)
	for _, w := range e.config.Webhooks {
		for _, f := range w.SecretFiles {
			add(f)
		}
	}
	return files
}

// publicFiles are the others that must be there.
func (e *exam) publicFiles() (files []string) {
	for _, path := range []string{
		e.config.RPC.TLSCert, e.config.RPC.ClientCA, e.config.Intelligence.FeedCA, e.config.Intelligence.FeedCert,
		e.config.Intelligence.Indicators, e.config.Intelligence.Opinions, e.config.Telemetry.TracesCA,
	} {
		if path != "" {
			files = append(files, e.Home.Resolve(path))
		}
	}
	return files
}
