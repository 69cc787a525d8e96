// Command sbom writes which modules a built binary is made of, as CycloneDX 1.6 in JSON, with the hash by which go.sum
// knows each and the licences that are found in it. It reads the binary and the module cache, and needs no network once
// the binary was built.
//
//	go run ./scripts/sbom --binary bin/chancery --out bin/chancery.cdx.json
//	go run ./scripts/sbom --binary bin/chancery --licences      # refuses what docs/dependencies.md does not allow
package main

import (
	"debug/buildinfo"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/CycloneDX/cyclonedx-go"
	"github.com/google/licensecheck"
)

func main() {
	binary := flag.String("binary", "bin/chancery", "the built program")
	out := flag.String("out", "", "file to write; without one, standard output")
	licences := flag.Bool("licences", false, "write nothing, and end with 1 where a licence is not allowed")
	flag.Parse()
	if err := run(*binary, *out, *licences); err != nil {
		fmt.Fprintln(os.Stderr, "sbom:", err)
		os.Exit(1)
	}
}

func run(binary, out string, licences bool) error {
	info, err := buildinfo.ReadFile(binary)
	if err != nil {
		return err
	}
	modules, err := read(info)
	if err != nil {
		return err
	}
	if licences {
		faults := refused(modules)
		if len(faults) > 0 {
			return errors.New(strings.Join(faults, "\n"))
		}
		fmt.Printf("%d modules, all under licences that docs/dependencies.md allows\n", len(modules))
		return nil
	}
	w := io.Writer(os.Stdout)
	if out != "" {
		f, err := os.Create(out) //nolint:gosec // the caller says where to
		if err != nil {
			return err
		}
		defer f.Close()
		w = f
	}
	return cyclonedx.NewBOMEncoder(w, cyclonedx.BOMFileFormatJSON).SetPretty(true).EncodeVersion(bill(info, modules), cyclonedx.SpecVersion1_6)
}

// module is one that code of the binary is from.
type module struct {
	path, version string
	sum           string // h1: and base64, as in go.sum
	licences      []string
}

// allowed are the licences under which a module may be linked in; docs/dependencies.md says why.
var allowed = []string{
	"0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-2-Clause-Views", "BSD-3-Clause", "BSL-1.0", "CC0-1.0", "FTL", "ISC", "MIT",
	"MPL-2.0", "Unlicense", "Zlib",
}

// known are modules that name their licence without its text, and which of those that it offers is taken.
var known = map[string]string{
	"github.com/golang/freetype":        "FTL",        // LICENSE: FTL or GPL-2.0-or-later
	"github.com/multiformats/go-base36": "Apache-2.0", // LICENSE.md: Apache-2.0 or MIT
}

// refused says of each module whose licence is not allowed which one it is. Of several
// that a module offers or consists of, each must be allowed.
func refused(modules []module) (faults []string) {
	for _, m := range modules {
		if len(m.licences) == 0 {
			faults = append(faults, fmt.Sprintf("%s %s: no licence is found", m.path, m.version))
		}
		for _, l := range m.licences {
			if !slices.Contains(allowed, l) {
				faults = append(faults, fmt.Sprintf("%s %s: %s is not allowed", m.path, m.version, l))
			}
		}
	}
	return faults
}

// read finds the modules of a binary, sorted by path.
func read(info *debug.BuildInfo) ([]module, error) {
	dirs, err := cached()
	if err != nil {
		return nil, err
	}
	var out []module
	for _, d := range info.Deps {
		if d.Replace != nil {
			if d.Replace.Version == "" || d.Replace.Version == "(devel)" {
				continue // a folder of this repository, which the program itself stands for
			}
			d = d.Replace
		}
		dir, ok := dirs[d.Path+"@"+d.Version]
		if !ok {
			return nil, fmt.Errorf("%s %s is in the binary and not in the module cache; run go mod download", d.Path, d.Version)
		}
		m := module{path: d.Path, version: d.Version, sum: d.Sum}
		if l, ok := known[d.Path]; ok {
			m.licences = []string{l}
		} else if m.licences, err = licensed(dir); err != nil {
			return nil, err
		}
		out = append(out, m)
	}
	slices.SortFunc(out, func(a, b module) int { return strings.Compare(a.path, b.path) })
	return out, nil
}

