package testnet

import (
	"bytes"
	"fmt"
	"os"
)

// inspect reads proc_pid_stat(5): field 3 is the state, field 22 the start in clock
// ticks since boot. The name in field 2 may hold blanks and brackets.
func inspect(pid int) (started string, zombie bool, err error) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "", false, err
	}
	fields := bytes.Fields(raw[bytes.LastIndexByte(raw, ')')+1:])
	if len(fields) < 20 {
		return "", false, fmt.Errorf("/proc/%d/stat has %d fields", pid, len(fields))
	}
	return string(fields[19]), fields[0][0] == 'Z' || fields[0][0] == 'X', nil
}
