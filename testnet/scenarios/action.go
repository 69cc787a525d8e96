package scenarios

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain/tx"
	accessv1 "github.com/chancery/chancery/proto/chancery/access/v1"
	consentv1 "github.com/chancery/chancery/proto/chancery/consent/v1"
	txv1 "github.com/chancery/chancery/proto/chancery/tx/v1"
)

// Action is one transaction of a plan.
type Action struct {
	At      int64    // virtual time, Unix milliseconds
	Author  string   // DID
	Signers []string // DID URLs of keys, see Plan.Signer
	// Messages in order. Where a message names what an earlier one made (a consent, a
	// break-glass, a decision), whose id nobody knows before it is executed, it holds the
	// stand-in that the earlier one has in Makes; see Names.
	Messages []proto.Message
	// Makes are stand-ins, 32 bytes each, for what the messages make; nil where nobody
	// refers to it, and shorter than Messages where the rest is so.
	Makes [][]byte
	// Campaign is the attack that the transaction belongs to, or answers; empty in
	// normal life.
	Campaign string
	// Attack is the attacker's; None also for what defenders do about a campaign.
	Attack Kind
	// Harmful tells what does the harm from what only prepares or covers it.
	Harmful bool
}

// line is an action in a file of JSON lines.
type line struct {
	At       int64    `json:"at"`
	Author   string   `json:"author"`
	Signers  []string `json:"signers"`
	Messages [][]byte `json:"messages"` // each a marshalled chancery.tx.v1.Message
	Makes    [][]byte `json:"makes,omitempty"`
	Campaign string   `json:"campaign,omitempty"`
	Attack   string   `json:"attack,omitempty"`
	Harmful  bool     `json:"harmful,omitempty"`
}

// Write appends the action to a file of JSON lines, in one way alone.
func (a *Action) Write(w io.Writer) error {
	l := line{At: a.At, Author: a.Author, Signers: a.Signers, Makes: a.Makes, Campaign: a.Campaign, Harmful: a.Harmful}
	if a.Attack != None {
		l.Attack = a.Attack.String()
	}
	for _, m := range a.Messages {
		e, err := tx.Envelope(m)
		if err != nil {
			return err
		}
		raw, err := e.MarshalVT()
		if err != nil {
			return err
		}
		l.Messages = append(l.Messages, raw)
	}
	raw, err := json.Marshal(l)
	if err != nil {
		return err
	}
	_, err = w.Write(append(raw, '\n'))
	return err
}

// ParseAction reads a line that Write wrote.
func ParseAction(raw []byte) (*Action, error) {
	var l line
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(&l); err != nil {
		return nil, fmt.Errorf("read an action: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("read an action: there is more than one on the line")
	}
	a := &Action{At: l.At, Author: l.Author, Signers: l.Signers, Makes: l.Makes, Campaign: l.Campaign, Harmful: l.Harmful}
	if l.Attack != "" {
		kinds, err := ParseKinds(l.Attack)
		if err != nil || len(kinds) != 1 {
			return nil, fmt.Errorf("read an action: %q is no attack", l.Attack)
		}
		a.Attack = kinds[0]
	}
	for _, raw := range l.Messages {
		e := new(txv1.Message)
		if err := e.UnmarshalVT(raw); err != nil {
			return nil, fmt.Errorf("read a message of an action: %w", err)
		}
		m, err := tx.Arm(e)
		if err != nil {
			return nil, fmt.Errorf("read a message of an action: %w", err)
		}
		a.Messages = append(a.Messages, m)
	}
	return a, nil
}

// Names puts ids in the place of stand-ins.
type Names map[[32]byte][]byte

// Resolve returns the messages with ids in the place of stand-ins that are known. Those
// of the action are not changed.
func (n Names) Resolve(messages []proto.Message) []proto.Message {
	out := messages
	for i, m := range messages {
		ref := reference(m)
		if ref == nil || len(*ref) != 32 {
			continue
		}
		id, ok := n[[32]byte(*ref)]
		if !ok {
			continue
		}
		if &out[0] == &messages[0] {
			out = append([]proto.Message(nil), messages...)
		}
		out[i] = proto.Clone(m)
		*reference(out[i]) = id
	}
	return out
}

// Learn remembers the ids that an executed action made, from its marshalled responses.
func (n Names) Learn(a *Action, responses [][]byte) error {
	for i, standIn := range a.Makes {
		if standIn == nil || i >= len(responses) {
			continue
		}
		id, err := made(a.Messages[i], responses[i])
		if err != nil {
			return err
		}
		n[[32]byte(standIn)] = id
	}
	return nil
}

// reference is the field of a message that names what an earlier one made; nil when
// it has none.
func reference(m proto.Message) *[]byte {
	switch m := m.(type) {
	case *consentv1.Give:
		return &m.RequestId
	case *consentv1.Refuse:
		return &m.RequestId
	case *consentv1.Narrow:
		return &m.Id
	case *consentv1.Withdraw:
		return &m.Id
	case *consentv1.Expire:
		return &m.Id
	case *consentv1.Supersede:
		return &m.Id
	case *consentv1.Rectify:
		return &m.Id
	case *consentv1.LiftRestriction:
		return &m.Id
	case *accessv1.EndBreakGlass:
		return &m.Id
	case *accessv1.Review:
		return &m.Id
	case *accessv1.Revoke:
		return &m.DecisionId
	}
	return nil
}

// made is the id of what a message made, by its response.
func made(m proto.Message, raw []byte) ([]byte, error) {
	type response interface {
		proto.Message
		GetId() []byte
	}
	var r response
	switch m.(type) {
	case *consentv1.Give:
		r = new(consentv1.GiveResponse)
	case *consentv1.Refuse:
		r = new(consentv1.RefuseResponse)
	case *consentv1.Request:
		r = new(consentv1.RequestResponse)
	case *consentv1.Supersede:
		r = new(consentv1.SupersedeResponse)
	case *consentv1.Restrict:
		r = new(consentv1.RestrictResponse)
	case *accessv1.BreakGlass:
		r = new(accessv1.BreakGlassResponse)
	case *accessv1.Decide:
		r = new(accessv1.DecideResponse)
	default:
		return nil, fmt.Errorf("scenarios: %T makes nothing that could be named", m)
	}
	if err := proto.Unmarshal(raw, r); err != nil {
		return nil, fmt.Errorf("scenarios: the response to %T: %w", m, err)
	}
	return r.GetId(), nil
}
