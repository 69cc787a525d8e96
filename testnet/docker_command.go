//go:build unix

package testnet

import (
	"errors"
	"fmt"
	"os/exec"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/chancery/chancery/node/config"
)

func (c *commands) docker() *cobra.Command {
	root := &cobra.Command{
		Use:   "docker",
		Short: "Run a whole network in containers",
		Long: `Run a network of validators in containers on this machine's Docker engine, each in a
network of its own organisation and all in one for consensus that has no way out. A
container's root is read-only and it has no capabilities; what a validator keeps is in a
volume. Clients reach each at 127.0.0.1 alone, by mutual TLS. The image is what 'make
image' builds. Its keys are for tests, as those of 'chancery testnet start'.`,
		Example: `  chancery testnet docker up --dir T --demo
  chancery testnet docker status --dir T
  chancery testnet docker clean --dir T`,
	}
	root.AddCommand(c.dockerCreate(), c.dockerUp(), c.dockerDown(), c.dockerStatus(), c.dockerLogs(), c.dockerClean(), c.dockerSeed())
	return root
}

func (c *commands) inDocker() (*Docker, error) {
	n, err := c.network()
	if err != nil {
		return nil, err
	}
	return NewDocker(n), nil
}

// shape is the flags that say how a new network is made.
type shape struct {
	validators, basePort int
	image                string
}

func (s *shape) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.IntVar(&s.validators, "validators", 0, "how many validators, 1 to 16; 4 for a new network")
	f.IntVar(&s.basePort, "base-port", 0, "first port for clients, three apart; any free ones for a new network")
	f.StringVar(&s.image, "image", "", "image that the containers run; "+DefaultImage+" for a new network")
}

func (s *shape) make(cmd *cobra.Command, d *Docker) (*Record, error) {
	if cmd.Flags().Changed("validators") && s.validators == 0 {
		return nil, usagef("--validators 0: want 1 to %d", MaxValidators)
	}
	return d.Make(cmd.Context(), s.validators, s.basePort, nil, Containers{Image: s.image})
}

func (c *commands) dockerCreate() *cobra.Command {
	var s shape
	cmd := &cobra.Command{
		Use:   "create",
		Short: "Make the network's files, compose.yaml among them, and start nothing",
		Long: `Make keys, certificates, genesis and compose.yaml in --dir, and start nothing. Then
'docker compose up --wait' in that folder starts the network where there is compose, and
'chancery testnet docker up' where there is none; they make the same containers.`,
		Example: "  chancery testnet docker create --dir T",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			d, err := c.inDocker()
			if err != nil {
				return err
			}
			r, err := s.make(cmd, d)
			if err != nil {
				return err
			}
			if jsonWanted(cmd) {
				return writeJSON(cmd.OutOrStdout(), r)
			}
			say := talker(cmd, false)
			say("Network %s in %s: %s. FOR TESTS ONLY: the passphrase of all its keys lies in %s.", r.ChainID, d.Dir, counted(len(r.Validators)), d.Dir.PassphraseFile())
			say("Start it: %s testnet docker up --dir %s", quote(program(d.Binary)), quote(string(d.Dir)))
			say("Or, with compose: docker compose --file %s up --wait", quote(d.Dir.ComposeFile()))
			return nil
		},
	}
	s.flags(cmd)
	return cmd
}

