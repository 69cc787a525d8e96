package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestWhatIsWrittenIsThatOfTheProtos(t *testing.T) {
	files, err := compile("../../proto")
	if err != nil {
		t.Fatal(err)
	}
	document, err := openAPI(files)
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{output: comments(files), describe: string(document)} {
		have, err := os.ReadFile(filepath.Join("../..", filepath.FromSlash(path)))
		if err != nil {
			t.Fatal(err)
		}
		if string(have) != want {
			t.Errorf("%s is out of date; run: go run ./scripts/protodoc", path)
		}
	}
}

func TestCommentsAreFoundOnEverythingThatCanHaveOne(t *testing.T) {
	dir := t.TempDir()
	const file = `syntax = "proto3";
package p.v1;
// A service.
service Query {
  // A method,
  // of two lines.
  rpc Ask(Question) returns (Question);
}
// A message.
message Question {
  // A field.
  string text = 1;
  int32 bare = 2;
  // An inner message.
  message Inner {
    // An inner field.
    bool b = 1;
  }
  // An enum.
  enum Kind {
    // A value.
    KIND_UNSPECIFIED = 0;
  }
}
`
	if err := os.WriteFile(filepath.Join(dir, "p.proto"), []byte(file), 0o644); err != nil {
		t.Fatal(err)
	}
	files, err := compile(dir)
	if err != nil {
		t.Fatal(err)
	}
	got := comments(files)
	want := strings.Join([]string{
		"p.v1.Query\tA service.",
		"p.v1.Query.Ask\tA method, of two lines.",
		"p.v1.Question\tA message.",
		"p.v1.Question.Inner\tAn inner message.",
		"p.v1.Question.Inner.b\tAn inner field.",
		"p.v1.Question.KIND_UNSPECIFIED\tA value.",
		"p.v1.Question.Kind\tAn enum.",
		"p.v1.Question.text\tA field.",
		"",
	}, "\n")
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestAFaultyProtoIsAnError(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "p.proto"), []byte("syntax = proto3"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := compile(dir); err == nil {
		t.Error("it compiles")
	}
}

func TestAMethodThatParametersCannotCarryIsAnError(t *testing.T) {
	dir := t.TempDir()
	const file = `syntax = "proto3";
package p.v1;
import "google/api/annotations.proto";
service Query {
  rpc Ask(Question) returns (Question) {
    option (google.api.http) = {get: "/v1/ask"};
  }
}
message Question {
  repeated Part parts = 1;
  message Part {
    bool b = 1;
  }
}
`
	if err := os.CopyFS(dir, os.DirFS("../../proto")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "p.proto"), []byte(file), 0o644); err != nil {
		t.Fatal(err)
	}
	files, err := compile(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := openAPI(files); err == nil || !strings.Contains(err.Error(), "p.v1.Question.parts cannot be a parameter") {
		t.Errorf("the description: %v", err)
	}
}
