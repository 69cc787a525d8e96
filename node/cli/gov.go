package cli

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"strconv"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain/tx"
	"github.com/chancery/chancery/modules/identity/did"
	governancev1 "github.com/chancery/chancery/proto/chancery/governance/v1"
)

func (a *app) govCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "gov",
		Short: "Decide together: propose, vote, see what would change",
		Long: lines(
			"Member organisations propose messages of any module, vote on them, and what passes is",
			"executed with the consortium's authority once its time-lock is over.",
			"",
			"The author of a proposal or a vote is the organisation. By default it is the one that the",
			"first key of --from belongs to, and as many of its administrators sign as it asks for: name",
			"their keys with --from, or write the transaction with --generate-only for them to sign.",
		),
		Example: examples("chancery gov list --status voting", "chancery gov show 7", "chancery gov vote 7 yes --from admin-1 --from admin-2"),
	}
	c.AddCommand(a.govPropose(), a.govVote(), a.govCancel(), a.govList(), a.govShow(), a.govPreview(), a.govParams())
	return c
}

// sendAs is send with the organisation of the first key as the default author.
func (s *sending) sendAs(cmd *cobra.Command, m proto.Message) error {
	if s.author == "" && len(s.from) > 0 {
		k, err := s.app.openKeyring()
		if err != nil {
			return keyFault(err)
		}
		e, err := k.Lookup(s.from[0])
		if err != nil {
			return keyFault(err)
		}
		if d, err := did.Parse(e.DID); err == nil {
			s.author = d.Organisation()
		}
	}
	return s.send(cmd, m)
}

func (a *app) govPropose() *cobra.Command {
	s := &sending{app: a}
	var file, title, link, rationale, hash, span string
	emergency := false
	c := &cobra.Command{
		Use:   "propose",
		Short: "Propose messages to the member organisations",
		Long: lines(
			"Reads a JSON array of messages, each an object with one field that names its kind, as for",
			"chancery tx bundle, and proposes to execute them as the consortium, all or none. Messages",
			"that could not be executed now are refused with the reason; chancery gov preview tells it",
			"before. The rationale stays off the chain: its hash and a link are on it.",
		),
		Example: examples(
			"chancery gov propose --file messages.json --title 'Raise the quota' --rationale why.pdf --from admin-1 --from admin-2",
			"chancery gov propose --file messages.json --title 'Retire a model' --rationale why.pdf --emergency --from admin-1",
		),
		Args: cobra.NoArgs,
	}
	f := c.Flags()
	f.StringVar(&file, "file", "", "file with the messages, - for standard input")
	f.StringVar(&title, "title", "", "what it is about, at most 120 bytes, and nothing about a person")
	f.StringVar(&rationale, "rationale", "", "file of the rationale, of which the hash is taken")
	f.StringVar(&hash, "rationale-hash", "", "SHA-256 of the rationale in hexadecimal, instead of the file")
	f.StringVar(&link, "link", "", "where the rationale can be read, an https link")
	f.StringVar(&span, "voting", "", "how long votes are taken, such as 3d; by default as the rule of its kind says")
	f.BoolVar(&emergency, "emergency", false, "ask for more votes within a short time, and wait for less")
	s.flags(c)
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		if file == "" || title == "" {
			return usagef("name the messages with --file and say what they are about with --title")
		}
		if (rationale == "") == (hash == "") {
			return usagef("name the rationale with --rationale, or its hash with --rationale-hash")
		}
		m := &governancev1.Propose{Title: title, RationaleLink: link, Emergency: emergency}
		if rationale != "" {
			raw, err := a.read(rationale)
			if err != nil {
				return err
			}
			sum := sha256.Sum256(raw)
			m.RationaleHash = sum[:]
		} else {
			raw, err := hex.DecodeString(hash)
			if err != nil || len(raw) != sha256.Size {
				return usagef("--rationale-hash is %q, want 64 hexadecimal digits", hash)
			}
			m.RationaleHash = raw
		}
		if span != "" {
			d, err := duration(span)
			if err != nil {
				return usagef("--voting: %v", err)
			}
			m.VotingMs = d.Milliseconds()
		}
		var err error
		if m.Messages, err = a.proposed(file); err != nil {
			return err
		}
		return s.sendAs(cmd, m)
	}
	return c
}

