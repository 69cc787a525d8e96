package client

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain/errs"
	nodev1 "github.com/chancery/chancery/proto/chancery/node/v1"
)

func TestDialSaysThatNobodyAnswers(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	for _, a := range []string{address, address + ", " + address} {
		_, err = Dial(t.Context(), a)
		if !errors.Is(err, ErrUnreachable) || !strings.Contains(err.Error(), "connection refused") || strings.Contains(err.Error(), "desc =") {
			t.Errorf("%v", err)
		}
	}
	for _, a := range []string{"", "mercy", ":9090", "127.0.0.1:9090,"} {
		if _, err := Dial(t.Context(), a); !errors.Is(err, ErrAddress) {
			t.Errorf("%q: %v", a, err)
		}
	}
}

func TestACallGoesToTheNextNodeWhenOneIsGone(t *testing.T) {
	one, two := serve(t, &fake{}), serve(t, &fake{})
	c := dialFake(t, one.address+","+two.address)
	if c.Address() != one.address || c.ChainID() != testChain {
		t.Fatalf("%s, %s", c.Address(), c.ChainID())
	}
	one.server.Stop()
	if _, err := do(t.Context(), t, c); err != nil {
		t.Fatal(err)
	}
	if c.Address() != two.address || len(two.got()) != 1 {
		t.Errorf("%s; the second node got %d", c.Address(), len(two.got()))
	}
	two.server.Stop()
	if _, err := c.Status(t.Context()); !errors.Is(err, ErrUnreachable) {
		t.Errorf("%v", err)
	}
}

func TestDialTakesTheFirstNodeThatAnswers(t *testing.T) {
	gone, here := serve(t, &fake{}), serve(t, &fake{})
	gone.server.Stop()
	if c := dialFake(t, gone.address+","+here.address); c.Address() != here.address {
		t.Errorf("%s", c.Address())
	}
}

func TestNodesOfAnotherChainAreRefused(t *testing.T) {
	ours, theirs := serve(t, &fake{}), serve(t, &fake{chain: "theirs"})
	if _, err := Dial(t.Context(), theirs.address, ChainID(testChain)); !errors.Is(err, ErrWrongChain) {
		t.Errorf("at the first call: %v", err)
	}
	c := dialFake(t, ours.address+","+theirs.address)
	ours.server.Stop()
	if _, err := c.Status(t.Context()); !errors.Is(err, ErrWrongChain) {
		t.Errorf("at the second node: %v", err)
	}
}

func TestProveTurnsAQueryIntoOneWithAReceipt(t *testing.T) {
	absent := &errs.Error{Module: "consent", Code: 3, Text: "there is no such record"}
	var got *nodev1.ProveRequest
	refuseIt := false
	f := serve(t, &fake{prove: func(r *nodev1.ProveRequest) (*nodev1.ProveResponse, error) {
		got = r
		out := &nodev1.ProveResponse{Receipt: []byte("proof"), Height: 5}
		if refuseIt {
			out.Code, out.Codespace, out.Log = absent.Code, absent.Module, absent.Error()
			return out, nil
		}
		raw, err := proto.Marshal(&nodev1.StatusResponse{Moniker: "proven"})
		out.Response = raw
		return out, err
	}})
	c := dialFake(t, f.address)
	var r Receipt
	ask := func() (*nodev1.StatusResponse, error) {
		return nodev1.NewNodeClient(c.Conn()).Status(Prove(AtHeight(t.Context(), 5), &r), &nodev1.StatusRequest{})
	}
	answer, err := ask()
	if err != nil || answer.Moniker != "proven" || string(r.Bytes) != "proof" || r.Height != 5 {
		t.Fatalf("%v, %v, %v", answer, r, err)
	}
	if got.Method != nodev1.Node_Status_FullMethodName || got.Height != 5 {
		t.Errorf("asked %v", got)
	}
	// Without a height, the node's latest is asked for, so that what was just committed
	// is not proven absent.
	if _, err := nodev1.NewNodeClient(c.Conn()).Status(Prove(t.Context(), new(Receipt)), &nodev1.StatusRequest{}); err != nil || got.Height != 7 {
		t.Errorf("%v, asked %v", err, got)
	}
	// The absence of a record is proven too.
	refuseIt, r = true, Receipt{}
	if _, err := ask(); !errors.Is(err, absent) || len(r.Bytes) == 0 {
		t.Errorf("%v, %v", r, err)
	}
}

