package cli

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain/tx"
	"github.com/chancery/chancery/modules/identity/did"
	"github.com/chancery/chancery/modules/threat"
	"github.com/chancery/chancery/modules/threat/detector"
	"github.com/chancery/chancery/node/client"
	"github.com/chancery/chancery/node/internal/clock"
	chainv1 "github.com/chancery/chancery/proto/chancery/chain/v1"
	threatv1 "github.com/chancery/chancery/proto/chancery/threat/v1"
)

const (
	// modelChunk is how many bytes of a model a transaction carries, as the chain asks.
	modelChunk = 64 << 10
	// chunkTries is how often the chain is asked anew where a chunk was not the next one.
	chunkTries = 3
)

func (a *app) modelRegister() *cobra.Command {
	s := &sending{app: a}
	c := &cobra.Command{
		Use:   "register FILE",
		Short: "Put a detector on the chain",
		Long: lines(
			"Announces a detector with the hashes of its parts, which the consortium must do, and sends",
			"the parts, which anybody may: the first key signs them by itself. It can be run again at",
			"any time: what the chain has already is not sent again. The model then waits for its stage,",
			"chancery tx threat set-model-stage.",
			"",
			"Where the consortium's signers are not in one place, write the announcement with",
			"--generate-only, have it signed and submitted as any transaction, and run the command again",
			"with a key of your own.",
		),
		Example: examples(
			"chancery model register own.detector --from admin-1 --from admin-2 --from admin-3",
			"chancery model register own.detector --generate-only --out announce.tx",
			"chancery tx threat set-model-stage --from admin-1 --author did:chancery:consortium --hash 3f0c… --stage shadow",
		),
		Args: cobra.ExactArgs(1),
	}
	f := c.Flags()
	f.StringSliceVar(&s.from, "from", nil, "key that signs; repeat for the consortium's signatures")
	f.StringVar(&s.author, "author", did.Consortium, "DID on whose behalf the model is announced")
	f.BoolVar(&s.generate, "generate-only", false, "write the unsigned announcement and submit nothing")
	f.StringVar(&s.out, "out", "", "file for --generate-only, which must not exist; by default standard output")
	f.StringVar(&s.validUntil, "tx-valid-until", "", "time after which an announcement of --generate-only is void; by default +9m")
	f.StringVar(&s.chainID, "chain-id", "", "the chain: nodes of any other are refused; with --generate-only no node is asked")
	s.completeKeys(c)
	c.RunE = func(cmd *cobra.Command, args []string) error {
		raw, err := a.read(args[0])
		if err != nil {
			return err
		}
		d, err := detector.Decode(raw)
		if err != nil {
			return sentence(errFile, "%s is no detector: %v", args[0], err)
		}
		announce := announcement(raw)
		s.wait = waitCommit
		if s.generate {
			return s.send(cmd, announce)
		}
		if s.out != "" || s.validUntil != "" {
			return usagef("--out and --tx-valid-until are for the announcement that --generate-only writes")
		}
		if len(s.from) == 0 {
			return usagef("name the keys that sign with --from, or write the unsigned announcement with --generate-only")
		}
		signers, author, err := a.signers(s.from)
		if err != nil {
			return err
		}
		ctx, cancel := a.within(cmd)
		defer cancel()
		c, err := s.dial(ctx)
		if err != nil {
			return err
		}
		defer c.Close()
		r := &enrolment{app: a, client: c, raw: raw, announce: announce, consortium: s.author, author: author, signers: signers}
		// Each transaction has --timeout for itself.
		if err := r.run(cmd.Context()); err != nil {
			return err
		}
		return a.print(facts{
			{"model", d.Name()}, {"hash", hex.EncodeToString(announce.Hash)}, {"bytes", len(raw)}, {"announced", r.announced},
			{"chunks", len(announce.ChunkHashes)}, {"sent", r.sent}, {"stage", choiceOf(r.stage.Descriptor(), int32(r.stage))},
			{"next", fmt.Sprintf("chancery tx threat set-model-stage --hash %x --stage shadow --author %s --from NAME", announce.Hash, s.author)},
		})
	}
	return c
}

