package doctor

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/chancery/chancery/node/disk"
)

// The least that a node should have.
const (
	leastFiles  = 4096
	leastMemory = 1 << 30
	expirySoon  = 30 * 24 * time.Hour
)

var machineChecks = []Check{
	{
		Code: "disk-space", Level: Fault, What: "The disk has room: at least --min-free, 5 GiB by default.",
		Remedy: "Give the file system more room, or move data/ to a larger one while the node is stopped. A state on disk grows with every block; see 'Disk' in docs/operating.md.",
		look: func(_ context.Context, e *exam) []string {
			dir := e.Home.Data()
			if missing(dir) {
				dir = string(e.Home)
			}
			free, size, err := disk.Space(dir)
			if err != nil || free >= e.MinFree {
				return nil
			}
			return one("%s of %s are free where %s lies, less than %s", disk.Free(free), disk.Free(size), dir, disk.Free(e.MinFree))
		},
	},
	{
		Code: "disk-kind", Level: Warning, What: "The data lies on a disk of this machine: not in memory, on a network's file system or in a container's own layer.",
		Remedy: "Move data/ to a local disk, in a container to a volume.",
		look: func(_ context.Context, e *exam) []string {
			kind, err := disk.KindOf(e.Home.Data())
			if err != nil || kind == disk.Local {
				return nil
			}
			return one("%s lies on a file system of the kind %q", e.Home.Data(), kind)
		},
	},
	{
		Code: "open-files", Level: Warning, What: "A process may open at least 4096 files.",
		Remedy: "Raise the limit: LimitNOFILE=65536 in the systemd unit, 'ulimit -n 65536' in a shell.",
		look: func(_ context.Context, e *exam) []string {
			n := openFiles()
			if f, ok := e.metric("process_max_fds"); ok {
				n = uint64(f)
			}
			if n == 0 || n >= leastFiles {
				return nil
			}
			return one("at most %d files may be open", n)
		},
	},
	{
		Code: "memory", Level: Warning, Needs: needsConfig, What: "node.memory_limit_bytes lies below what the machine or the control group allows, with a fifth to spare, and that is at least 1 GiB; the limit, which follows the live heap, still has room.",
		Remedy: "Set node.memory_limit_bytes to at most four fifths of the memory that the node may use, or allow it more.",
		look: func(_ context.Context, e *exam) (found []string) {
			if level, ok := e.metric("chancery_memory_limit_level"); ok && level >= 2 {
				live, _ := e.metric("chancery_memory_live_bytes")
				found = append(found, fmt.Sprintf("%s live on the heap, more than half of the most that the limit may be: garbage is collected ever more often", disk.Free(uint64(live))))
			}
			most, from := e.memory()
			if most == 0 {
				return found
			}
			if most < leastMemory {
				found = append(found, fmt.Sprintf("%s allows %s", from, disk.Free(most)))
			}
			switch limit := uint64(e.config.Node.MemoryLimit); {
			case limit == 0:
				found = append(found, fmt.Sprintf("node.memory_limit_bytes is 0, and %s allows %s: the process may be killed before it collects garbage", from, disk.Free(most)))
			case limit > most/5*4:
				found = append(found, fmt.Sprintf("node.memory_limit_bytes is %d, and %s allows %s: four fifths of that are the limit", limit, from, disk.Free(most)))
			}
			return found
		},
	},
	{
		Code: "processor", Level: Warning, What: "The control group allows at least one processor.",
		Remedy: "Allow the node one processor or more: CPUQuota= in the systemd unit, --cpus in a container.",
		look: func(_ context.Context, e *exam) []string {
			raw, err := os.ReadFile(filepath.Join(e.Cgroup, "cpu.max"))
			if err != nil {
				return nil
			}
			fields := strings.Fields(string(raw))
			if len(fields) != 2 || fields[0] == "max" {
				return nil
			}
			quota, _ := strconv.ParseInt(fields[0], 10, 64)
			period, _ := strconv.ParseInt(fields[1], 10, 64)
			if period > 0 && quota < period {
				return one("%d of %d microseconds, %d%% of a processor", quota, period, 100*quota/period)
			}
			return nil
		},
	},
	{
		Code: "large-pages", Level: Warning, What: "The system gives huge pages to programs that ask for them, or to all.",
		Remedy: "Set transparent_hugepage=madvise on the kernel's command line, or write madvise to /sys/kernel/mm/transparent_hugepage/enabled at each start of the machine, before the node's. In a virtual machine a node may otherwise take half as many transactions while its heap grows.",
		look: func(_ context.Context, e *exam) []string {
			path := filepath.Join(e.LargePages, "enabled")
			raw, err := os.ReadFile(path)
			if err != nil || !strings.Contains(string(raw), "[never]") {
				return nil // without the file the system has none to give
			}
			return one("%s says never", path)
		},
	},
}