func TestErrorsOfGRPCHaveACode(t *testing.T) {
	for _, c := range []struct {
		err  error
		want *errs.Error
	}{
		{status.Error(codes.Unavailable, "x"), ErrUnreachable},
		{status.Error(codes.DeadlineExceeded, "x"), ErrTimeout},
		{context.DeadlineExceeded, ErrTimeout},
		{status.Error(codes.Unimplemented, "x"), &errs.Error{Module: "grpc", Code: 12}},
		{refuse(&errs.Error{Module: "a", Code: 7, Text: "t", Detail: "d"}, codes.Internal), &errs.Error{Module: "a", Code: 7}},
	} {
		if got := FromStatus(c.err); !errors.Is(got, c.want) {
			t.Errorf("%v: %v", c.err, got)
		}
	}
	if FromStatus(nil) != nil {
		t.Error("nil is an error")
	}
	own := ErrStream.With("x")
	if FromStatus(own) != error(own) {
		t.Error("an error of our own is wrapped")
	}
}

// authority makes certificates.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	dir  string
}

func newAuthority(t *testing.T) *authority {
	a := &authority{t: t, dir: t.TempDir()}
	a.cert, a.key = a.make("ca", nil, nil)
	return a
}

func (a *authority) path(name string) string { return filepath.Join(a.dir, name) }

func (a *authority) make(name string, parent *x509.Certificate, by *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: parent == nil, BasicConstraintsValid: true,
	}
	if parent == nil {
		parent, by = c, key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, by)
	if err != nil {
		a.t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{
		name + ".crt": {Type: "CERTIFICATE", Bytes: der}, name + ".key": {Type: "PRIVATE KEY", Bytes: private},
	} {
		if err := os.WriteFile(a.path(file), pem.EncodeToMemory(block), 0o600); err != nil {
			a.t.Fatal(err)
		}
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return parsed, key
}

func TestMutualTLS(t *testing.T) {
	ca := newAuthority(t)
	ca.make("server", ca.cert, ca.key)
	ca.make("me", ca.cert, ca.key)
	pair, err := tls.LoadX509KeyPair(ca.path("server.crt"), ca.path("server.key"))
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(ca.cert)
	f := serve(t, &fake{}, grpc.Creds(credentials.NewTLS(&tls.Config{
		Certificates: []tls.Certificate{pair}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert,
	})))
	good, err := TLSFiles(ca.path("ca.crt"), ca.path("me.crt"), ca.path("me.key"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := do(t.Context(), t, dialFake(t, f.address, TLS(good))); err != nil {
		t.Error(err)
	}
	nobody, err := TLSFiles(ca.path("ca.crt"), "", "")
	if err != nil {
		t.Fatal(err)
	}
	stranger, err := TLSFiles("", ca.path("me.crt"), ca.path("me.key"))
	if err != nil {
		t.Fatal(err)
	}
	for name, o := range map[string][]Option{"in the clear": nil, "without a certificate": {TLS(nobody)}, "an unknown server": {TLS(stranger)}} {
		if _, err := Dial(t.Context(), f.address, o...); !errors.Is(err, ErrUnreachable) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, files := range map[string][3]string{
		"no authorities": {ca.path("none"), "", ""}, "half a pair": {"", ca.path("me.crt"), ""},
		"a key as certificate": {"", ca.path("me.key"), ca.path("me.key")}, "a key as authority": {ca.path("me.key"), "", ""},
	} {
		if _, err := TLSFiles(files[0], files[1], files[2]); !errors.Is(err, ErrTLS) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A node that is full closes a connection at once, which gRPC reports in terms of
// its protocol.
func TestAConnectionThatIsClosedAtOnceIsExplained(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_ = c.Close()
		}
	}()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	_, err = Dial(ctx, l.Addr().String(), Backoff(time.Millisecond, 10*time.Millisecond))
	if !errors.Is(err, ErrUnreachable) || !strings.Contains(err.Error(), "as many connections as it takes") {
		t.Errorf("%v", err)
	}
}
