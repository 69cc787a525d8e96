package access

import (
	"strconv"
	"strings"

	"github.com/cedar-policy/cedar-go/types"
)

// readStored reads an entity in the canonical form that parseEntity writes: members in one order, no
// white space, values that name entities and extensions explicitly. It takes less than a
// quarter of what Cedar's own reading does, which takes any form, and its strings are parts of the text. What it does
// not know, such as an escape, makes it return false, and says nothing of the text.
func readStored(text string) (e types.Entity, parents []types.EntityUID, ok bool) {
	r := &storedReader{text: text}
	e.UID = r.uid(`{"uid":`)
	r.list(`,"parents":`, func() { parents = append(parents, r.uid("")) })
	r.take(`,"attrs":`)
	e.Attributes = r.record(0)
	r.take(`,"tags":`)
	e.Tags = r.record(0)
	r.take("}")
	if r.failed || r.at != len(text) {
		return types.Entity{}, nil, false
	}
	e.Parents = types.NewEntityUIDSet(parents...)
	return e, parents, true
}

// storedReader goes through a text. Once it failed, it reads nothing more.
type storedReader struct {
	text   string
	at     int
	failed bool
}

// next tells whether a byte comes next, and takes it.
func (r *storedReader) next(c byte) bool {
	if r.failed || r.at == len(r.text) || r.text[r.at] != c {
		return false
	}
	r.at++
	return true
}

// take takes what must come next.
func (r *storedReader) take(want string) {
	if r.failed || !strings.HasPrefix(r.text[r.at:], want) {
		r.failed = true
		return
	}
	r.at += len(want)
}

func (r *storedReader) string() string {
	r.take(`"`)
	if r.failed {
		return ""
	}
	for end := r.at; end < len(r.text); end++ {
		switch c := r.text[end]; {
		case c == '"':
			s := r.text[r.at:end]
			r.at = end + 1
			return s
		case c == '\\' || c < ' ':
			r.failed = true
			return ""
		}
	}
	r.failed = true
	return ""
}

// uid reads an entity's name after what comes before it.
func (r *storedReader) uid(before string) types.EntityUID {
	r.take(before)
	r.take(`{"type":`)
	typ := r.string()
	r.take(`,"id":`)
	id := r.string()
	r.take(`}`)
	return types.NewEntityUID(types.EntityType(typ), types.String(id))
}

// list reads a list after what comes before it.
func (r *storedReader) list(before string, element func()) {
	r.take(before)
	r.take(`[`)
	if r.next(']') {
		return
	}
	for !r.failed {
		element()
		if r.next(']') {
			return
		}
		r.take(",")
	}
}

func (r *storedReader) value(depth int) types.Value {
	if r.failed || r.at == len(r.text) || depth > maxDepth {
		r.failed = true
		return nil
	}
	switch rest := r.text[r.at:]; {
	case rest[0] == '"':
		return types.String(r.string())
	case rest[0] == '[':
		var values []types.Value
		r.list("", func() { values = append(values, r.value(depth+1)) })
		if r.failed {
			return nil // no value is nil
		}
		return types.NewSet(values...)
	case strings.HasPrefix(rest, `{"__entity":`):
		uid := r.uid(`{"__entity":`)
		r.take("}")
		return uid
	case strings.HasPrefix(rest, `{"__extn":`):
		return r.extension()
	case rest[0] == '{':
		return r.record(depth)
	case strings.HasPrefix(rest, "true"):
		r.at += len("true")
		return types.True
	case strings.HasPrefix(rest, "false"):
		r.at += len("false")
		return types.False
	}
	return r.long()
}

// long reads a number, which is followed by something: a fraction or an exponent is not
// what may follow, so it fails there.
func (r *storedReader) long() types.Value {
	end := r.at
	for end < len(r.text) && (r.text[end] == '-' || '0' <= r.text[end] && r.text[end] <= '9') {
		end++
	}
	n, err := strconv.ParseInt(r.text[r.at:end], 10, 64)
	if err != nil || strconv.FormatInt(n, 10) != r.text[r.at:end] {
		r.failed = true
		return nil
	}
	r.at = end
	return types.Long(n)
}

func (r *storedReader) extension() types.Value {
	r.take(`{"__extn":{"fn":`)
	fn := r.string()
	r.take(`,"arg":`)
	arg := r.string()
	r.take(`}}`)
	if r.failed {
		return nil
	}
	var v types.Value
	var err error
	switch fn {
	case "ip":
		v, err = types.ParseIPAddr(arg)
	case "decimal":
		v, err = types.ParseDecimal(arg)
	case "datetime":
		v, err = types.ParseDatetime(arg)
	case "duration":
		v, err = types.ParseDuration(arg)
	}
	if r.failed = v == nil || err != nil; r.failed {
		return nil
	}
	return v
}

func (r *storedReader) record(depth int) types.Record {
	r.take("{")
	if r.next('}') {
		return emptyRecord
	}
	members := types.RecordMap{}
	for !r.failed {
		key := types.String(r.string())
		r.take(":")
		if _, twice := members[key]; twice {
			r.failed = true
		}
		members[key] = r.value(depth + 1)
		if r.next('}') {
			break
		}
		r.take(",")
	}
	if r.failed {
		return types.Record{}
	}
	return types.NewRecord(members)
}

var emptyRecord = types.NewRecord(types.RecordMap{})
