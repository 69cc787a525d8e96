package cli

import (
	"encoding/hex"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/mod/sumdb/note"

	"github.com/chancery/chancery/node/checkpoint"
	"github.com/chancery/chancery/node/config"
	"github.com/chancery/chancery/node/receipt"
	nodev1 "github.com/chancery/chancery/proto/chancery/node/v1"
)

func (a *app) checkpointCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "checkpoint",
		Short: "Show, prove and verify heads of the log of blocks that witnesses co-sign",
		Long: lines(
			"A node with checkpoint.interval keeps a transparency log of the chain's blocks. Its head is",
			"a checkpoint, which the node signs and witnesses outside of the consortium co-sign. Whoever",
			"trusts witnesses can tell, without a node, that a block, and so a receipt, is in the one",
			"chain that all were shown. See docs/checkpoints.md.",
		),
	}
	c.AddCommand(a.checkpointShow(), a.checkpointKey(), a.checkpointProve(), a.checkpointVerify())
	return c
}

func (a *app) checkpointShow() *cobra.Command {
	out := ""
	c := &cobra.Command{
		Use:   "show",
		Short: "Show a node's latest checkpoint, and how its witnesses are",
		Long: lines(
			"Shows the latest checkpoint that the quorum of witnesses co-signed, or that the node signed",
			"where none must, and what each witness signed last. --out writes the checkpoint alone.",
		),
		Example: examples("chancery checkpoint show", "chancery checkpoint show --out harbour-1.checkpoint"),
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := a.within(cmd)
			defer cancel()
			c, err := a.dial(ctx)
			if err != nil {
				return err
			}
			defer c.Close()
			r, err := nodev1.NewCheckpointsClient(c.Conn()).Checkpoint(ctx, &nodev1.CheckpointRequest{})
			if err != nil {
				return err
			}
			if out != "" {
				if r.Size == 0 {
					return checkpoint.ErrNotYet.With("one is made every %d blocks", r.Interval)
				}
				if err := create(out, []byte(r.Checkpoint), 0o644); err != nil {
					return err
				}
			}
			if a.output == outputJSON {
				return a.print(r)
			}
			return a.write(checkpointText(r))
		},
	}
	c.Flags().StringVar(&out, "out", "", "file for the checkpoint, which must not exist yet")
	return c
}

func checkpointText(r *nodev1.CheckpointResponse) string {
	f := facts{{"blocks", r.Size}, {"root", digits(r.Root)}, {"signed", fmt.Sprintf("%d blocks, every %d", r.Signed, r.Interval)}, {"key", r.VerifierKey}}
	if len(r.Witnesses) > 0 {
		f = append(f, fact{"quorum", fmt.Sprintf("%d of %d witnesses", r.Quorum, len(r.Witnesses))})
	}
	for _, w := range r.Witnesses {
		text := fmt.Sprintf("%s co-signed %d blocks", w.Name, w.Size)
		if w.Time > 0 {
			text += " at " + stamp(w.Time)
		}
		if w.Failure != "" {
			text += "; now: " + w.Failure
		}
		f = append(f, fact{"witness", text})
	}
	if r.Failure != "" {
		f = append(f, fact{"ALARM", r.Failure})
	}
	text := f.text()
	if r.Checkpoint != "" {
		text += "\n" + clean(r.Checkpoint)
	}
	return text
}

func (a *app) checkpointKey() *cobra.Command {
	return &cobra.Command{
		Use:   "key",
		Short: "Show the key that a home's node signs checkpoints with",
		Long: lines(
			"Shows the public half of the key that the home's node signs checkpoints with, and makes the",
			"key where there is none. Give it to witnesses, and to whoever verifies.",
		),
		Example: examples("chancery checkpoint key --home /var/lib/chancery"),
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			home := a.homeDir()
			genesis, _, err := config.ReadGenesis(home.GenesisFile())
			if err != nil {
				return errHome.Wrap(err)
			}
			key, made, err := checkpoint.TakeKey(home.CheckpointKeyFile(), checkpoint.Origin(genesis.ChainID), checkpoint.LogRole)
			if err != nil {
				return errKey.Wrap(err)
			}
			return a.print(facts{{"key", key.Public().String()}, {"policy line", "log " + key.Public().String()}, {"made", made}})
		},
	}
}

