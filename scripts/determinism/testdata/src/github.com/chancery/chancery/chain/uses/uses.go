package uses

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"reflect"
	"runtime"
)

func refused(x *int, r io.Reader, key *ecdsa.PrivateKey) error {
	_ = runtime.NumCPU()               // want `runtime.NumCPU is refused`
	_ = runtime.GOMAXPROCS(0)          // want `runtime.GOMAXPROCS is refused`
	_ = runtime.GOARCH                 // want `runtime.GOARCH is refused`
	_ = fmt.Sprintf("%p", x)           // want `%p is refused: an address differs between validators`
	_ = fmt.Errorf("at %-4p", x)       // want `%p is refused`
	_ = failf("%d%%%[1]p", x)          // want `%p is refused`
	fmt.Println("here")                // want `fmt.Println is refused`
	println("here")                    // want `println is refused`
	_ = reflect.ValueOf(x).Pointer()   // want `reflect.Value.Pointer is refused`
	_, _, _ = ed25519.GenerateKey(r)   // want `ed25519.GenerateKey is refused: it draws randomness of its own`
	_, _ = ecdsa.SignASN1(r, key, nil) // want `ecdsa.SignASN1 is refused`
	return nil
}

func failf(format string, args ...any) error { return fmt.Errorf(format, args...) }

func allowed(key ed25519.PublicKey, n int) (err error) {
	defer func() {
		var fault runtime.Error
		if e, ok := recover().(error); ok && errors.As(e, &fault) {
			err = e
		}
	}()
	_ = ed25519.Verify(key, nil, nil)
	_ = fmt.Sprintf("100%% of %d %s", n, "%p")
	return failf("%v", n)
}
