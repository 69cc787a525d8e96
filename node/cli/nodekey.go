package cli

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/spf13/cobra"

	"github.com/chancery/chancery/node/config"
)

func (a *app) nodeKeyCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "node-key",
		Short: "Show and rotate the key that peers know the node by",
		Long: lines(
			"Other nodes let a node in by its node id, which is that of its node key and which its",
			"organisation binds on the chain. To rotate the key, prepare the next one, bind it beside the",
			"present one (identity bind-node), and start the node again: it takes the next key where its",
			"own state binds it, and says so in the log. Then unbind the old one (identity unbind-node).",
			"See docs/deploy.md.",
		),
	}
	c.AddCommand(a.nodeKeyShow(), a.nodeKeyPrepare())
	return c
}

func (a *app) nodeKeyShow() *cobra.Command {
	return &cobra.Command{
		Use:     "show",
		Short:   "Show the node ids of the present key, of the next and of the last",
		Example: examples("chancery node-key show --home /var/lib/chancery", "chancery node-key show --output json"),
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			id, err := config.NodeID(a.homeDir())
			if err != nil {
				return errHome.Wrap(err)
			}
			next, err := a.homeDir().NextNodeID()
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return errHome.Wrap(err)
			}
			last, err := a.homeDir().LastNodeID()
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return errHome.Wrap(err)
			}
			return a.print(facts{{"node id", id}, {"next", next}, {"last", last}})
		},
	}
}

func (a *app) nodeKeyPrepare() *cobra.Command {
	return &cobra.Command{
		Use:   "prepare",
		Short: "Make the node's next key, beside the one in use",
		Long: lines(
			"Makes config/node_key.next.json and prints its node id. The node may run: it goes on with",
			"its key, and keeps it at every start until the chain binds the next one. Where a key waits",
			"already, that one stays.",
		),
		Example: examples("chancery node-key prepare --home /var/lib/chancery"),
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			id, err := config.NodeID(a.homeDir())
			if err != nil {
				return errHome.Wrap(err)
			}
			next, made, err := a.homeDir().PrepareNodeKey()
			if err != nil {
				return errHome.Wrap(err)
			}
			if !made {
				a.note("a next key was prepared before, and stays")
			}
			return a.print(facts{
				{"node id", id}, {"next", next},
				{"then", []string{
					fmt.Sprintf("Bind it, as the organisation: chancery tx identity bind-node --node-id %s --from YOUR-KEY", next),
					"Have the other members put it into their p2p.persistent_peers, in the place of the old one.",
					"Start the node again.",
					fmt.Sprintf("Unbind the old one: chancery tx identity unbind-node --node-id %s --from YOUR-KEY", id),
				}},
			})
		},
	}
}
