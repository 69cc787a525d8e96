package signer

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/cometbft/cometbft/crypto"
	"github.com/cometbft/cometbft/libs/protoio"
	"github.com/cometbft/cometbft/p2p"
	"github.com/cometbft/cometbft/p2p/conn"
	privvalproto "github.com/cometbft/cometbft/proto/tendermint/privval"
	"github.com/cometbft/cometbft/types"
)

// handshakeTime is how long the two sides of a new connection may take to know each other.
const handshakeTime = 3 * time.Second

// maxMessage bounds a message: a vote with the largest extension and two signatures.
var maxMessage = types.MaxVoteExtensionSize + 2*types.MaxSignatureSize + 1024

// ErrAddress says that an address is of no form that is known.
var ErrAddress = errors.New("write unix:///PATH or tcp://HOST:PORT")

// SplitAddress is the network and the path or host:port of an address.
func SplitAddress(address string) (network, where string, err error) {
	network, where, ok := strings.Cut(address, "://")
	switch {
	case !ok || where == "":
	case network == "unix":
		return network, where, nil
	case network == "tcp":
		if host, port, err := net.SplitHostPort(where); err == nil && host != "" && port != "" {
			return network, where, nil
		}
	}
	return "", "", fmt.Errorf("%q is no address of a signer: %w", address, ErrAddress)
}

// authenticate encrypts a connection and makes sure of who is at its other end.
func authenticate(c net.Conn, own crypto.PrivKey, other p2p.ID) (net.Conn, error) {
	if err := c.SetDeadline(time.Now().Add(handshakeTime)); err != nil {
		return nil, err
	}
	secret, err := conn.MakeSecretConnection(c, own)
	if err != nil {
		return nil, err
	}
	if id := p2p.PubKeyToID(secret.RemotePubKey()); id != other {
		return nil, fmt.Errorf("the other side has the key of %s, want %s", id, other)
	}
	return secret, secret.SetDeadline(time.Time{})
}

func send(c net.Conn, m *privvalproto.Message, deadline time.Time) error {
	if err := c.SetWriteDeadline(deadline); err != nil {
		return err
	}
	_, err := protoio.NewDelimitedWriter(c).WriteMsg(m)
	return err
}

func receive(c net.Conn, deadline time.Time) (*privvalproto.Message, error) {
	if err := c.SetReadDeadline(deadline); err != nil {
		return nil, err
	}
	m := new(privvalproto.Message)
	if _, err := protoio.NewDelimitedReader(c, maxMessage).ReadMsg(m); err != nil {
		return nil, err
	}
	return m, nil
}
