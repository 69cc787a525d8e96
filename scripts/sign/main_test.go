package main

import (
	"os"
	"path/filepath"
	"testing"
)

// What is signed verifies, by this key alone and unaltered, with and without a password.
func TestSignedFilesVerify(t *testing.T) {
	passwords := []string{""}
	if os.Getenv("CHANCERY_LONG") == "1" {
		passwords = append(passwords, "correct horse") // whose key derivation takes ten seconds, by minisign's parameters
	}
	for _, password := range passwords {
		dir := t.TempDir()
		t.Setenv("CHANCERY_SIGNING_PASSWORD", password)
		at := func(name string) string { return filepath.Join(dir, name) }
		if err := run("", at("release"), nil); err != nil {
			t.Fatal(err)
		}
		if err := run("", at("other"), nil); err != nil {
			t.Fatal(err)
		}
		if info, err := os.Stat(at("release.key")); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("the key's file: %v, %v", info, err)
		}
		if err := run("", at("release"), nil); err == nil {
			t.Error("a key was replaced")
		}
		if err := os.WriteFile(at("SUMS"), []byte("abc  file\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := run("", "", []string{at("SUMS")}); err == nil {
			t.Error("signed without a key")
		}
		t.Setenv("CHANCERY_SIGNING_KEY_FILE", at("release.key"))
		if err := run("", "", []string{at("SUMS")}); err != nil {
			t.Fatal(err)
		}
		if err := run(at("release.pub"), "", []string{at("SUMS")}); err != nil {
			t.Error(err)
		}
		if err := run(at("other.pub"), "", []string{at("SUMS")}); err == nil {
			t.Error("another key verifies it")
		}
		if err := os.WriteFile(at("SUMS"), []byte("abd  file\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := run(at("release.pub"), "", []string{at("SUMS")}); err == nil {
			t.Error("an altered file verifies")
		}
		t.Setenv("CHANCERY_SIGNING_KEY_FILE", "")
	}
}
