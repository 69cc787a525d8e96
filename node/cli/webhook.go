package cli

import (
	"bufio"
	"bytes"
	"net/http"
	"net/textproto"

	"github.com/spf13/cobra"

	"github.com/chancery/chancery/node/webhook"
)

func (a *app) webhookCommand() *cobra.Command {
	c := &cobra.Command{
		Use:     "webhook",
		Short:   "Check what a node posts to webhooks",
		Long:    lines("A node posts events to URLs that its configuration names; docs/webhooks.md says how."),
		Example: examples("chancery webhook verify --secret-file secret < request.txt"),
	}
	c.AddCommand(a.webhookVerify())
	return c
}

func (a *app) webhookVerify() *cobra.Command {
	var secretFile string
	var anyTime bool
	c := &cobra.Command{
		Use:   "verify",
		Short: "Check the signature of a request against a secret",
		Long: lines(
			"Reads a request from standard input: its headers, a line each, an empty line, and the",
			"body to the end, byte by byte. It is signed with Standard Webhooks (HMAC-SHA256) when",
			"one signature of webhook-signature fits one of the secrets, and webhook-timestamp is not",
			"further from now than five minutes. Exit code 1 says that it is not.",
		),
		Example: examples(
			"chancery webhook verify --secret-file secret < request.txt",
			"chancery webhook verify --secret-file secret --any-time < yesterday.txt",
		),
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if secretFile == "" {
				return usagef("--secret-file is missing; name a file with a secret a line, each as whsec_ and base64")
			}
			secrets, err := webhook.ReadSecrets(secretFile)
			if err != nil {
				return errFile.Wrap(err)
			}
			raw, err := a.read("-")
			if err != nil {
				return err
			}
			headers, body, err := request(raw)
			if err != nil {
				return err
			}
			if err := webhook.Verify(headers, body, secrets, anyTime); err != nil {
				return sentence(errFile, "the request does not verify: %v", err)
			}
			return a.print(facts{{"verified", true}, {"id", headers.Get("webhook-id")}, {"timestamp", headers.Get("webhook-timestamp")}, {"bytes", len(body)}})
		},
	}
	c.Flags().StringVar(&secretFile, "secret-file", "", "file with a secret a line; empty lines and those that begin with # are left out")
	c.Flags().BoolVar(&anyTime, "any-time", false, "do not look at how old the request is")
	return c
}

// request is the headers and the body of a request as text. A request line before the
// headers is left out.
func request(raw []byte) (http.Header, []byte, error) {
	if line, rest, ok := bytes.Cut(raw, []byte("\n")); ok && bytes.HasPrefix(line, []byte("POST ")) {
		raw = rest
	}
	under := bytes.NewReader(raw)
	r := bufio.NewReader(under)
	headers, err := textproto.NewReader(r).ReadMIMEHeader()
	if err != nil {
		return nil, nil, sentence(errFile, "the headers of the request cannot be read: %v; they are a line each, with an empty line after them", err)
	}
	left := under.Len() + r.Buffered()
	return http.Header(headers), raw[len(raw)-left:], nil
}
