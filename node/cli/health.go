package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/chancery/chancery/node/config"
	"github.com/chancery/chancery/node/telemetry"
)

const (
	// healthPatience is how long a node has to say how it is.
	healthPatience = 2 * time.Second
	maxHealth      = 64 << 10 // bytes of its answer
)

func (a *app) healthCommand() *cobra.Command {
	live := false
	c := &cobra.Command{
		Use:   "health",
		Short: "Tell whether the node of the home is healthy, for a supervisor",
		Long: lines(
			"Asks the node of the home folder, at its telemetry listener on this machine, how it is.",
			"The answer is one word and the reason: healthy, catching-up, waiting (no block comes, most",
			"often since too few other validators are online: it mends itself), stuck (no block comes,",
			"although peers have more), halted (consensus has ended by a fault and the process is about",
			"to end) or silent (the node does not answer).",
			"",
			"The exit code is 0 or 1, within 2 seconds: 0 when the node takes part, and with --live",
			"also while it waits, since a node that waits for others is not mended by a restart.",
		),
		Example: examples(
			"chancery health --home /var/lib/chancery",
			"chancery health --live || echo restart it",
		),
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			h, err := a.health(cmd.Context())
			if err != nil {
				return err
			}
			state, good := string(h.State), goodEnough(h.State, live)
			reason := h.Reason
			if reason == "" {
				reason = fmt.Sprintf("the latest block is %s old", (time.Duration(h.BlockAgeMs) * time.Millisecond).Round(100*time.Millisecond))
			}
			if err := a.print(facts{{"state", state}, {"height", h.Height}, {"peers", h.Peers}, {"reason", reason}}); err != nil || good {
				return err
			}
			return silent{sentence(errSick, "the node is %s: %s", state, reason)}
		},
	}
	c.Flags().BoolVar(&live, "live", false, "exit with 0 also while the node waits for other validators")
	return c
}

// goodEnough tells whether a state is one that a supervisor may leave alone. A node that
// waits for others is not mended by a restart.
func goodEnough(s telemetry.State, live bool) bool {
	switch s {
	case telemetry.Healthy, telemetry.CatchingUp:
		return true
	case telemetry.Waiting, telemetry.Stuck:
		return live
	}
	return false
}

// health asks the node of the home folder.
func (a *app) health(ctx context.Context) (*telemetry.Health, error) {
	h := new(telemetry.Health)
	if err := a.askTelemetry(ctx, http.MethodGet, "/health", "", h); err != nil {
		return nil, err
	}
	if h.State == "" {
		return nil, sentence(errSick, "the node is silent: what answers is no node's health")
	}
	return h, nil
}

// askTelemetry asks the node of the home folder at its telemetry listener, and decodes its
// answer.
func (a *app) askTelemetry(ctx context.Context, method, path, body string, into any) error {
	overrides, err := a.overrides(nil)
	if err != nil {
		return err
	}
	c, err := config.Load(a.homeDir(), overrides...)
	if err != nil {
		return errHome.Wrap(err)
	}
	if c.Telemetry.Listen == "" {
		return sentence(errHome, "telemetry.listen is empty in %s, so nobody can be asked; set it", a.homeDir().ConfigFile())
	}
	ctx, cancel := context.WithTimeout(ctx, healthPatience)
	defer cancel()
	unanswered := func(why any) error {
		return sentence(errSick, "the node is silent: %v", why)
	}
	request, err := http.NewRequestWithContext(ctx, method, "http://"+c.Telemetry.Listen+path, strings.NewReader(body))
	if err != nil {
		return unanswered(err)
	}
	// No proxy stands between a process and its own machine.
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	answer, err := client.Do(request)
	if err != nil {
		return unanswered(err)
	}
	defer answer.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(answer.Body, maxHealth))
	if err != nil {
		return unanswered(err)
	}
	if err := json.Unmarshal(raw, into); err != nil {
		return unanswered(fmt.Errorf("%s answered with %s, which is no node's health", c.Telemetry.Listen, answer.Status))
	}
	return nil
}
