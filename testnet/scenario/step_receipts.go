package scenario

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"math/big"
	"os"
	"path/filepath"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/chancery/chancery/node/client"
	accessv1 "github.com/chancery/chancery/proto/chancery/access/v1"
	consentv1 "github.com/chancery/chancery/proto/chancery/consent/v1"
	provenancev1 "github.com/chancery/chancery/proto/chancery/provenance/v1"
	threatv1 "github.com/chancery/chancery/proto/chancery/threat/v1"
)

// receipts writes what proves the demonstration's results and has each verified by
// the program, with nothing but the genesis file.
func (r *run) receipts(ctx context.Context) error {
	if err := os.MkdirAll(r.o.Receipts, 0o700); err != nil {
		return fmt.Errorf("make the folder of receipts: %w", err)
	}
	// The header that holds a state's root is that of the next block.
	if err := reach(ctx, r.c, r.facts.latest+1); err != nil {
		return err
	}
	ctx = client.AtHeight(ctx, r.facts.latest)
	decisions := accessv1.NewQueryClient(r.c.Conn())
	consents := consentv1.NewQueryClient(r.c.Conn())
	entities := provenancev1.NewQueryClient(r.c.Conn())
	decision := func(id []byte) func(context.Context) error {
		return func(ctx context.Context) error {
			_, err := decisions.Decision(ctx, &accessv1.DecisionRequest{Id: id})
			return err
		}
	}
	holds := threatv1.NewQueryClient(r.c.Conn())
	stranger := make([]byte, 32)
	rand.Read(stranger) // never fails: it ends the process instead
	type wanted struct {
		name   string
		absent bool
		query  func(context.Context) error
	}
	all := []wanted{
		{"decision-allowed", false, decision(r.facts.allowed)},
		{"decision-denied", false, decision(r.facts.denied)},
		{"decision-flipped", false, decision(r.facts.flipped)},
		{"consent", false, func(ctx context.Context) error {
			_, err := consents.Consent(ctx, &consentv1.ConsentRequest{Id: r.facts.consent})
			return err
		}},
		{"provenance-entity", false, func(ctx context.Context) error {
			_, err := entities.Entity(ctx, &provenancev1.NodeRequest{Organisation: r.cast.pharma.Organisation, Id: r.facts.entity})
			return err
		}},
		{"consent-absent", true, func(ctx context.Context) error {
			_, err := consents.Dossier(ctx, &consentv1.DossierRequest{Subject: stranger, Controller: r.cast.hospital.Organisation})
			return err
		}},
	}
	if len(r.facts.held) > 0 {
		all = append(all, wanted{"transaction-held", false, func(ctx context.Context) error {
			_, err := holds.Hold(ctx, &threatv1.HoldRequest{TxId: r.facts.held})
			return err
		}})
	}
	for _, w := range all {
		if err := r.receipt(ctx, w.name, w.absent, w.query); err != nil {
			return fmt.Errorf("%s: %w", w.name, err)
		}
	}
	r.note("%d receipts verified offline with the genesis file alone; with one bit flipped each was refused", len(r.result.Receipts))
	return nil
}

// receipt proves a query, writes the receipt and has it verified; a copy with one
// bit flipped must be refused.
func (r *run) receipt(ctx context.Context, name string, absent bool, query func(context.Context) error) error {
	var proof client.Receipt
	err := query(client.Prove(ctx, &proof))
	if s, ok := status.FromError(err); absent && ok && s.Code() == codes.NotFound {
		err = nil
	} else if absent && err == nil {
		return errors.New("there is a record; there should be none")
	}
	// Absence is refused by the module's own error, which a client that proves sees
	// as such.
	if absent && len(proof.Bytes) > 0 {
		err = nil
	}
	if err != nil {
		return err
	}
	if len(proof.Bytes) == 0 {
		return errors.New("the node returned no receipt")
	}
	path := filepath.Join(r.o.Receipts, name+".receipt")
	if err := os.WriteFile(path, proof.Bytes, 0o600); err != nil {
		return fmt.Errorf("write the receipt: %w", err)
	}
	if out, err := r.program(ctx, "verify", path, "--kind", "receipt", "--genesis", r.o.Genesis); err != nil {
		return fmt.Errorf("verify the receipt: %w: %s", err, out)
	}
	spoilt := bytes.Clone(proof.Bytes)
	bit, err := rand.Int(rand.Reader, big.NewInt(int64(8*len(spoilt))))
	if err != nil {
		return fmt.Errorf("choose a bit: %w", err)
	}
	spoilt[bit.Int64()/8] ^= 1 << (bit.Int64() % 8)
	spoiltPath := filepath.Join(r.o.Receipts, "."+name+".spoilt")
	if err := os.WriteFile(spoiltPath, spoilt, 0o600); err != nil {
		return fmt.Errorf("write the spoilt copy: %w", err)
	}
	defer func() { _ = os.Remove(spoiltPath) }()
	if out, err := r.program(ctx, "verify", spoiltPath, "--kind", "receipt", "--genesis", r.o.Genesis); !refused(err) {
		return fmt.Errorf("a copy with bit %d flipped was not refused (%v): %s", bit, err, out)
	}
	r.result.Receipts = append(r.result.Receipts, path)
	return nil
}