// announcement is what tells the chain of a model.
func announcement(raw []byte) *threatv1.RegisterModel {
	hash := sha256.Sum256(raw)
	m := &threatv1.RegisterModel{Hash: hash[:], Size: uint32(len(raw))}
	for i := 0; i < len(raw); i += modelChunk {
		h := sha256.Sum256(raw[i:min(len(raw), i+modelChunk)])
		m.ChunkHashes = append(m.ChunkHashes, h[:])
	}
	return m
}

// enrolment puts a model on the chain.
type enrolment struct {
	app        *app
	client     *client.Client
	raw        []byte
	announce   *threatv1.RegisterModel
	consortium string
	author     string // of the chunks
	signers    []tx.Signer

	announced bool
	sent      int
	stage     threatv1.Stage
}

// run does what is missing.
func (r *enrolment) run(ctx context.Context) error {
	record, err := r.record(ctx)
	if err != nil {
		return err
	}
	// One that was announced with other hashes of chunks, or is of another size, could
	// not be loaded.
	if record == nil || record.Stage == threatv1.Stage_STAGE_LOADING && !r.fits(record) {
		if _, err := r.do(ctx, r.consortium, r.signers, r.announce); err != nil {
			return err
		}
		r.announced = true
		if record, err = r.record(ctx); err != nil {
			return err
		}
	}
	if record == nil {
		return sentence(errNothing, "the node does not have the model that was announced; run the command again")
	}
	m := &meter{app: r.app, what: "sending the model", total: int64(len(r.raw)), unit: size}
	defer m.end()
	m.add(int64(record.Loaded) * modelChunk)
	next, tries := record.Loaded, 0
	for r.stage = record.Stage; r.stage == threatv1.Stage_STAGE_LOADING; {
		low := int(next) * modelChunk
		if low >= len(r.raw) {
			return sentence(errNothing, "the chain has every chunk and does not take the model; run: chancery query threat model --hash %x", r.announce.Hash)
		}
		part := r.raw[low:min(len(r.raw), low+modelChunk)]
		result, err := r.do(ctx, r.author, r.signers[:1], &threatv1.AddModelChunk{Hash: r.announce.Hash, Index: next, Bytes: part})
		if (errors.Is(err, threat.ErrBadChunk) || errors.Is(err, threat.ErrModelStage)) && tries < chunkTries {
			// Somebody else sends it too.
			tries++
			if record, err = r.record(ctx); err != nil {
				return err
			}
			if record != nil {
				next, r.stage = record.Loaded, record.Stage
			}
			continue
		}
		if err != nil {
			return err
		}
		answer := new(threatv1.AddModelChunkResponse)
		if len(result.Responses) != 1 || answer.UnmarshalVT(result.Responses[0]) != nil {
			return client.ErrNoAnswer.With("the chain's answer to a chunk")
		}
		r.sent++
		m.add(int64(len(part)))
		if answer.Stage == threatv1.Stage_STAGE_LOADING && answer.Loaded <= next {
			return sentence(errNothing, "the chain dropped the chunks that it had, for together they were not the model; run the command again")
		}
		next, r.stage = answer.Loaded, answer.Stage
	}
	return nil
}

// record is what the chain has of the model, nil for nothing.
func (r *enrolment) record(ctx context.Context) (*threatv1.ModelRecord, error) {
	ctx, cancel := clock.Within(ctx, r.app.timeout) // each step for itself
	defer cancel()
	answer, err := threatv1.NewQueryClient(r.client.Conn()).Model(ctx, &threatv1.ModelRequest{Hash: r.announce.Hash})
	if errors.Is(err, threat.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return answer.Model, nil
}

func (r *enrolment) fits(record *threatv1.ModelRecord) bool {
	if record.Size != r.announce.Size || len(record.ChunkHashes) > 0 && len(record.ChunkHashes) != len(r.announce.ChunkHashes) {
		return false
	}
	for i, h := range record.ChunkHashes {
		if !bytes.Equal(h, r.announce.ChunkHashes[i]) {
			return false
		}
	}
	return true
}

// do has a message executed. A refusal names what was refused.
func (r *enrolment) do(ctx context.Context, author string, signers []tx.Signer, m proto.Message) (*chainv1.TxResult, error) {
	ctx, cancel := clock.Within(ctx, r.app.timeout) // each step for itself
	defer cancel()
	result, err := r.client.Do(ctx, author, signers, m)
	return result, refused(err)
}