// proposed reads the messages of a proposal from a file.
func (a *app) proposed(path string) ([][]byte, error) {
	messages, err := a.bundled(path)
	if err != nil {
		return nil, err
	}
	var out [][]byte
	for _, m := range messages {
		raw, err := tx.EncodeMessage(m)
		if err != nil {
			return nil, err
		}
		out = append(out, raw)
	}
	return out, nil
}

// proposalID reads the number of a proposal.
func proposalID(s string) (uint64, error) {
	id, err := strconv.ParseUint(s, 10, 64)
	if err != nil || id == 0 {
		return 0, usagef("%q is no number of a proposal, which begin at 1", s)
	}
	return id, nil
}

func (a *app) govVote() *cobra.Command {
	s := &sending{app: a}
	note := ""
	choices := choices(governancev1.Choice(0).Descriptor())
	c := &cobra.Command{
		Use:   "vote ID CHOICE",
		Short: "Say an organisation's word on a proposal",
		Long: lines(
			"CHOICE is yes, no, abstain or veto. An organisation may change its vote until the voting",
			"ends, at its time or as soon as those who have not voted cannot change the outcome.",
		),
		Example: examples(
			"chancery gov vote 7 yes --from admin-1 --from admin-2",
			"chancery gov vote 7 no --note reasons.pdf --from admin-1",
		),
		Args: cobra.ExactArgs(2),
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			if len(args) == 1 {
				return choices, cobra.ShellCompDirectiveNoFileComp
			}
			return nil, cobra.ShellCompDirectiveNoFileComp
		},
	}
	c.Flags().StringVar(&note, "note", "", "file of what the organisation has to say, of which the hash is taken")
	s.flags(c)
	c.RunE = func(cmd *cobra.Command, args []string) error {
		id, err := proposalID(args[0])
		if err != nil {
			return err
		}
		n, err := enumOf(governancev1.Choice(0).Descriptor(), args[1])
		if err != nil || n == 0 {
			return usagef("%q is no vote; choose yes, no, abstain or veto", args[1])
		}
		m := &governancev1.Vote{ProposalId: id, Choice: governancev1.Choice(n)}
		if note != "" {
			raw, err := a.read(note)
			if err != nil {
				return err
			}
			sum := sha256.Sum256(raw)
			m.NoteHash = sum[:]
		}
		return s.sendAs(cmd, m)
	}
	return c
}

func (a *app) govCancel() *cobra.Command {
	s := &sending{app: a}
	c := &cobra.Command{
		Use:   "cancel ID",
		Short: "End a proposal",
		Long: lines(
			"The organisation that made a proposal may end it while votes are taken; the consortium,",
			"with --author did:chancery:consortium, until it is executed.",
		),
		Example: examples("chancery gov cancel 7 --from admin-1 --from admin-2"),
		Args:    cobra.ExactArgs(1),
	}
	s.flags(c)
	c.RunE = func(cmd *cobra.Command, args []string) error {
		id, err := proposalID(args[0])
		if err != nil {
			return err
		}
		return s.sendAs(cmd, &governancev1.Cancel{ProposalId: id})
	}
	return c
}

// asked runs a question about governance against a node.
func (a *app) asked(cmd *cobra.Command, ask func(ctx context.Context, q governancev1.QueryClient) error) error {
	ctx, cancel := a.within(cmd)
	defer cancel()
	c, err := a.dial(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	return ask(ctx, governancev1.NewQueryClient(c.Conn()))
}

func (a *app) govParams() *cobra.Command {
	return &cobra.Command{
		Use:     "params",
		Short:   "Show how the consortium decides",
		Long:    lines("Shows quorums, thresholds, periods, time-locks, weights and bounds.", "Shares are in millionths."),
		Example: examples("chancery gov params --output json"),
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.asked(cmd, func(ctx context.Context, q governancev1.QueryClient) error {
				r, err := q.Params(ctx, &governancev1.ParamsRequest{})
				if err != nil {
					return err
				}
				return a.print(r.Params)
			})
		},
	}
}

