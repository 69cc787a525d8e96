// Command protodoc writes what is documented in the .proto files where programs find it:
//
//	node/cli/comments.txt   for the command line: a line "full name TAB comment" for each
//	                        message, field, enum, value, service and method that has one,
//	                        in order of names
//	node/rpc/openapi.json   for clients over HTTP: the methods that have a google.api.http
//	                        option, as an OpenAPI document, which the node serves
//
// It is run in the repository's root, or in any folder below it.
package main

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/bufbuild/protocompile"
	"github.com/bufbuild/protocompile/linker"
	"google.golang.org/protobuf/reflect/protoreflect"
)

const (
	output   = "node/cli/comments.txt"
	describe = "node/rpc/openapi.json"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "protodoc:", err)
		os.Exit(1)
	}
}

func run() error {
	root, err := repository()
	if err != nil {
		return err
	}
	files, err := compile(filepath.Join(root, "proto"))
	if err != nil {
		return err
	}
	if err := replace(filepath.Join(root, filepath.FromSlash(output)), []byte(comments(files))); err != nil {
		return err
	}
	document, err := openAPI(files)
	if err != nil {
		return err
	}
	return replace(filepath.Join(root, filepath.FromSlash(describe)), document)
}

// replace writes a file where it is different.
func replace(path string, raw []byte) error {
	if old, err := os.ReadFile(path); err == nil && bytes.Equal(old, raw) {
		return nil
	}
	if err := os.WriteFile(path+".new", raw, 0o644); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// repository is the folder of go.mod.
func repository() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		up := filepath.Dir(dir)
		if up == dir {
			return "", fmt.Errorf("there is no go.mod above the working directory")
		}
		dir = up
	}
}

// compile compiles every .proto file below a folder.
func compile(dir string) (linker.Files, error) {
	var files []string
	err := fs.WalkDir(os.DirFS(dir), ".", func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && strings.HasSuffix(path, ".proto") {
			files = append(files, path)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	compiler := protocompile.Compiler{
		Resolver:       protocompile.WithStandardImports(&protocompile.SourceResolver{ImportPaths: []string{dir}}),
		SourceInfoMode: protocompile.SourceInfoStandard,
	}
	return compiler.Compile(context.Background(), files...)
}

// comments are those of files, in lines.
func comments(compiled linker.Files) string {
	var out []string
	for _, f := range compiled {
		each(f, func(d protoreflect.Descriptor) {
			text := f.SourceLocations().ByDescriptor(d).LeadingComments
			if text = strings.Join(strings.Fields(text), " "); text != "" {
				out = append(out, string(d.FullName())+"\t"+text+"\n")
			}
		})
	}
	slices.Sort(out)
	return strings.Join(out, "")
}

// each visits everything in a file that can have a comment.
func each(f protoreflect.FileDescriptor, visit func(protoreflect.Descriptor)) {
	for i := range f.Services().Len() {
		s := f.Services().Get(i)
		visit(s)
		for k := range s.Methods().Len() {
			visit(s.Methods().Get(k))
		}
	}
	eachEnum(f.Enums(), visit)
	eachMessage(f.Messages(), visit)
}

func eachMessage(l protoreflect.MessageDescriptors, visit func(protoreflect.Descriptor)) {
	for i := range l.Len() {
		m := l.Get(i)
		visit(m)
		for k := range m.Fields().Len() {
			visit(m.Fields().Get(k))
		}
		eachEnum(m.Enums(), visit)
		eachMessage(m.Messages(), visit)
	}
}

func eachEnum(l protoreflect.EnumDescriptors, visit func(protoreflect.Descriptor)) {
	for i := range l.Len() {
		e := l.Get(i)
		visit(e)
		for k := range e.Values().Len() {
			visit(e.Values().Get(k))
		}
	}
}
