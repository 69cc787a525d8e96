package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/bufbuild/protocompile/linker"
	"google.golang.org/genproto/googleapis/api/annotations"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
)

// object is a JSON object; its keys are written in order.
type object = map[string]any

// document gathers what a description in OpenAPI 3.1 is made of.
type document struct {
	files   linker.Files
	paths   object
	schemas object
	tags    []any
}

// openAPI describes every method that has a google.api.http option. JSON is that of the
// standard mapping of protocol buffers.
func openAPI(files linker.Files) ([]byte, error) {
	d := &document{files: files, paths: object{}, schemas: object{}}
	for _, f := range files {
		for i := range f.Services().Len() {
			if err := d.service(f.Services().Get(i)); err != nil {
				return nil, err
			}
		}
	}
	d.schemas["google.rpc.Status"] = object{
		"type": "object", "description": "A refusal. The ErrorInfo among its details has the permanent code, such as node/29; docs/errors.md lists all.",
		"properties": object{
			"code":    object{"type": "integer", "format": "int32", "description": "Code of gRPC."},
			"message": object{"type": "string", "description": "What is wrong and what to do."},
			"details": object{"type": "array", "items": object{
				"type": "object", "required": []any{"@type"}, "additionalProperties": true,
				"properties": object{"@type": object{"type": "string", "description": "type.googleapis.com/google.rpc.ErrorInfo or …/google.rpc.RetryInfo."}},
			}},
		},
	}
	slices.SortFunc(d.tags, func(a, b any) int {
		return strings.Compare(a.(object)["name"].(string), b.(object)["name"].(string))
	})
	out := object{
		"openapi": "3.1.0",
		"info": object{
			"title": "Chancery node", "version": "v1", "license": object{"name": "Apache-2.0", "identifier": "Apache-2.0"},
			"description": "What a node serves over HTTP: its gRPC methods by their google.api.http options. Written by scripts/protodoc from the .proto files.",
		},
		"security": []any{object{"certificate": []any{}}, object{"token": []any{}}},
		"tags":     d.tags, "paths": d.paths,
		"components": object{
			"schemas": d.schemas,
			"securitySchemes": object{
				"certificate": object{"type": "mutualTLS", "description": "A client certificate that an authority of the caller's organisation signed."},
				"token":       object{"type": "http", "scheme": "bearer", "bearerFormat": "JWT", "description": "A token of an issuer that the node is configured for."},
			},
			"responses": object{"Refused": object{
				"description": "The call was refused or failed.",
				"headers": object{"Retry-After": object{
					"description": "Seconds after which the same request may succeed; absent where it would not.", "schema": object{"type": "integer"},
				}},
				"content": object{"application/json": object{"schema": ref("google.rpc.Status")}},
			}},
			"parameters": object{
				"Height":  parameter("Chancery-Height", "header", "Height of the state to read. Absent: the latest.", object{"type": "string", "format": "int64"}),
				"Prove":   parameter("Chancery-Prove", "header", "1: prove every record that the query looks up; the receipt is in the trailer Chancery-Receipt-Bin, base64.", object{"type": "string", "enum": []any{"1"}}),
				"Timeout": parameter("Grpc-Timeout", "header", "How long the call may take: digits and a unit of H, M, S, m (milliseconds), u or n.", object{"type": "string", "pattern": "^[0-9]{1,8}[HMSmun]$"}),
				"Resume":  parameter("Last-Event-ID", "header", "Id of the last event that was handled: the stream goes on after it.", object{"type": "string"}),
			},
		},
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", " ")
	err := e.Encode(out)
	return b.Bytes(), err
}

func ref(name string) object { return object{"$ref": "#/components/schemas/" + name} }

func shared(kind, name string) object { return object{"$ref": "#/components/" + kind + "/" + name} }

func parameter(name, in, text string, schema object) object {
	p := object{"name": name, "in": in, "schema": schema}
	if text != "" {
		p["description"] = text
	}
	if in == "path" {
		p["required"] = true
	}
	return p
}

// comment is what the .proto file says of something.
func (d *document) comment(of protoreflect.Descriptor) string {
	for _, f := range d.files {
		if f.Path() == of.ParentFile().Path() {
			return strings.Join(strings.Fields(f.SourceLocations().ByDescriptor(of).LeadingComments), " ")
		}
	}
	return ""
}

func (d *document) service(s protoreflect.ServiceDescriptor) error {
	served := false
	for i := range s.Methods().Len() {
		m := s.Methods().Get(i)
		rule, err := httpRule(m)
		if err != nil {
			return err
		}
		if rule == nil {
			continue
		}
		served = true
		verb, path := "get", rule.GetGet()
		if path == "" {
			verb, path = "post", rule.GetPost()
		}
		item, _ := d.paths[path].(object)
		if item == nil {
			item = object{}
			d.paths[path] = item
		}
		if item[verb] != nil {
			return fmt.Errorf("%s: %s %s is served twice", m.FullName(), verb, path)
		}
		if item[verb], err = d.operation(s, m, verb, path); err != nil {
			return err
		}
	}
	if served {
		d.tags = append(d.tags, object{"name": string(s.FullName()), "description": d.comment(s)})
	}
	return nil
}

// httpRule is a method's; nil: none.
func httpRule(m protoreflect.MethodDescriptor) (*annotations.HttpRule, error) {
	raw, err := proto.Marshal(m.Options())
	if err != nil {
		return nil, err
	}
	var o descriptorpb.MethodOptions
	if err := proto.Unmarshal(raw, &o); err != nil {
		return nil, err
	}
	rule, _ := proto.GetExtension(&o, annotations.E_Http).(*annotations.HttpRule)
	return rule, nil
}

var pathField = regexp.MustCompile(`\{([a-z0-9_]+)\}`)

func (d *document) operation(s protoreflect.ServiceDescriptor, m protoreflect.MethodDescriptor, verb, path string) (object, error) {
	text := d.comment(m)
	summary, _, _ := strings.Cut(text, ". ")
	op := object{
		"operationId": string(s.FullName()) + "." + string(m.Name()), "tags": []any{string(s.FullName())},
		"summary": strings.TrimSuffix(summary, "."), "description": text,
	}
	var parameters []any
	named := map[string]bool{}
	for _, f := range pathField.FindAllStringSubmatch(path, -1) {
		field := m.Input().Fields().ByName(protoreflect.Name(f[1]))
		if field == nil {
			return nil, fmt.Errorf("%s: the request has no field %s", m.FullName(), f[1])
		}
		named[f[1]] = true
		parameters = append(parameters, parameter(f[1], "path", d.comment(field), d.single(field)))
	}
	if verb == "get" {
		query, err := d.query(m.Input(), "", named)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", m.FullName(), err)
		}
		parameters = append(parameters, query...)
	} else {
		op["requestBody"] = object{"required": true, "content": object{"application/json": object{"schema": d.message(m.Input())}}}
	}
	parameters = append(parameters, shared("parameters", "Timeout"))
	content := object{}
	switch {
	case m.IsStreamingServer():
		content["application/x-ndjson"] = object{"schema": object{
			"description": "A line: a result, or an error, which is the last.", "type": "object",
			"properties": object{"result": d.message(m.Output()), "error": ref("google.rpc.Status")},
		}}
		content["text/event-stream"] = object{"schema": object{"type": "string", "description": "Events whose data is a result; one of the type error is the last. Asked for by the header Accept."}}
		if eventStreams[string(m.FullName())] {
			parameters = append(parameters, shared("parameters", "Resume"))
		}
	case m.Output().FullName() == "google.api.HttpBody":
		content["application/json"] = object{"schema": object{"type": "object"}}
	default:
		content["application/json"] = object{"schema": d.message(m.Output())}
		parameters = append(parameters, shared("parameters", "Height"), shared("parameters", "Prove"))
	}
	op["parameters"] = parameters
	op["responses"] = object{
		"200":     object{"description": "The answer.", "content": content},
		"default": shared("responses", "Refused"),
	}
	return op, nil
}

