package trace

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/encoding/protojson"
)

// file writes spans as OTLP JSON, a line for each export, as the OpenTelemetry
// collector's file exporter does and its receiver reads.
type file struct {
	path string
	most int64

	mu   sync.Mutex // guards all below
	f    *os.File
	size int64
}

func openFile(path string, most int64) (*file, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("make the folder of traces: %w", err)
	}
	w := &file{path: path, most: most}
	return w, w.open()
}

func (w *file) open() error {
	f, err := os.OpenFile(w.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("open the file of traces: %w", err)
	}
	info, err := f.Stat()
	if err != nil {
		return errors.Join(fmt.Errorf("open the file of traces: %w", err), f.Close())
	}
	w.f, w.size = f, info.Size()
	return nil
}

// Start implements otlptrace.Client.
func (w *file) Start(context.Context) error { return nil }

// Stop implements otlptrace.Client.
func (w *file) Stop(context.Context) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.f.Close()
}

// UploadTraces implements otlptrace.Client.
func (w *file) UploadTraces(_ context.Context, spans []*tracepb.ResourceSpans) error {
	line, err := lineOf(spans)
	if err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.size > 0 && w.size+int64(len(line)) > w.most {
		if err := errors.Join(w.f.Close(), os.Rename(w.path, w.path+".1"), w.open()); err != nil {
			return err
		}
	}
	n, err := w.f.Write(line)
	w.size += int64(n)
	return err
}

// lineOf is OTLP JSON, which writes ids in hexadecimal where protobuf JSON writes base64.
func lineOf(spans []*tracepb.ResourceSpans) ([]byte, error) {
	raw, err := protojson.Marshal(&tracepb.TracesData{ResourceSpans: spans})
	if err != nil {
		return nil, err
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	var tree any
	if err := d.Decode(&tree); err != nil {
		return nil, err
	}
	if err := inHex(tree); err != nil {
		return nil, err
	}
	line, err := json.Marshal(tree)
	return append(line, '\n'), err
}

func inHex(v any) error {
	switch v := v.(type) {
	case []any:
		for _, x := range v {
			if err := inHex(x); err != nil {
				return err
			}
		}
	case map[string]any:
		for k, x := range v {
			text, ok := x.(string)
			if !ok || k != "traceId" && k != "spanId" && k != "parentSpanId" {
				if err := inHex(x); err != nil {
					return err
				}
				continue
			}
			id, err := base64.StdEncoding.DecodeString(text)
			if err != nil {
				return err
			}
			v[k] = hex.EncodeToString(id)
		}
	}
	return nil
}
