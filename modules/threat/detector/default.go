package detector

import "embed"

//go:embed data
var data embed.FS

// Default is the bytes of the detector that ships with the program, and whether there is one.
func Default() ([]byte, bool) {
	raw, err := data.ReadFile("data/default.detector")
	return raw, err == nil
}
