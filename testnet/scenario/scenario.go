package scenario

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/chancery/chancery/node/client"
	"github.com/chancery/chancery/node/keyring"
)

// stepPatience bounds one step.
const stepPatience = 60 * time.Second

// Options is what the demonstration runs on.
type Options struct {
	// Addresses of all nodes, with commas between them.
	Addresses string
	ChainID   string
	// Members in the order of their validators, at least one. A network of fewer
	// than four lets one member play several parts.
	Members []Member
	// Needed is how many members act for the consortium.
	Needed int
	// CA, Cert and Key are PEM files by which a client reaches the nodes. Empty: they are
	// reached in the clear.
	CA, Cert, Key string
	// Binary is the program chancery.
	Binary string
	// Genesis is the genesis file.
	Genesis string
	// Receipts and Folder are where receipts, and files that the demonstration
	// makes, are written.
	Receipts string
	Folder   string
	// Passphrase is the file with the passphrase of every keyring.
	Passphrase string
	// Documents is a folder with fhir/, openlineage/ and cedar/ below it. Empty: the
	// program's own examples.
	Documents string
	// Begin and Done are called before and after each step. Either may be nil.
	Begin func(number int, name string)
	Done  func(Step)
}

// Member is a member organisation.
type Member struct {
	Organisation string // DID
	Home         string // of its node
	RPC          string // its node's address for clients
	// Keyring holds admin-1, admin-2 and registrar, each bound to its DID.
	Keyring *keyring.Keyring
	// Needed is how many administrators act for it.
	Needed int
}

// Step is a step that was taken.
type Step struct {
	Number int           `json:"step"`
	Name   string        `json:"name"`
	Took   time.Duration `json:"took_ns"`
	// Notes say what was seen, a line each.
	Notes []string `json:"notes,omitempty"`
	// Error says why the step failed; empty when it did not.
	Error string `json:"error,omitempty"`
}

// Result is what came of the demonstration.
type Result struct {
	Steps []Step        `json:"steps"`
	Took  time.Duration `json:"took_ns"`
	// Receipts are the paths of the receipts that were written and verified.
	Receipts []string `json:"receipts"`
	// Height is one at which all nodes that run have one app hash.
	Height  int64  `json:"height"`
	AppHash string `json:"app_hash"`
}

// ErrStep says that a step failed; the error names it.
var ErrStep = errors.New("the demonstration failed")

// Run takes all steps in order and stops at the first that fails. The result holds
// the steps that were taken, also when there is an error.
func Run(ctx context.Context, o Options) (*Result, error) {
	if o.Begin == nil {
		o.Begin = func(int, string) {}
	}
	if o.Done == nil {
		o.Done = func(Step) {}
	}
	if len(o.Members) == 0 {
		return &Result{}, errors.New("scenario: no member")
	}
	c, err := o.dial(ctx, o.Addresses)
	if err != nil {
		return &Result{}, err
	}
	defer c.Close()
	began := time.Now()
	r := &run{o: o, c: c, result: new(Result)}
	for i, s := range steps {
		if err := r.take(ctx, i+1, s); err != nil {
			r.result.Took = time.Since(began)
			return r.result, err
		}
	}
	r.result.Took = time.Since(began)
	return r.result, nil
}

// dial connects to nodes of the network.
func (o *Options) dial(ctx context.Context, addresses string) (*client.Client, error) {
	options := []client.Option{client.ChainID(o.ChainID), client.UserAgent("chancery-testnet")}
	if o.CA != "" {
		t, err := client.TLSFiles(o.CA, o.Cert, o.Key)
		if err != nil {
			return nil, err
		}
		options = append(options, client.TLS(t))
	}
	return client.Dial(ctx, addresses, options...)
}

type step struct {
	name string
	do   func(*run, context.Context) error
}

// steps is the demonstration.
var steps = []step{
	{"people, services and their keys", (*run).identities},
	{"guard rails and policies", (*run).policies},
	{"documents of other systems", (*run).documents},
	{"a decision that allows", (*run).allowed},
	{"decisions that deny", (*run).denied},
	{"consent withdrawn: the decision flips", (*run).withdrawn},
	{"break-glass and its review", (*run).glass},
	{"where a file comes from", (*run).provenance},
	{"what a change of policy would flip", (*run).whatIf},
	{"stolen keys: held, explained, rejected", (*run).stolen},
	{"receipts, verified offline", (*run).receipts},
	{"what the chain refuses", (*run).refusals},
	{"one state on all validators", (*run).equal},
}

// Names are the names of the steps, in order.
func Names() []string {
	out := make([]string, len(steps))
	for i, s := range steps {
		out[i] = s.name
	}
	return out
}

// run is a demonstration under way.
type run struct {
	o      Options
	c      *client.Client
	result *Result
	notes  []string // of the current step

	cast  cast
	facts facts
}

func (r *run) take(ctx context.Context, number int, s step) error {
	r.o.Begin(number, s.name)
	began := time.Now()
	r.notes = nil
	ctx, cancel := context.WithTimeout(ctx, stepPatience)
	defer cancel()
	err := s.do(r, ctx)
	done := Step{Number: number, Name: s.name, Took: time.Since(began), Notes: r.notes}
	if err != nil {
		done.Error = err.Error()
		err = fmt.Errorf("%w at step %d, %s: %w", ErrStep, number, s.name, err)
	}
	r.result.Steps = append(r.result.Steps, done)
	r.o.Done(done)
	return err
}

// note writes down what a step saw.
func (r *run) note(format string, args ...any) {
	r.notes = append(r.notes, fmt.Sprintf(format, args...))
}

// facts are what steps leave for those after them.
type facts struct {
	latest    int64  // height of the latest transaction
	start     int64  // height before the first decision
	subject   []byte // the patient's commitment
	record    string // id of the patient's record
	dataset   string // id of a data set without a subject
	consent   []byte
	allowed   []byte   // decision on the record, while consent was given
	denied    []byte   // decision that a guard rail denied
	flipped   []byte   // decision on the record, after the withdrawal
	research  [][]byte // decisions that rest on the policy that what-if takes away
	entity    string   // id of the file that step 8 registered
	held      []byte   // the transaction that the sentinel held; empty where it is off
	unchanged int      // decisions that what-if must not flip
}