// cached are the folders of all modules of go.mod, by path@version.
func cached() (map[string]string, error) {
	cmd := exec.Command("go", "list", "-m", "-json=Path,Version,Dir,Replace", "all")
	cmd.Stderr = os.Stderr
	raw, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go list: %w", err)
	}
	out := make(map[string]string)
	for d := json.NewDecoder(strings.NewReader(string(raw))); d.More(); {
		var m struct {
			Path, Version, Dir string
			Replace            *struct{ Path, Version, Dir string }
		}
		if err := d.Decode(&m); err != nil {
			return nil, err
		}
		if m.Replace != nil {
			m.Path, m.Version, m.Dir = m.Replace.Path, m.Replace.Version, m.Replace.Dir
		}
		if m.Dir != "" {
			out[m.Path+"@"+m.Version] = m.Dir
		}
	}
	return out, nil
}

var licenceFile = regexp.MustCompile(`(?i)^(licen[cs]e|copying|unlicense|notice-licen[cs]e)([-._].*)?$`)

// recognised is which part of a file, in percent, must be a known licence's text.
const recognised = 60

// licensed are the licences in the files of a module's top folder, by SPDX id.
func licensed(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, e := range entries {
		if e.IsDir() || !licenceFile.MatchString(e.Name()) {
			continue
		}
		raw, err := os.ReadFile(filepath.Join(dir, e.Name())) //nolint:gosec // of the module cache
		if err != nil {
			return nil, err
		}
		c := licensecheck.Scan(raw)
		if c.Percent < recognised {
			continue
		}
		for _, m := range c.Match {
			if !m.IsURL && !slices.Contains(out, m.ID) {
				out = append(out, m.ID)
			}
		}
	}
	slices.Sort(out)
	return out, nil
}

// bill is the document. It names no time and no random number, so that it is the same for the same binary.
func bill(info *debug.BuildInfo, modules []module) *cyclonedx.BOM {
	b := cyclonedx.NewBOM()
	settings := map[string]string{}
	for _, s := range info.Settings {
		settings[s.Key] = s.Value
	}
	main := purl(info.Main.Path, info.Main.Version)
	b.Metadata = &cyclonedx.Metadata{Component: &cyclonedx.Component{
		BOMRef: main, Type: cyclonedx.ComponentTypeApplication, Name: info.Main.Path, Version: info.Main.Version, PackageURL: main,
		Licenses: &cyclonedx.Licenses{{License: &cyclonedx.License{ID: "Apache-2.0"}}},
		Properties: &[]cyclonedx.Property{
			{Name: "go:platform", Value: settings["GOOS"] + "/" + settings["GOARCH"]}, {Name: "go:tags", Value: settings["-tags"]},
		},
	}}
	std := purl("std", strings.TrimPrefix(info.GoVersion, "go"))
	components := []cyclonedx.Component{{
		BOMRef: std, Type: cyclonedx.ComponentTypeLibrary, Name: "std", Version: strings.TrimPrefix(info.GoVersion, "go"), PackageURL: std,
		Licenses: &cyclonedx.Licenses{{License: &cyclonedx.License{ID: "BSD-3-Clause"}}},
	}}
	refs := []string{std}
	for _, m := range modules {
		c := cyclonedx.Component{
			BOMRef: purl(m.path, m.version), Type: cyclonedx.ComponentTypeLibrary, Name: m.path, Version: m.version, PackageURL: purl(m.path, m.version),
			Scope: cyclonedx.ScopeRequired,
		}
		// h1 is SHA-256 over the sorted hashes of the module's files, as golang.org/x/mod/sumdb/dirhash says.
		if sum, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(m.sum, "h1:")); err == nil && len(sum) == 32 {
			c.Hashes = &[]cyclonedx.Hash{{Algorithm: cyclonedx.HashAlgoSHA256, Value: hex.EncodeToString(sum)}}
		}
		if len(m.licences) > 0 {
			var l cyclonedx.Licenses
			for _, id := range m.licences {
				l = append(l, cyclonedx.LicenseChoice{License: &cyclonedx.License{ID: id}})
			}
			c.Licenses = &l
		}
		components = append(components, c)
		refs = append(refs, c.BOMRef)
	}
	b.Components = &components
	b.Dependencies = &[]cyclonedx.Dependency{{Ref: main, Dependencies: &refs}}
	return b
}

// purl is a package URL, https://github.com/package-url/purl-spec.
func purl(path, version string) string { return "pkg:golang/" + path + "@" + version }