func (a *app) govList() *cobra.Command {
	status := ""
	limit := uint32(50)
	names := choices(governancev1.Status(0).Descriptor())
	c := &cobra.Command{
		Use:     "list",
		Short:   "List proposals, the newest first",
		Example: examples("chancery gov list", "chancery gov list --status voting --output json"),
		Args:    cobra.NoArgs,
	}
	c.Flags().StringVar(&status, "status", "", "of this status alone: voting, passed, executed, failed, rejected, vetoed, cancelled or expired")
	c.Flags().Uint32Var(&limit, "limit", limit, "how many, at most 500; chancery query governance proposals has the next page")
	complete(c, "status", names...)
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		request := &governancev1.ProposalsRequest{Limit: limit}
		if status != "" {
			n, err := enumOf(governancev1.Status(0).Descriptor(), status)
			if err != nil || n == 0 {
				return usagef("--status is %q; choose one of %v", status, names)
			}
			request.Status = governancev1.Status(n)
		}
		return a.asked(cmd, func(ctx context.Context, q governancev1.QueryClient) error {
			r, err := q.Proposals(ctx, request)
			if err != nil {
				return err
			}
			if a.output == outputJSON {
				return a.print(r)
			}
			if err := a.write(proposalTable(r.Proposals)); err != nil {
				return err
			}
			return a.noteMore(r)
		})
	}
	return c
}

func (a *app) govShow() *cobra.Command {
	return &cobra.Command{
		Use:   "show ID",
		Short: "Show a proposal, its messages, its votes and what is missing",
		Long: lines(
			"Shows what a proposal would do or did, who voted how, what it still takes, and what came",
			"of executing it.",
		),
		Example: examples("chancery gov show 7", "chancery gov show 7 --output json"),
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := proposalID(args[0])
			if err != nil {
				return err
			}
			return a.asked(cmd, func(ctx context.Context, q governancev1.QueryClient) error {
				v := new(proposalView)
				p, err := q.Proposal(ctx, &governancev1.ProposalRequest{ProposalId: id})
				if err != nil {
					return err
				}
				tally, err := q.Tally(ctx, &governancev1.TallyRequest{ProposalId: id})
				if err != nil {
					return err
				}
				ballots, err := q.Ballots(ctx, &governancev1.BallotsRequest{ProposalId: id})
				if err != nil {
					return err
				}
				v.proposal, v.tally, v.ballots = p.Proposal, tally.Tally, ballots.Ballots
				if s := p.Proposal.Status; s == governancev1.Status_STATUS_EXECUTED || s == governancev1.Status_STATUS_FAILED {
					o, err := q.Outcome(ctx, &governancev1.OutcomeRequest{ProposalId: id})
					if err != nil {
						return err
					}
					v.outcome = o.Outcome
				}
				if a.output == outputJSON {
					return a.printFacts(v.json())
				}
				text, err := v.text()
				if err != nil {
					return err
				}
				return a.write(text)
			})
		},
	}
}

func (a *app) govPreview() *cobra.Command {
	file := ""
	c := &cobra.Command{
		Use:   "preview [ID]",
		Short: "Show what a proposal would change, without deciding anything",
		Long: lines(
			"Executes the messages of a proposal, or of a file, as the consortium on a copy of the",
			"latest state: whether they would be executed, what would happen, which records would",
			"change, and of each record which fields. It also says what such a proposal needs.",
		),
		Example: examples("chancery gov preview 7", "chancery gov preview --file messages.json --output json"),
		Args:    cobra.MaximumNArgs(1),
	}
	c.Flags().StringVar(&file, "file", "", "file with messages that are no proposal yet, - for standard input")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if (len(args) == 0) == (file == "") {
			return usagef("name a proposal, or a file with --file")
		}
		request := new(governancev1.PreviewRequest)
		var err error
		if file != "" {
			request.Messages, err = a.proposed(file)
		} else {
			request.ProposalId, err = proposalID(args[0])
		}
		if err != nil {
			return err
		}
		return a.asked(cmd, func(ctx context.Context, q governancev1.QueryClient) error {
			r, err := q.Preview(ctx, request)
			if err != nil {
				return err
			}
			if a.output == outputJSON {
				return a.printFacts(previewJSON(r))
			}
			return a.write(previewText(r))
		})
	}
	return c
}

// printFacts prints facts that were built, unless that failed.
func (a *app) printFacts(f facts, err error) error {
	if err != nil {
		return err
	}
	return a.print(f)
}