// eventStreams are the streams that go on where a client left off.
var eventStreams = map[string]bool{"chancery.node.v1.Events.Subscribe": true, "chancery.node.v1.Sentinel.Watch": true}

// query lists the fields of a request that are parameters: those of messages in it by a
// path, a.b.
func (d *document) query(m protoreflect.MessageDescriptor, prefix string, but map[string]bool) ([]any, error) {
	var out []any
	for i := range m.Fields().Len() {
		f := m.Fields().Get(i)
		name := prefix + string(f.Name())
		if but[name] {
			continue
		}
		if f.Message() == nil {
			schema := d.single(f)
			if f.IsList() {
				schema = object{"type": "array", "items": schema}
			}
			out = append(out, parameter(name, "query", d.comment(f), schema))
			continue
		}
		if f.IsList() || f.IsMap() || strings.Count(name, ".") > 3 {
			return nil, fmt.Errorf("%s cannot be a parameter; map the method to a post", f.FullName())
		}
		inner, err := d.query(f.Message(), name+".", nil)
		if err != nil {
			return nil, err
		}
		out = append(out, inner...)
	}
	return out, nil
}

// message is a reference to a message, which it describes.
func (d *document) message(m protoreflect.MessageDescriptor) object {
	name := string(m.FullName())
	if _, ok := d.schemas[name]; ok {
		return ref(name)
	}
	properties := object{}
	schema := object{"type": "object", "properties": properties}
	if text := d.comment(m); text != "" {
		schema["description"] = text
	}
	d.schemas[name] = schema
	for i := range m.Fields().Len() {
		f := m.Fields().Get(i)
		one := d.single(f)
		switch {
		case f.IsMap():
			one = object{"type": "object", "additionalProperties": d.single(f.MapValue())}
		case f.IsList():
			one = object{"type": "array", "items": one}
		}
		if text := d.comment(f); text != "" {
			one["description"] = text
		}
		properties[f.JSONName()] = one
	}
	return ref(name)
}

