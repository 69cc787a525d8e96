//go:build unix && !linux

package testnet

import (
	"fmt"
	"os/exec"
	"strconv"
	"strings"
)

// inspect asks ps(1) for the state and the date of the start.
func inspect(pid int) (started string, zombie bool, err error) {
	out, err := exec.Command("ps", "-o", "state=", "-o", "lstart=", "-p", strconv.Itoa(pid)).Output()
	if err != nil {
		return "", false, fmt.Errorf("no process %d: %w", pid, err)
	}
	state, date, _ := strings.Cut(strings.TrimSpace(string(out)), " ")
	return strings.TrimSpace(date), strings.HasPrefix(state, "Z"), nil
}
