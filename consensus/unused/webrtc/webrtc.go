// Package webrtc has the names that go-libp2p's transport by WebRTC compiles with, and
// makes no connection. No node uses that transport.
package webrtc

import (
	"crypto"
	"crypto/x509"
	"errors"
	"time"

	"github.com/pion/datachannel"
	"github.com/pion/ice/v4"
	"github.com/pion/logging"
)

// ErrLeftOut answers whoever asks for a connection.
var ErrLeftOut = errors.New("this program is built without WebRTC; use another transport")

// Certificate is a peer's.
type Certificate struct{}

// CertificateFromX509 is a certificate that is never shown.
func CertificateFromX509(crypto.PrivateKey, *x509.Certificate) Certificate { return Certificate{} }

// DTLSFingerprint is the hash of a certificate.
type DTLSFingerprint struct{ Algorithm, Value string }

// GetFingerprints are none.
func (Certificate) GetFingerprints() ([]DTLSFingerprint, error) { return nil, ErrLeftOut }

// Configuration is a connection's.
type Configuration struct{ Certificates []Certificate }

// DTLSRole says who begins.
type DTLSRole byte

// DTLSRoleServer lets the other begin.
const DTLSRoleServer DTLSRole = 2

// PeerConnectionState is how a connection is.
type PeerConnectionState int

// The states of a connection.
const (
	PeerConnectionStateConnected PeerConnectionState = iota + 3
	PeerConnectionStateDisconnected
	PeerConnectionStateFailed
	PeerConnectionStateClosed
)

// SDPType is what a description is.
type SDPType int

// The descriptions of a session.
const (
	SDPTypeOffer  SDPType = 1
	SDPTypeAnswer SDPType = 3
)

// SessionDescription describes a session.
type SessionDescription struct {
	Type SDPType
	SDP  string
}

// SettingEngine has settings, which change nothing.
type SettingEngine struct{ LoggerFactory logging.LoggerFactory }

// DetachDataChannels changes nothing, as do the settings below.
func (*SettingEngine) DetachDataChannels() {}

// DisableCertificateFingerprintVerification changes nothing.
func (*SettingEngine) DisableCertificateFingerprintVerification(bool) {}

// SetAnsweringDTLSRole changes nothing.
func (*SettingEngine) SetAnsweringDTLSRole(DTLSRole) error { return nil }

// SetICECredentials changes nothing.
func (*SettingEngine) SetICECredentials(string, string) {}

// SetICETimeouts changes nothing.
func (*SettingEngine) SetICETimeouts(time.Duration, time.Duration, time.Duration) {}

// SetICEUDPMux changes nothing.
func (*SettingEngine) SetICEUDPMux(ice.UDPMux) {}

// SetIncludeLoopbackCandidate changes nothing.
func (*SettingEngine) SetIncludeLoopbackCandidate(bool) {}

// SetLite changes nothing.
func (*SettingEngine) SetLite(bool) {}

// SetPrflxAcceptanceMinWait changes nothing.
func (*SettingEngine) SetPrflxAcceptanceMinWait(time.Duration) {}

// SetReceiveMTU changes nothing.
func (*SettingEngine) SetReceiveMTU(uint) {}

// SetSCTPMaxReceiveBufferSize changes nothing.
func (*SettingEngine) SetSCTPMaxReceiveBufferSize(uint32) {}

// API makes connections.
type API struct{}

// Option is an API's.
type Option func(*API)

// WithSettingEngine changes nothing.
func WithSettingEngine(SettingEngine) Option { return func(*API) {} }

// NewAPI makes one.
func NewAPI(...Option) *API { return &API{} }

// NewPeerConnection gives ErrLeftOut.
func (*API) NewPeerConnection(Configuration) (*PeerConnection, error) { return nil, ErrLeftOut }

// PeerConnection is a connection. None can be made.
type PeerConnection struct{}

// Close does nothing.
func (*PeerConnection) Close() error { return nil }

// ConnectionState is closed.
func (*PeerConnection) ConnectionState() PeerConnectionState { return PeerConnectionStateClosed }

// CreateAnswer gives ErrLeftOut.
func (*PeerConnection) CreateAnswer(*AnswerOptions) (SessionDescription, error) {
	return SessionDescription{}, ErrLeftOut
}

// CreateOffer gives ErrLeftOut.
func (*PeerConnection) CreateOffer(*OfferOptions) (SessionDescription, error) {
	return SessionDescription{}, ErrLeftOut
}

// CreateDataChannel gives ErrLeftOut.
func (*PeerConnection) CreateDataChannel(string, *DataChannelInit) (*DataChannel, error) {
	return nil, ErrLeftOut
}

// OnConnectionStateChange never calls.
func (*PeerConnection) OnConnectionStateChange(func(PeerConnectionState)) {}

// OnDataChannel never calls.
func (*PeerConnection) OnDataChannel(func(*DataChannel)) {}

// SCTP is the connection's.
func (*PeerConnection) SCTP() *SCTPTransport { return &SCTPTransport{} }

// SetLocalDescription gives ErrLeftOut.
func (*PeerConnection) SetLocalDescription(SessionDescription) error { return ErrLeftOut }

// SetRemoteDescription gives ErrLeftOut.
func (*PeerConnection) SetRemoteDescription(SessionDescription) error { return ErrLeftOut }

// AnswerOptions are none.
type AnswerOptions struct{}

// OfferOptions are none.
type OfferOptions struct{}

// SCTPTransport carries channels.
type SCTPTransport struct{}

// OnClose never calls.
func (*SCTPTransport) OnClose(func(error)) {}

// Transport is what carries it.
func (*SCTPTransport) Transport() *DTLSTransport { return &DTLSTransport{} }

// DTLSTransport is encrypted.
type DTLSTransport struct{}

// GetRemoteCertificate is none.
func (*DTLSTransport) GetRemoteCertificate() []byte { return nil }

// DataChannelInit says how a channel is.
type DataChannelInit struct {
	ID         *uint16
	Negotiated *bool
}

// DataChannel is a channel. None can be made.
type DataChannel struct{}

// Close does nothing.
func (*DataChannel) Close() error { return nil }

// Detach gives ErrLeftOut.
func (*DataChannel) Detach() (datachannel.ReadWriteCloser, error) { return nil, ErrLeftOut }

// ID is 0.
func (*DataChannel) ID() *uint16 { return new(uint16) }

// OnOpen never calls.
func (*DataChannel) OnOpen(func()) {}

// Transport is what carries it.
func (*DataChannel) Transport() *SCTPTransport { return &SCTPTransport{} }

// ICETransport is what carries it.
func (*DTLSTransport) ICETransport() *ICETransport { return &ICETransport{} }

// ICETransport finds a way to the other.
type ICETransport struct{}

// GetSelectedCandidatePair gives ErrLeftOut.
func (*ICETransport) GetSelectedCandidatePair() (*ICECandidatePair, error) { return nil, ErrLeftOut }

// ICECandidatePair is a way between two addresses.
type ICECandidatePair struct{ Local, Remote *ICECandidate }

// ICECandidate is an address.
type ICECandidate struct {
	Address string
	Port    uint16
}