func (a *app) checkpointProve() *cobra.Command {
	var height, size int64
	var from, out string
	c := &cobra.Command{
		Use:   "prove",
		Short: "Prove that a block, or an older checkpoint, is in a node's latest checkpoint",
		Long: lines(
			"With --height or --receipt it writes a proof that a block is in the node's latest",
			"checkpoint: the block of that height, or the one in which the receipt's state was signed.",
			"With --size it writes a proof that the latest checkpoint goes on from an older one of so",
			"many blocks. The checkpoint is in the file; 'chancery checkpoint verify' needs no node.",
		),
		Example: examples(
			"chancery checkpoint prove --height 1200 --out block.tlog-proof",
			"chancery checkpoint prove --receipt decision.receipt --out decision.tlog-proof",
			"chancery checkpoint prove --size 1100 --out longer.consistency",
		),
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			n := 0
			for _, given := range []bool{height != 0, from != "", size != 0} {
				if given {
					n++
				}
			}
			if n != 1 || out == "" {
				return usagef("give one of --height, --receipt and --size, and --out")
			}
			if from != "" {
				raw, err := readSome(from, receipt.MaxBytes)
				if err != nil {
					return err
				}
				r, err := receipt.Parse(raw)
				if err != nil {
					return err
				}
				height = r.Height + 1
			}
			ctx, cancel := a.within(cmd)
			defer cancel()
			c, err := a.dial(ctx)
			if err != nil {
				return err
			}
			defer c.Close()
			logs := nodev1.NewCheckpointsClient(c.Conn())
			var proof string
			var what facts
			if size != 0 {
				r, err := logs.Consistency(ctx, &nodev1.ConsistencyRequest{Size: size})
				if err != nil {
					return err
				}
				proof, what = r.Proof, facts{{"from", size}}
			} else {
				r, err := logs.Inclusion(ctx, &nodev1.InclusionRequest{Height: height})
				if err != nil {
					return err
				}
				proof, what = r.Proof, facts{{"height", height}}
			}
			if err := create(out, []byte(proof), 0o644); err != nil {
				return err
			}
			return a.print(append(what, fact{"proof", out}))
		},
	}
	f := c.Flags()
	f.Int64Var(&height, "height", 0, "height of a block")
	f.StringVar(&from, "receipt", "", "file of a receipt")
	f.Int64Var(&size, "size", 0, "how many blocks an older checkpoint covers")
	f.StringVar(&out, "out", "", "file for the proof, which must not exist yet")
	return c
}

func (a *app) checkpointVerify() *cobra.Command {
	var policy, old string
	c := &cobra.Command{
		Use:   "verify FILE",
		Short: "Verify a checkpoint or a proof offline",
		Long: lines(
			"Verifies a checkpoint, a proof of inclusion or a proof of consistency against a policy: a",
			"file that names the logs and the witnesses that you trust, and the quorum of these, in the",
			"form of https://c2sp.org/tlog-policy. A proof of consistency is from the checkpoint that",
			"--old names. No node is asked.",
			"",
			"Exit codes: 0 all of it holds, 1 it does not, and the reason is named.",
		),
		Example: examples(
			"chancery checkpoint verify harbour-1.checkpoint --policy policy",
			"chancery checkpoint verify block.tlog-proof --policy policy",
			"chancery checkpoint verify longer.consistency --old harbour-1.checkpoint --policy policy",
		),
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			if policy == "" {
				return usagef("name the policy with --policy")
			}
			trusted, err := readPolicy(policy)
			if err != nil {
				return err
			}
			raw, err := readSome(args[0], checkpoint.MaxProof)
			if err != nil {
				return err
			}
			if old != "" && !strings.HasPrefix(string(raw), checkpoint.ConsistencyMagic) {
				return usagef("%s is no proof of consistency, which --old is for", args[0])
			}
			f, err := verifyText(raw, old, trusted)
			if err != nil {
				return err
			}
			return a.print(append(facts{{"verified", args[0]}}, f...))
		},
	}
	c.Flags().StringVar(&policy, "policy", "", "file that says whose checkpoints are believed")
	c.Flags().StringVar(&old, "old", "", "file of the older checkpoint, for a proof of consistency")
	return c
}