func (c *commands) dockerUp() *cobra.Command {
	var (
		s    shape
		demo bool
	)
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Start the network, and make it if there is none",
		Long: `Start the network in --dir by the docker command line, and make it if there is none:
networks, volumes, and a container for each validator, which starts when the one before
it is healthy. What runs already goes on. With --demo it then takes the network through
the demonstration on real documents, as 'chancery testnet start --demo' does.`,
		Example: `  chancery testnet docker up --dir T
  chancery testnet docker up --dir T --demo --output json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, began, asJSON := cmd.Context(), time.Now(), jsonWanted(cmd)
			say := talker(cmd, asJSON)
			d, err := c.inDocker()
			if err != nil {
				return err
			}
			if _, err := d.call(ctx, "version", "--format", "{{.Server.Version}}"); err != nil {
				return err
			}
			r, err := s.make(cmd, d)
			if err != nil {
				return err
			}
			say("Network %s in %s: %s in containers %s-validator-N.", r.ChainID, d.Dir, counted(len(r.Validators)), r.Containers.Project)
			say("FOR TESTS ONLY: the passphrase of all its keys lies in %s.", d.Dir.PassphraseFile())
			if _, err := d.Up(ctx, say); err != nil {
				return err
			}
			if err := d.Ready(ctx); err != nil {
				return err
			}
			say("All validators take part, %.1f s after the start.", time.Since(began).Seconds())
			result := &startResult{Dir: string(d.Dir), ChainID: r.ChainID, Running: true, Validators: r.Validators, HowTo: d.howTo(r)}
			var failed error
			if demo {
				if result.Demo, failed = d.demo(ctx, r, say); failed != nil && ctx.Err() != nil {
					return failed
				}
			}
			if asJSON {
				return errors.Join(failed, writeJSON(cmd.OutOrStdout(), result))
			}
			result.HowTo.tell(say)
			return failed
		},
	}
	s.flags(cmd)
	cmd.Flags().BoolVar(&demo, "demo", false, "run the demonstration")
	return cmd
}

// howTo is the commands to go on with.
func (d *Docker) howTo(r *Record) howTo {
	binary, dir := quote(program(d.Binary)), quote(string(d.Dir))
	environment := fmt.Sprintf(`eval "$(%s testnet env --dir %s)"`, binary, dir)
	return howTo{
		Look: []string{fmt.Sprintf("%s testnet docker status --dir %s", binary, dir), fmt.Sprintf("docker ps --filter label=%s=%s", projectLabel, r.Containers.Project)},
		Submit: fmt.Sprintf(`%s && %s tx provenance register-entity --from registrar --json '{"id":"my-first-file","entity":{"media_type":"text/plain"}}'`,
			environment, binary),
		Environment: environment,
		Stop:        fmt.Sprintf("%s testnet docker down --dir %s", binary, dir),
	}
}

func (c *commands) dockerDown() *cobra.Command {
	return &cobra.Command{
		Use:   "down",
		Short: "Stop the network and remove its containers; its volumes stay",
		Long: `Stop every validator of the network in good order, and remove its containers and
networks. The volumes stay, and with them the chain; 'up' goes on from there.`,
		Example: "  chancery testnet docker down --dir T",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			d, err := c.inDocker()
			if err != nil {
				return err
			}
			n, err := d.Down(cmd.Context())
			if err != nil {
				return err
			}
			if jsonWanted(cmd) {
				return writeJSON(cmd.OutOrStdout(), map[string]any{"containers": n})
			}
			talker(cmd, false)("%d containers were stopped and removed. The volumes stay.", n)
			return nil
		},
	}
}

func (c *commands) dockerStatus() *cobra.Command {
	return &cobra.Command{
		Use:     "status",
		Short:   "Show how the validators are",
		Example: "  chancery testnet docker status --dir T",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			d, err := c.inDocker()
			if err != nil {
				return err
			}
			views, err := d.Status(cmd.Context())
			if err != nil {
				return err
			}
			return show(cmd, views)
		},
	}
}

func (c *commands) dockerLogs() *cobra.Command {
	var (
		follow bool
		lines  int
	)
	cmd := &cobra.Command{
		Use:   "logs [VALIDATOR]",
		Short: "Show the end of the validators' logs",
		Example: `  chancery testnet docker logs --dir T
  chancery testnet docker logs 2 --dir T --follow`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			d, err := c.inDocker()
			if err != nil {
				return err
			}
			r, err := d.record()
			if err != nil {
				return err
			}
			chosen, err := r.logged(args, follow)
			if err != nil {
				return err
			}
			for _, v := range chosen {
				call := []string{"logs", "--tail", strconv.Itoa(max(lines, 0))}
				if follow {
					call = append(call, "--follow")
				}
				out := cmd.OutOrStdout()
				switch {
				case jsonWanted(cmd):
					out = &logLines{out: out, validator: v.Index}
				case len(chosen) > 1:
					fmt.Fprintf(out, "==> %s <==\n", r.container(v))
				}
				docker := exec.CommandContext(cmd.Context(), "docker", append(call, r.container(v))...)
				// A node writes to standard error, which docker tells apart.
				docker.Stdout, docker.Stderr = out, out
				if err := docker.Run(); err != nil && cmd.Context().Err() == nil {
					return fmt.Errorf("read the log of container %s: %w", r.container(v), err)
				}
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&follow, "follow", false, "go on as the log grows, until interrupted")
	cmd.Flags().IntVar(&lines, "lines", 20, "how many of the last lines")
	return cmd
}

func (c *commands) dockerClean() *cobra.Command {
	return &cobra.Command{
		Use:   "clean",
		Short: "Remove the network: containers, networks, volumes and files",
		Long: `Remove the network of --dir from the engine, the chain in its volumes too, and what was
made in the folder. It touches only what has the network's label.`,
		Example: "  chancery testnet docker clean --dir T",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			d, err := c.inDocker()
			if err != nil {
				return err
			}
			if err := d.Clean(cmd.Context()); err != nil {
				return err
			}
			if jsonWanted(cmd) {
				return writeJSON(cmd.OutOrStdout(), map[string]any{"removed": string(d.Dir)})
			}
			talker(cmd, false)("The network of %s is removed.", d.Dir)
			return nil
		},
	}
}

func (c *commands) dockerSeed() *cobra.Command {
	var from, to, who string
	cmd := &cobra.Command{
		Use:    "seed",
		Hidden: true,
		Short:  "Fill a volume with a node's home, unless it has one",
		Long: `Fill the home --to with what a node needs of the home --from, for the user --owner. A
home that is there is left as it is. The containers that fill volumes run this.`,
		Example: "  chancery testnet docker seed --from /seed --to /home/chancery/node --owner 65532:65532",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if from == "" || to == "" {
				return usagef("name both folders with --from and --to")
			}
			uid, gid, err := owner(who)
			if err != nil {
				return err
			}
			filled, err := seed(config.Home(from), config.Home(to), uid, gid)
			if err != nil {
				return err
			}
			if jsonWanted(cmd) {
				return writeJSON(cmd.OutOrStdout(), map[string]any{"filled": filled})
			}
			say := talker(cmd, false)
			if filled {
				say("%s is filled.", to)
			} else {
				say("%s is a node's home already and stays as it is.", to)
			}
			return nil
		},
	}
	f := cmd.Flags()
	f.StringVar(&from, "from", "", "home to copy from")
	f.StringVar(&to, "to", "", "home to fill")
	f.StringVar(&who, "owner", nodeUser, "UID:GID of the files")
	return cmd
}
