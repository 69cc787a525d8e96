package cli

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/chancery/chancery/node/certs"
)

func (a *app) certsCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "certs",
		Short: "Make and show the certificates of a node's door",
		Long: lines(
			"Makes what a small consortium needs so that clients and nodes know each other: an",
			"authority for an organisation, certificates for its servers, and certificates for its",
			"clients, which name a DID. See docs/doors.md.",
		),
	}
	c.AddCommand(a.certsCA(), a.certsIssue(), a.certsShow())
	return c
}

func (a *app) certsCA() *cobra.Command {
	var out, name string
	days := int(certs.AuthorityLife / (24 * time.Hour))
	c := &cobra.Command{
		Use:   "ca",
		Short: "Make an organisation's certificate authority",
		Long: lines(
			"Makes an authority: OUT.pem is its certificate, OUT-key.pem its key, OUT.der its",
			"certificate as the chain takes it (identity set-authorities --certificates @OUT.der).",
			"Keep the key off the nodes. Nothing that exists is overwritten.",
		),
		Example: examples("chancery certs ca --name 'Mercy clients 2026' --out mercy-ca"),
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if out == "" || name == "" || days < 1 || days > 7300 {
				return usagef("give --out, --name, and --days of 1 to 7300")
			}
			ca, cert, key, err := certs.NewAuthority(name, now(), time.Duration(days)*24*time.Hour)
			if err != nil {
				return errNotSaved.Wrap(err)
			}
			if err := a.savePair(out, cert, key); err != nil {
				return err
			}
			if err := create(out+".der", ca.Certificate.Raw, 0o644); err != nil {
				return err
			}
			return a.print(append(facts{{"certificate", out + ".pem"}, {"key", out + "-key.pem"}, {"for the chain", out + ".der"}}, described(ca.Certificate)...))
		},
	}
	c.Flags().StringVar(&out, "out", "", "what the files' names begin with")
	c.Flags().StringVar(&name, "name", "", "the authority's name for people")
	c.Flags().IntVar(&days, "days", days, "how many days it holds")
	return c
}

func (a *app) certsIssue() *cobra.Command {
	var ca, out, name, holder string
	var hosts []string
	days := int(certs.Life / (24 * time.Hour))
	c := &cobra.Command{
		Use:   "issue",
		Short: "Issue a certificate for a server or a client",
		Long: lines(
			"Issues a certificate with a new key, OUT.pem and OUT-key.pem: for a client with --did,",
			"for a server with --host, for an administrator of a node (rpc.client_ca) with neither.",
			"Nothing that exists is overwritten.",
		),
		Example: examples(
			"chancery certs issue --ca mercy-ca --did did:chancery:mercy:desk --out desk",
			"chancery certs issue --ca mercy-ca --host node.mercy.example --host 10.1.2.3 --out server",
		),
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			switch {
			case ca == "" || out == "" || days < 1 || days > 825:
				return usagef("give --ca, --out, and --days of 1 to 825")
			case holder != "" && len(hosts) > 0:
				return usagef("--did is for a client and --host for a server; give one of them")
			}
			cert, err := a.read(ca + ".pem")
			if err != nil {
				return err
			}
			key, err := a.read(ca + "-key.pem")
			if err != nil {
				return err
			}
			authority, err := certs.ReadAuthority(cert, key)
			if err != nil {
				return errFile.Wrap(err)
			}
			if name == "" {
				name = strings.Join(append(hosts, holder), " ")
			}
			made, secret, err := authority.Issue(certs.Request{Name: strings.TrimSpace(name), DID: holder, Hosts: hosts, At: now(), Life: time.Duration(days) * 24 * time.Hour})
			if err != nil {
				return usagef("%v", err)
			}
			if err := a.savePair(out, made, secret); err != nil {
				return err
			}
			c, err := certs.Parse(made)
			if err != nil {
				return errFile.Wrap(err)
			}
			return a.print(append(facts{{"certificate", out + ".pem"}, {"key", out + "-key.pem"}}, described(c)...))
		},
	}
	c.Flags().StringVar(&ca, "ca", "", "what the names of the authority's files begin with")
	c.Flags().StringVar(&out, "out", "", "what the files' names begin with")
	c.Flags().StringVar(&name, "name", "", "a name for people")
	c.Flags().StringVar(&holder, "did", "", "DID that a client acts for")
	c.Flags().StringArrayVar(&hosts, "host", nil, "name or address of a server; may be given again")
	c.Flags().IntVar(&days, "days", days, "how many days it holds, not longer than the authority")
	return c
}

// savePair writes a certificate and its key, neither over a file that exists.
func (a *app) savePair(out string, cert, key []byte) error {
	for _, path := range []string{out + ".pem", out + "-key.pem", out + ".der"} {
		if _, err := os.Lstat(path); err == nil {
			return sentence(errNotSaved, "%s exists already; name another with --out or remove it", path)
		}
	}
	if err := create(out+"-key.pem", key, 0o600); err != nil {
		return err
	}
	return create(out+".pem", cert, 0o644)
}

func (a *app) certsShow() *cobra.Command {
	return &cobra.Command{
		Use:     "show FILE",
		Short:   "Show what a certificate says",
		Long:    "Shows the first certificate of a file, PEM or DER: whose it is, when it ends, and what\nidentity revoke-certificate asks for.",
		Example: examples("chancery certs show desk.pem"),
		Args:    cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			raw, err := a.read(args[0])
			if err != nil {
				return err
			}
			var c *x509.Certificate
			if b, _ := pem.Decode(raw); b != nil {
				c, err = certs.Parse(raw)
			} else {
				c, err = x509.ParseCertificate(raw)
			}
			if err != nil {
				return sentence(errFile, "%s: %v", args[0], err)
			}
			return a.print(described(c))
		},
	}
}

// described is what a certificate says.
func described(c *x509.Certificate) facts {
	f := sha256.Sum256(c.Raw)
	use := "client"
	switch {
	case c.IsCA:
		use = "authority"
	case len(c.DNSNames)+len(c.IPAddresses) > 0:
		use = "server"
	}
	out := facts{{"use", use}, {"name", c.Subject.CommonName}, {"issuer", c.Issuer.CommonName}}
	for _, u := range c.URIs {
		out = append(out, facts{{"did", u.String()}}...)
	}
	if use == "server" {
		hosts := append([]string{}, c.DNSNames...)
		for _, ip := range c.IPAddresses {
			hosts = append(hosts, ip.String())
		}
		out = append(out, facts{{"hosts", strings.Join(hosts, ", ")}}...)
	}
	left := ""
	if days := certs.Alarm(c.NotAfter, now()); days == 0 {
		left = " (ended)"
	} else if days > 0 {
		left = fmt.Sprintf(" (in less than %d days)", days)
	}
	return append(out, facts{
		{"from", c.NotBefore.UTC().Format(time.RFC3339)}, {"until", c.NotAfter.UTC().Format(time.RFC3339) + left},
		{"serial", hex.EncodeToString(c.SerialNumber.Bytes())}, {"fingerprint", hex.EncodeToString(f[:])},
	}...)
}
