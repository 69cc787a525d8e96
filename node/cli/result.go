package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/tx"
	"github.com/chancery/chancery/node/client"
	chainv1 "github.com/chancery/chancery/proto/chancery/chain/v1"
)

// typed is a message with its type in JSON.
type typed struct {
	Type  string          `json:"type"`
	Value json.RawMessage `json:"value"`
}

// decode unmarshals bytes of a type by its full name. nil when this program does
// not know it.
func decode(name string, raw []byte) proto.Message {
	t, err := protoregistry.GlobalTypes.FindMessageByName(protoreflect.FullName(name))
	if err != nil {
		return nil
	}
	m := t.New().Interface()
	if proto.Unmarshal(raw, m) != nil {
		return nil
	}
	return m
}

// valueJSON is a message as JSON, or its bytes in base64 where the program does not
// know the type.
func valueJSON(name string, raw []byte) (json.RawMessage, error) {
	if m := decode(name, raw); m != nil {
		return protoJSON(m)
	}
	return json.Marshal(raw)
}

// responseTypes are the full names of the responses to a transaction's messages:
// that of M is MResponse.
func responseTypes(raw []byte) []string {
	d, err := tx.Decode(raw)
	if err != nil {
		return nil
	}
	out := make([]string, len(d.Messages))
	for i, m := range d.Messages {
		out[i] = string(m.ProtoReflect().Descriptor().FullName()) + "Response"
	}
	return out
}

// resultJSON is the result of a transaction with its responses and events as
// objects; responses of unknown type stay in base64. The id is in hexadecimal, as
// commands take it.
func resultJSON(r *chainv1.TxResult, types []string) (facts, error) {
	responses := []typed{}
	for i, raw := range r.Responses {
		name := ""
		if i < len(types) {
			name = types[i]
		}
		value, err := valueJSON(name, raw)
		if err != nil {
			return nil, err
		}
		responses = append(responses, typed{name, value})
	}
	events := []typed{}
	for _, e := range r.Events {
		value, err := valueJSON(e.Type, e.Value)
		if err != nil {
			return nil, err
		}
		events = append(events, typed{e.Type, value})
	}
	return facts{
		{"tx_id", digits(r.TxId)}, {"height", r.Height}, {"index", r.Index}, {"time", r.Time},
		{"code", r.Code}, {"codespace", r.Codespace}, {"log", r.Log}, {"units", r.Units},
		{"responses", responses}, {"events", events}, {"verdict", verdictJSON(r.Verdict)}, {"next", nextSteps(r)},
	}, nil
}

func resultText(r *chainv1.TxResult, types []string) string {
	var b strings.Builder
	b.WriteString(facts{
		{"tx id", digits(r.TxId)}, {"height", r.Height}, {"time", moment(r.Time)}, {"units", r.Units},
	}.text())
	if r.Verdict != nil {
		b.WriteString("verdict " + verdictText(r.Verdict) + "\n")
	}
	for i, raw := range r.Responses {
		if i >= len(types) {
			break
		}
		if m := decode(types[i], raw); m != nil && !empty(m.ProtoReflect()) {
			fmt.Fprintf(&b, "response %s\n%s", shortType(types[i]), indented(render(m.ProtoReflect())))
		}
	}
	for _, e := range r.Events {
		fmt.Fprintf(&b, "event %s\n", shortType(e.Type))
		if m := decode(e.Type, e.Value); m != nil {
			b.WriteString(indented(render(m.ProtoReflect())))
		}
	}
	return b.String()
}

// verdictText is a verdict in words.
func verdictText(v *chainv1.Verdict) string {
	return fmt.Sprintf("%s, score %d of 10000", rulingText(v.GetRuling()), v.GetScore())
}

// rulingText is a ruling in one word.
func rulingText(r chainv1.Ruling) string { return choiceOf(r.Descriptor(), int32(r)) }

// verdictJSON is a verdict for programs, null where there is none.
func verdictJSON(v *chainv1.Verdict) any {
	if v == nil {
		return nil
	}
	return facts{{"ruling", rulingText(v.Ruling)}, {"score", v.Score}}
}

// nextSteps are command lines that help on with a transaction that was held or denied.
func nextSteps(r *chainv1.TxResult) []string {
	failed := client.FromResult(r)
	if !errors.Is(failed, chain.ErrHeld) && !errors.Is(failed, chain.ErrDenied) {
		return []string{}
	}
	return []string{
		fmt.Sprintf("chancery threat explain %x", r.TxId),
		fmt.Sprintf("chancery query threat hold --tx-id %x", r.TxId),
		fmt.Sprintf("chancery tx threat appeal --tx-id %x --text-hash HASH --from NAME", r.TxId),
	}
}

// shortType leaves the common parts out of an event's name.
func shortType(name string) string {
	p := strings.Split(name, ".")
	if len(p) == 4 && p[0] == "chancery" && p[2] == "v1" {
		return p[1] + "." + p[3]
	}
	return name
}

func indented(text string) string {
	text = strings.TrimSuffix(text, "\n")
	return "  " + strings.ReplaceAll(text, "\n", "\n  ") + "\n"
}
