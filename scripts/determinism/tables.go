package determinism

import "strings"

// mutexPackages lists the folders in which sync.Mutex and sync.RWMutex need no directive, because the package is shared
// by design, with what is shared there.
var mutexPackages = map[string]string{
	"chain/keys": "all phases of one node share the memory of verified signatures, which changes no verdict",
}

const (
	clock        = "it reads the machine's clock; time is the block header's"
	randomness   = "it draws from the machine's randomness; take what the transaction carries or what state holds"
	environment  = "it reads the machine's environment; parameters are in state"
	network      = "the state machine talks to nobody"
	output       = "the state machine writes events, not output"
	logging      = "the state machine does not log; it emits events and returns errors"
	machine      = "what it tells or controls differs between machines"
	memory       = "it shows how values lie in memory"
	concurrent   = "execution is one sequence of steps"
	mapOrder     = "a map has no order"
	zone         = "it depends on the machine's time zone"
	address      = "an address differs between validators"
	unstableText = "the text differs between builds; name the fields that matter"
	unstableJSON = "its spacing differs between builds; compact what it writes, or use the generated marshaller"
)

const protobuf = "google.golang.org/protobuf"

// refusedImports maps an import path to the reason. A path that ends in /... stands for all below it as well.
var refusedImports = map[string]string{
	"C":                         machine,
	"crypto/rand":               randomness,
	"expvar":                    output,
	"hash/maphash":              "its seed differs in every process",
	"log/...":                   logging,
	"math/cmplx":                "floating point",
	"math/rand/...":             randomness,
	"net/...":                   network,
	"os/...":                    environment,
	"plugin":                    machine,
	"runtime/...":               machine,
	"syscall/...":               machine,
	"testing/...":               "it belongs into a test file or a package for tests alone",
	"unsafe":                    memory,
	"weak":                      "it shows when the garbage collector ran",
	"golang.org/x/exp/maps":     mapOrder,
	"golang.org/x/exp/rand":     randomness,
	"golang.org/x/exp/slog/...": logging,
	"golang.org/x/sync/...":     concurrent,
	"golang.org/x/sys/...":      machine,
	"go.uber.org/zap/...":       logging,
	"github.com/rs/zerolog/...": logging,
}

// allowedImports are exceptions to refusedImports: they parse, and touch neither network
// nor machine.
var allowedImports = map[string]bool{
	"net/mail":      true,
	"net/netip":     true,
	"net/textproto": true,
	"net/url":       true,
	"runtime":       true, // its names are judged one by one
}

// refusedImport returns why a package may not be imported, or nothing.
func refusedImport(path string) string {
	if allowedImports[path] {
		return ""
	}
	if why := refusedImports[path]; why != "" {
		return why
	}
	for dir := path; ; {
		if why := refusedImports[dir+"/..."]; why != "" {
			return why
		}
		i := strings.LastIndexByte(dir, '/')
		if i < 0 {
			return ""
		}
		dir = dir[:i]
	}
}

// allowedRuntime are the names of package runtime that tell nothing about the machine.
var allowedRuntime = map[string]bool{
	"Error":              true,
	"KeepAlive":          true,
	"TypeAssertionError": true,
}

// refusedUses maps a package to its names that are refused, each with the reason. A method is named Type.Method.
var refusedUses = map[string]map[string]string{
	"time": {
		"After":        clock,
		"AfterFunc":    clock,
		"NewTicker":    clock,
		"NewTimer":     clock,
		"Now":          clock,
		"Since":        clock,
		"Sleep":        clock,
		"Tick":         clock,
		"Ticker":       clock,
		"Timer":        clock,
		"Until":        clock,
		"LoadLocation": zone,
		"Local":        zone,
		"Parse":        zone + "; use time.ParseInLocation with time.UTC",
		"Time.Local":   zone,
	},
	"context": {
		"AfterFunc":         concurrent,
		"WithDeadline":      clock,
		"WithDeadlineCause": clock,
		"WithTimeout":       clock,
		"WithTimeoutCause":  clock,
	},
	"fmt": {
		"Print":   output,
		"Printf":  output,
		"Println": output,
		"Scan":    environment,
		"Scanf":   environment,
		"Scanln":  environment,
	},
	"reflect": {
		"Value.MapKeys":       mapOrder,
		"Value.MapRange":      mapOrder,
		"Value.Seq":           "over a map it has no order",
		"Value.Seq2":          "over a map it has no order",
		"Value.Pointer":       address,
		"Value.UnsafeAddr":    address,
		"Value.UnsafePointer": address,
	},
	"crypto/ecdsa": {
		"PrivateKey.Sign": randomness,
		"Sign":            randomness,
		"SignASN1":        randomness,
	},
	"crypto/hpke": {
		"NewSender": randomness,
		"Seal":      randomness,
	},
	"crypto/mlkem": {
		"EncapsulationKey768.Encapsulate":  randomness,
		"EncapsulationKey1024.Encapsulate": randomness,
	},
	"crypto/rsa": {
		"EncryptOAEP":            randomness,
		"EncryptOAEPWithOptions": randomness,
		"EncryptPKCS1v15":        randomness,
		"SignPSS":                randomness,
	},
	"github.com/google/uuid": {
		"New":       randomness,
		"NewRandom": randomness,
		"NewString": randomness,
		"NewUUID":   clock,
		"NewV6":     clock,
		"NewV7":     clock,
	},
	protobuf + "/proto": {
		"Marshal": "it promises no stable bytes; use the generated MarshalVT",
	},
	protobuf + "/encoding/protojson": {
		"Format":                       unstableJSON,
		"Marshal":                      unstableJSON,
		"MarshalOptions.Format":        unstableJSON,
		"MarshalOptions.Marshal":       unstableJSON,
		"MarshalOptions.MarshalAppend": unstableJSON,
	},
	protobuf + "/encoding/prototext": {
		"Format":                       unstableText,
		"Marshal":                      unstableText,
		"MarshalOptions.Format":        unstableText,
		"MarshalOptions.Marshal":       unstableText,
		"MarshalOptions.MarshalAppend": unstableText,
	},
	protobuf + "/reflect/protoreflect": {
		"Map.Range":     mapOrder,
		"Message.Range": "it visits fields in no stated order; go through the descriptor's fields by index",
	},
	protobuf + "/reflect/protoregistry": {
		"Files.RangeFiles":      mapOrder,
		"Types.RangeEnums":      mapOrder,
		"Types.RangeExtensions": mapOrder,
		"Types.RangeMessages":   mapOrder,
	},
	protobuf + "/types/known/timestamppb": {
		"Now": clock,
	},
}

// drawsRandomness reports whether a function makes a key, which is random even where a caller hands in a reader:
// the standard library falls back to its own source for a nil reader, and from Go 1.26 ignores the reader.
func drawsRandomness(pkg, name string) bool {
	if !strings.HasPrefix(name, "Generate") {
		return false
	}
	for _, prefix := range []string{"crypto/", "github.com/cloudflare/circl/", "github.com/oasisprotocol/curve25519-voi/"} {
		if strings.HasPrefix(pkg, prefix) {
			return true
		}
	}
	return false
}
