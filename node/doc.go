// Package node puts a node together: modules, state, consensus, door, telemetry.
package node
