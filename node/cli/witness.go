package cli

import (
	"crypto/tls"
	"errors"
	"log/slog"
	"net"

	"github.com/spf13/cobra"

	"github.com/chancery/chancery/node/checkpoint/witness"
	"github.com/chancery/chancery/node/config"
)

func (a *app) witnessCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "witness",
		Short: "Co-sign the checkpoints of chains and other transparency logs",
		Long: lines(
			"A witness co-signs a checkpoint when it goes on from the latest that it co-signed of the",
			"same log, and never two that do not. Anybody may run one, of a consortium or outside of it,",
			"for any log that submits to it by https://c2sp.org/tlog-witness. See docs/checkpoints.md.",
		),
	}
	c.AddCommand(a.witnessInit(), a.witnessAdd(), a.witnessShow(), a.witnessStart())
	return c
}

// witnessFolder adds the flag that names the witness's folder.
func witnessFolder(c *cobra.Command, dir *string) {
	c.Flags().StringVar(dir, "dir", "", "the witness's folder")
}

func needWitnessFolder(dir string) (witness.Folder, error) {
	if dir == "" {
		return "", usagef("name the witness's folder with --dir")
	}
	return witness.Folder(dir), nil
}

func (a *app) witnessInit() *cobra.Command {
	var dir, name string
	c := &cobra.Command{
		Use:   "init",
		Short: "Make a witness's folder with a new key",
		Long: lines(
			"Makes the folder of a witness with a new key. The name stands in each of its signatures: a",
			"URL without its scheme, such as witness.example/chancery, which need not lead anywhere.",
			"Never put an old copy of the folder in its place: a witness that forgot may sign a fork.",
		),
		Example: examples("chancery witness init --dir /var/lib/witness --name witness.example/chancery"),
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			f, err := needWitnessFolder(dir)
			if err != nil {
				return err
			}
			key, err := witness.Init(f, name)
			if err != nil {
				return err
			}
			return a.print(facts{{"folder", dir}, {"key", key.String()}})
		},
	}
	witnessFolder(c, &dir)
	c.Flags().StringVar(&name, "name", "", "name of the witness, without white space and plus signs")
	return c
}

func (a *app) witnessAdd() *cobra.Command {
	dir := ""
	c := &cobra.Command{
		Use:   "add KEY…",
		Short: "Let a witness watch logs",
		Long: lines(
			"Adds verifier keys of logs, as 'chancery checkpoint key' prints them. The nodes of one chain",
			"have keys of their own for the one log of the chain: add that of each which submits. A",
			"witness that runs takes them at its next start.",
		),
		Example: examples("chancery witness add --dir /var/lib/witness chancery/harbour-1+0a1b2c3d+AbCd…"),
		Args:    cobra.MinimumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			f, err := needWitnessFolder(dir)
			if err != nil {
				return err
			}
			for _, key := range args {
				if err := f.Add(key); err != nil {
					return err
				}
			}
			return a.showWitness(f)
		},
	}
	witnessFolder(c, &dir)
	return c
}

func (a *app) witnessShow() *cobra.Command {
	dir := ""
	c := &cobra.Command{
		Use:     "show",
		Short:   "Show a witness's key, and what it co-signed last of each log",
		Example: examples("chancery witness show --dir /var/lib/witness"),
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			f, err := needWitnessFolder(dir)
			if err != nil {
				return err
			}
			return a.showWitness(f)
		},
	}
	witnessFolder(c, &dir)
	return c
}

// watchedLog is a log that a witness watches, in JSON.
type watchedLog struct {
	Log    string   `json:"log"`
	Keys   []string `json:"keys"`
	Blocks int64    `json:"size"`
	Root   digits   `json:"root"`
}

func (a *app) showWitness(f witness.Folder) error {
	key, err := f.Key()
	if err != nil {
		return err
	}
	keys, err := f.Logs()
	if err != nil {
		return err
	}
	var logs []watchedLog
	for _, k := range keys {
		n := len(logs)
		for i, l := range logs {
			if l.Log == k.Name() {
				n = i
			}
		}
		if n == len(logs) {
			last, err := f.Latest(k.Name())
			if err != nil {
				return err
			}
			logs = append(logs, watchedLog{Log: k.Name(), Blocks: last.Size, Root: last.Root[:]})
		}
		logs[n].Keys = append(logs[n].Keys, k.String())
	}
	out := facts{{"key", key.String()}, {"policy line", "witness NAME " + key.String()}}
	if a.output == outputJSON {
		if logs == nil {
			logs = []watchedLog{}
		}
		return a.print(append(out, fact{"logs", logs}))
	}
	text := out.text()
	for _, l := range logs {
		text += "\n" + facts{{"log", l.Log}, {"keys", l.Keys}, {"size", l.Blocks}, {"root", l.Root}}.text()
	}
	return a.write(text)
}

func (a *app) witnessStart() *cobra.Command {
	dir, listen, level := "", "127.0.0.1:9790", "info"
	c := &cobra.Command{
		Use:   "start",
		Short: "Co-sign until it is interrupted",
		Long: lines(
			"Answers add-checkpoint of https://c2sp.org/tlog-witness over HTTP on loopback, or over HTTPS",
			"with the certificate of --tls-cert and --tls-key. It writes a JSON log to standard error;",
			"a fork is there at level error, with the checkpoint that proves it.",
		),
		Example: examples(
			"chancery witness start --dir /var/lib/witness",
			"chancery witness start --dir /var/lib/witness --listen 0.0.0.0:443 --tls-cert cert.pem --tls-key key.pem",
		),
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			f, err := needWitnessFolder(dir)
			if err != nil {
				return err
			}
			least, err := config.Level(level)
			if err != nil {
				return usagef("--log-level: %v", err)
			}
			var security *tls.Config
			switch {
			case a.cert != "" && a.key != "":
				pair, err := tls.LoadX509KeyPair(a.cert, a.key)
				if err != nil {
					return errFile.Wrap(err)
				}
				security = &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
			case a.cert != "" || a.key != "":
				return usagef("--tls-cert and --tls-key go together")
			case !config.Loopback(listen):
				return usagef("--listen: %s is not loopback, so it needs --tls-cert and --tls-key", listen)
			}
			log := slog.New(slog.NewJSONHandler(a.Err, &slog.HandlerOptions{Level: least}))
			w, err := witness.Open(f, log)
			if err != nil {
				return err
			}
			l, err := net.Listen("tcp", listen)
			if err != nil {
				return errors.Join(errFile.Wrap(err), w.Close())
			}
			log.Info("the witness runs", "listen", l.Addr().String(), "key", w.Key().String(), "logs", w.Origins(), "tls", security != nil, "version", a.Version)
			if err := errors.Join(w.Serve(cmd.Context(), l, security), w.Close()); err != nil {
				return witness.ErrFolder.Wrap(err)
			}
			log.Info("the witness has stopped")
			return nil
		},
	}
	witnessFolder(c, &dir)
	c.Flags().StringVar(&listen, "listen", listen, "host:port")
	c.Flags().StringVar(&level, "log-level", level, "debug, info, warn or error")
	complete(c, "log-level", "debug", "info", "warn", "error")
	return c
}