// verifyText verifies whichever of the three files it is.
func verifyText(raw []byte, old string, policy *checkpoint.Policy) (facts, error) {
	switch {
	case strings.HasPrefix(string(raw), checkpoint.ProofMagic):
		p, err := checkpoint.ParseInclusion(raw)
		if err != nil {
			return nil, err
		}
		v, err := p.Verify(policy)
		if err != nil {
			return nil, err
		}
		return append(facts{{"block", p.Block.Height}, {"header hash", digits(p.Block.Hash)}}, verifiedFacts(v)...), nil
	case strings.HasPrefix(string(raw), checkpoint.ConsistencyMagic):
		if old == "" {
			return nil, usagef("name the older checkpoint with --old")
		}
		first, err := readSome(old, checkpoint.MaxNote)
		if err != nil {
			return nil, err
		}
		c, err := checkpoint.ParseConsistency(raw)
		if err != nil {
			return nil, err
		}
		older, err := policy.Verify(first)
		if err != nil {
			return nil, err
		}
		newer, err := policy.Verify(c.Checkpoint)
		if err != nil {
			return nil, err
		}
		if err := c.Check(older.Checkpoint, newer.Checkpoint); err != nil {
			return nil, err
		}
		return append(facts{{"goes on from", older.Size}}, verifiedFacts(newer)...), nil
	}
	v, err := policy.Verify(raw)
	if err != nil {
		return nil, err
	}
	return verifiedFacts(v), nil
}

func verifiedFacts(v *checkpoint.Verified) facts {
	by := make([]string, len(v.Witnesses))
	for i, s := range v.Witnesses {
		by[i] = witnessedBy(s)
	}
	return facts{{"log", v.Origin}, {"blocks", v.Size}, {"root", digits(v.Root[:])}, {"signed by", v.Log.String()}, {"witnesses", by}}
}

func witnessedBy(s note.Signature) string {
	at, ok := checkpoint.CosignedAt(s)
	if !ok {
		return s.Name
	}
	return s.Name + " at " + at.Format(time.RFC3339)
}

// inclusionFacts verifies that a receipt's block is in a checkpoint.
func inclusionFacts(proof, policy string, r *receipt.Report) (facts, error) {
	trusted, err := readPolicy(policy)
	if err != nil {
		return nil, err
	}
	raw, err := readSome(proof, checkpoint.MaxProof)
	if err != nil {
		return nil, err
	}
	p, err := checkpoint.ParseInclusion(raw)
	if err != nil {
		return nil, err
	}
	v, err := p.Verify(trusted)
	if err != nil {
		return nil, err
	}
	if v.Origin != checkpoint.Origin(r.ChainID) {
		return nil, checkpoint.ErrOtherLog.With("it is of %.64q, the receipt of %s", v.Origin, r.ChainID)
	}
	if p.Block.Height != r.SignedHeight {
		return nil, checkpoint.ErrOtherBlock.With("it is of block %d, the receipt was signed in block %d", p.Block.Height, r.SignedHeight)
	}
	if hex.EncodeToString(p.Block.Hash) != r.BlockHash {
		return nil, checkpoint.ErrFork.With("block %d is %x for the witnesses, and %s in the receipt", p.Block.Height, p.Block.Hash, r.BlockHash)
	}
	return verifiedFacts(v), nil
}

func readPolicy(path string) (*checkpoint.Policy, error) {
	raw, err := readSome(path, checkpoint.MaxNote)
	if err != nil {
		return nil, err
	}
	return checkpoint.ParsePolicy(raw)
}

// readSome is the bytes of a file of at most so many.
func readSome(path string, most int64) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, sentence(errFile, "%v", err)
	}
	if !info.Mode().IsRegular() || info.Size() > most {
		return nil, sentence(errFile, "%s is no file of at most %d bytes", path, most)
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, errFile.Wrap(err)
	}
	return raw, nil
}
