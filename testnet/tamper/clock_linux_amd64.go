package tamper

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"
)

// A program reads the clock in a library that the kernel maps into it, the vDSO (vdso(7)),
// without a system call. Each process may have pages of it of its own, which is how a debugger sets
// breakpoints there: what the library says is behind its name for the clock is moved to a few
// instructions at its end, which add to the time what this process writes beside them.

// clock is where a program's clock is changed.
type clock struct {
	memory *os.File
	at     int64 // of the nanoseconds that it is ahead, eight bytes on a multiple of eight
}

// clockName is the library's function, int (clockid_t, struct timespec *).
const clockName = "__vdso_clock_gettime"

// ahead is the instructions that stand for the function, and behind them the nanoseconds.
// The first 32 bits at original are the way from behind them to the function.
var ahead = []byte{
	0x85, 0xff, // test edi, edi         CLOCK_REALTIME
	0x74, 0x0a, // je real
	0x83, 0xff, 0x05, // cmp edi, 5      CLOCK_REALTIME_COARSE
	0x74, 0x05, // je real
	0xe9, 0, 0, 0, 0, // jmp function
	// real:
	0x56,             // push rsi
	0xe8, 0, 0, 0, 0, // call function
	0x5e,                   // pop rsi
	0x48, 0x8b, 0x46, 0x08, // mov rax, [rsi+8]
	0x48, 0x03, 0x05, 0, 0, 0, 0, // add rax, [rip+nanoseconds]
	0x48, 0x99, // cqo
	0xb9, 0x00, 0xca, 0x9a, 0x3b, // mov ecx, 1000000000
	0x48, 0xf7, 0xf9, // idiv rcx
	0x48, 0x85, 0xd2, // test rdx, rdx
	0x79, 0x06, // jns positive
	0x48, 0x01, 0xca, // add rdx, rcx
	0x48, 0xff, 0xc8, // dec rax
	// positive:
	0x48, 0x01, 0x06, // add [rsi], rax
	0x48, 0x89, 0x56, 0x08, // mov [rsi+8], rdx
	0x31, 0xc0, // xor eax, eax
	0xc3, // ret
}

// Where in the instructions the ways are, each of which counts from behind itself.
const (
	jumpAt        = 10
	callAt        = 16
	nanosecondsAt = 28
)

// driftEvery is how often a clock that drifts is changed.
const driftEvery = 10 * time.Millisecond

// SetClock changes what the clock says from now on.
func (p *Process) SetClock(c Clock) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.drifting != nil {
		close(p.drifting)
		p.drifting = nil
	}
	p.set = c
	p.write(c.Ahead)
	if c.Drift == 0 {
		return
	}
	ended, since := make(chan struct{}), time.Now()
	p.drifting = ended
	go func() {
		tick := time.NewTicker(driftEvery)
		defer tick.Stop()
		for {
			select {
			case <-ended:
				return
			case <-tick.C:
			}
			p.mu.Lock()
			if p.drifting == ended {
				p.write(c.Ahead + time.Duration(time.Since(since).Seconds()*float64(c.Drift)))
			}
			p.mu.Unlock()
		}
	}()
}

// write changes how far the clock is ahead. The caller holds mu. A program that has ended
// has no clock.
func (p *Process) write(ahead time.Duration) {
	if p.clock == nil {
		return
	}
	_, _ = p.clock.memory.WriteAt(binary.LittleEndian.AppendUint64(nil, uint64(ahead)), p.clock.at)
}

// bend changes the library of a program that has just begun.
func (p *Process) bend(id uint32) error {
	memory, err := os.OpenFile(fmt.Sprintf("/proc/%d/mem", id), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	at, err := bend(memory, id)
	if err != nil {
		return errors.Join(err, memory.Close())
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.clock = &clock{memory, at}
	p.write(p.set.Ahead)
	return nil
}

// bend returns where the nanoseconds are.
func bend(memory *os.File, id uint32) (int64, error) {
	from, to, err := library(id)
	if err != nil {
		return 0, err
	}
	image := make([]byte, to-from)
	if _, err := memory.ReadAt(image, from); err != nil {
		return 0, fmt.Errorf("read the library: %w", err)
	}
	f, err := elf.NewFile(bytes.NewReader(image))
	if err != nil {
		return 0, fmt.Errorf("read the library: %w", err)
	}
	symbols, err := f.DynamicSymbols()
	if err != nil {
		return 0, fmt.Errorf("read the library: %w", err)
	}
	table := f.SectionByType(elf.SHT_DYNSYM)
	for i, s := range symbols {
		if s.Name != clockName {
			continue
		}
		// What is put at the end, and eight bytes for the nanoseconds.
		code := (len(image) - len(ahead) - 8) &^ 7
		nanoseconds := len(image) - 8
		if len(bytes.TrimRight(image[code:], "\x00")) > 0 {
			return 0, errors.New("the library has no room at its end")
		}
		put := append(bytes.Clone(ahead), make([]byte, len(image)-code-len(ahead))...)
		for where, target := range map[int]int{jumpAt: int(s.Value), callAt: int(s.Value), nanosecondsAt: nanoseconds} {
			binary.LittleEndian.PutUint32(put[where:], uint32(target-(code+where+4)))
		}
		if _, err := memory.WriteAt(put, from+int64(code)); err != nil {
			return 0, fmt.Errorf("write to the library: %w", err)
		}
		// Symbol 0 is left out of the list. The value is behind eight bytes of others.
		value := int64(table.Offset) + int64(i+1)*elf.Sym64Size + 8
		if _, err := memory.WriteAt(binary.LittleEndian.AppendUint64(nil, uint64(code)), from+value); err != nil {
			return 0, fmt.Errorf("write to the library: %w", err)
		}
		return from + int64(nanoseconds), nil
	}
	return 0, fmt.Errorf("the library has no %s", clockName)
}

// library is where the kernel mapped its library.
func library(id uint32) (from, to int64, err error) {
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", id))
	if err != nil {
		return 0, 0, err
	}
	for line := range strings.Lines(string(maps)) {
		if strings.HasSuffix(line, "[vdso]\n") {
			_, err := fmt.Sscanf(line, "%x-%x", &from, &to)
			return from, to, err
		}
	}
	return 0, 0, errors.New("the kernel gives no library")
}