// memory is how much the process may use, and what says so; 0: it is not known.
func (e *exam) memory() (most uint64, from string) {
	if raw, err := os.ReadFile("/proc/meminfo"); err == nil {
		for line := range strings.Lines(string(raw)) {
			if f := strings.Fields(line); len(f) == 3 && f[0] == "MemTotal:" {
				kib, _ := strconv.ParseUint(f[1], 10, 64)
				most, from = kib<<10, "the machine"
			}
		}
	}
	if raw, err := os.ReadFile(filepath.Join(e.Cgroup, "memory.max")); err == nil {
		if n, err := strconv.ParseUint(strings.TrimSpace(string(raw)), 10, 64); err == nil && (most == 0 || n < most) {
			most, from = n, "the control group"
		}
	}
	return most, from
}

// certificates are the faults of the door's and the feed's certificates, and what expires
// soon.
func (e *exam) certificates() (faults, soon []string) {
	pair := func(key, cert, private string) {
		if cert == "" || private == "" {
			return
		}
		loaded, err := tls.LoadX509KeyPair(e.Home.Resolve(cert), e.Home.Resolve(private))
		if err != nil {
			if !missing(e.Home.Resolve(cert)) && !missing(e.Home.Resolve(private)) {
				faults = append(faults, fmt.Sprintf("%s: %v", key, err))
			}
			return
		}
		if len(loaded.Certificate) > 0 {
			if leaf, err := x509.ParseCertificate(loaded.Certificate[0]); err == nil {
				e.valid(key, leaf, &faults, &soon)
				if key == "rpc.tls_cert" && len(leaf.DNSNames)+len(leaf.IPAddresses) == 0 {
					faults = append(faults, key+": the certificate names no host, so no client accepts it")
				}
			}
		}
	}
	pair("rpc.tls_cert", e.config.RPC.TLSCert, e.config.RPC.TLSKey)
	pair("intelligence.feed_tls_cert", e.config.Intelligence.FeedCert, e.config.Intelligence.FeedKey)
	for key, path := range map[string]string{"rpc.client_ca": e.config.RPC.ClientCA, "intelligence.feed_tls_ca": e.config.Intelligence.FeedCA} {
		if path == "" {
			continue
		}
		raw, err := os.ReadFile(e.Home.Resolve(path))
		if err != nil {
			continue // secrets-readable says so
		}
		n := 0
		for block, rest := pem.Decode(raw); block != nil; block, rest = pem.Decode(rest) {
			if c, err := x509.ParseCertificate(block.Bytes); err == nil {
				n++
				e.valid(key, c, &faults, &soon)
			}
		}
		if n == 0 {
			faults = append(faults, fmt.Sprintf("%s: %s holds no certificate", key, path))
		}
	}
	return faults, soon
}

func (e *exam) valid(key string, c *x509.Certificate, faults, soon *[]string) {
	now := e.Now()
	switch {
	case now.Before(c.NotBefore):
		*faults = append(*faults, fmt.Sprintf("%s: the certificate of %q is valid from %s only", key, c.Subject.CommonName, c.NotBefore.UTC().Format(time.RFC3339)))
	case now.After(c.NotAfter):
		*faults = append(*faults, fmt.Sprintf("%s: the certificate of %q expired on %s", key, c.Subject.CommonName, c.NotAfter.UTC().Format(time.RFC3339)))
	case c.NotAfter.Sub(now) < expirySoon:
		*soon = append(*soon, fmt.Sprintf("%s: the certificate of %q expires on %s, in %d days", key, c.Subject.CommonName, c.NotAfter.UTC().Format(time.RFC3339), int(c.NotAfter.Sub(now).Hours()/24)))
	}
}