// single is one value of a field.
func (d *document) single(f protoreflect.FieldDescriptor) object {
	switch f.Kind() {
	case protoreflect.BoolKind:
		return object{"type": "boolean"}
	case protoreflect.StringKind:
		return object{"type": "string"}
	case protoreflect.BytesKind:
		return object{"type": "string", "format": "byte"}
	case protoreflect.DoubleKind:
		return object{"type": "number", "format": "double"}
	case protoreflect.FloatKind:
		return object{"type": "number", "format": "float"}
	case protoreflect.Int64Kind, protoreflect.Sint64Kind, protoreflect.Sfixed64Kind:
		return object{"type": "string", "format": "int64"}
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		return object{"type": "string", "format": "uint64"}
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		return object{"type": "integer", "format": "uint32", "minimum": 0}
	case protoreflect.Int32Kind, protoreflect.Sint32Kind, protoreflect.Sfixed32Kind:
		return object{"type": "integer", "format": "int32"}
	case protoreflect.EnumKind:
		return d.enum(f.Enum())
	default:
		return d.message(f.Message())
	}
}

func (d *document) enum(e protoreflect.EnumDescriptor) object {
	name := string(e.FullName())
	if _, ok := d.schemas[name]; !ok {
		var values []any
		for i := range e.Values().Len() {
			values = append(values, string(e.Values().Get(i).Name()))
		}
		schema := object{"type": "string", "enum": values}
		if text := d.comment(e); text != "" {
			schema["description"] = text
		}
		d.schemas[name] = schema
	}
	return ref(name)
}
