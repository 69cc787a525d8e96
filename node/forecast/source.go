package forecast

import (
	"encoding/hex"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/chancery/chancery/modules/identity/did"
	chainv1 "github.com/chancery/chancery/proto/chancery/chain/v1"
)

// Source reads from a block's record what happened in it, one observation for each
// transaction whose author it can tell.
type Source func(*chainv1.BlockRecord) []Observation

// FromEvents is a Source that goes by the record alone: the author is the DID in the
// first field of an event named author or by, its organisation the one in that DID, and
// resources are the access module's, as entity:ORGANISATION TYPE::ID, and consents, as
// consent:ID. A transaction that failed has no events and is not seen, unless it was held
// or denied.
func FromEvents(r *chainv1.BlockRecord) []Observation {
	var out []Observation
	for _, t := range r.Txs {
		o := Observation{Height: r.Height, Time: r.Time, Score: t.GetVerdict().GetScore(), Scored: t.Verdict != nil}
		for _, e := range t.Events {
			kind, err := protoregistry.GlobalTypes.FindMessageByName(protoreflect.FullName(e.Type))
			if err != nil {
				continue // of a module that this program does not know
			}
			m := kind.New()
			if err := proto.Unmarshal(e.Value, m.Interface()); err != nil {
				continue
			}
			o.read(m)
		}
		if o.Actor != "" {
			out = append(out, o)
		}
	}
	return out
}

func (o *Observation) read(m protoreflect.Message) {
	fields := m.Descriptor().Fields()
	text := func(m protoreflect.Message, name protoreflect.Name) string {
		fd := m.Descriptor().Fields().ByName(name)
		if fd == nil || fd.Kind() != protoreflect.StringKind || fd.IsList() {
			return ""
		}
		return m.Get(fd).String()
	}
	for _, name := range []protoreflect.Name{"author", "by"} {
		if o.Actor != "" {
			break
		}
		if d, err := did.Parse(text(m, name)); err == nil {
			o.Actor, o.Organisation = d.String(), d.Organisation()
		}
	}
	if fd := fields.ByName("hold"); fd != nil && fd.Message() != nil && !fd.IsList() && m.Has(fd) {
		o.read(m.Get(fd).Message())
	}
	if fd := fields.ByName("resource"); fd != nil && fd.Message() != nil && !fd.IsList() && m.Has(fd) {
		uid := m.Get(fd).Message()
		o.Resources = append(o.Resources, "entity:"+text(m, "organisation")+" "+text(uid, "type")+"::"+text(uid, "id"))
	}
	if fd := fields.ByName("consent_id"); fd != nil && fd.Kind() == protoreflect.BytesKind && len(m.Get(fd).Bytes()) > 0 {
		o.Resources = append(o.Resources, "consent:"+hex.EncodeToString(m.Get(fd).Bytes()))
	}
}
