package detector

import (
	"bytes"
	"crypto/sha256"
	"errors"

	threatv1 "github.com/chancery/chancery/proto/chancery/threat/v1"
)

type Detector struct {
	d *threatv1.Detector
}

func Decode(raw []byte) (*Detector, error) {
	d := new(threatv1.Detector)
	if err := d.UnmarshalVT(raw); err != nil {
		return nil, err
	}
	again, err := d.MarshalVT()
	if err != nil || !bytes.Equal(again, raw) || d.Format != 1 {
		return nil, errors.New("detector: not canonical")
	}
	return &Detector{d: d}, nil
}

func Default() []byte {
	raw, _ := (&threatv1.Detector{Format: 1, Name: "default", TickMs: 1000, CardHash: bytes.Repeat([]byte{1}, 32)}).MarshalVT()
	return raw
}
func (d *Detector) Name() string     { return d.d.Name }
func (d *Detector) CardHash() []byte { return d.d.CardHash }
func (d *Detector) Hash() [32]byte   { raw, _ := d.d.MarshalVT(); return sha256.Sum256(raw) }
func (d *Detector) MaxWork() uint64  { return 5000 }
