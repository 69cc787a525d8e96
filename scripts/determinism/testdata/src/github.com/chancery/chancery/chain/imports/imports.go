package imports

import (
	_ "crypto/rand"   // want `importing crypto/rand is refused: it draws from the machine's randomness`
	_ "expvar"        // want `importing expvar is refused`
	_ "hash/maphash"  // want `importing hash/maphash is refused`
	_ "log"           // want `importing log is refused`
	_ "log/slog"      // want `importing log/slog is refused: the state machine does not log`
	_ "math/cmplx"    // want `importing math/cmplx is refused`
	_ "math/rand"     // want `importing math/rand is refused`
	_ "math/rand/v2"  // want `importing math/rand/v2 is refused`
	_ "net"           // want `importing net is refused`
	_ "net/http"      // want `importing net/http is refused`
	env "os"          // want `importing os is refused: it reads the machine's environment`
	_ "os/exec"       // want `importing os/exec is refused`
	_ "plugin"        // want `importing plugin is refused`
	_ "runtime/debug" // want `importing runtime/debug is refused`
	_ "syscall"       // want `importing syscall is refused`
	_ "testing"       // want `importing testing is refused`
	_ "unsafe"        // want `importing unsafe is refused`

	_ "crypto/sha256"
	_ "encoding/binary"
	_ "math/big"
	_ "math/bits"
	_ "net/netip"
	_ "net/url"
)

// The import was reported; its uses are not reported again.
var (
	home  = env.Getenv("HOME")
	_, ok = env.LookupEnv("HOME")
	all   = env.Environ()
)
