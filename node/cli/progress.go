package cli

import (
	"fmt"
	"strings"
	"sync"
	"time"
)

// shows tells whether progress is shown: to a person at a terminal, or on demand.
func (a *app) shows() bool { return a.progress || a.Terminal && a.output == outputText }

// spin says on standard error, when it takes longer than a second, what is being
// waited for. The returned function ends that.
func (a *app) spin(what string) (stop func()) {
	if !a.shows() {
		return func() {}
	}
	done := make(chan struct{})
	var ended sync.WaitGroup
	ended.Go(func() {
		begin := time.Now()
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		width := 0
		for {
			select {
			case <-done:
				a.erase(width)
				return
			case <-tick.C:
				line := fmt.Sprintf("%s, %d s", what, int(time.Since(begin).Seconds()))
				width = max(width, len(line))
				a.draw(line)
			}
		}
	})
	return func() {
		close(done)
		ended.Wait()
	}
}

// meter shows how far a long piece of work is.
type meter struct {
	app   *app
	what  string
	total int64 // 0: not known
	unit  func(int64) string
	done  int64
	last  time.Time
	width int
}

// add counts work that is done.
func (m *meter) add(n int64) {
	m.done += n
	if !m.app.shows() || time.Since(m.last) < 200*time.Millisecond {
		return
	}
	m.last = time.Now()
	line := fmt.Sprintf("%s %s", m.what, m.unit(m.done))
	if m.total > 0 {
		line = fmt.Sprintf("%s %d%% of %s", m.what, 100*m.done/m.total, m.unit(m.total))
	}
	m.width = max(m.width, len(line))
	m.app.draw(line)
}

// end removes the line.
func (m *meter) end() { m.app.erase(m.width) }

// Write implements io.Writer: bytes that passed by are work done.
func (m *meter) Write(p []byte) (int, error) {
	m.add(int64(len(p)))
	return len(p), nil
}

func (a *app) draw(line string) {
	if a.Terminal {
		fmt.Fprintf(a.Err, "\r%s", clean(line))
		return
	}
	fmt.Fprintf(a.Err, "%s\n", clean(line))
}

func (a *app) erase(width int) {
	if a.Terminal && width > 0 {
		fmt.Fprintf(a.Err, "\r%s\r", strings.Repeat(" ", width))
	}
}

// size is a number of bytes in words.
func size(n int64) string {
	const k = 1024
	if n < k {
		return fmt.Sprintf("%d B", n)
	}
	unit, i := float64(k), 0
	for i < 4 && float64(n) >= unit*k {
		unit *= k
		i++
	}
	return fmt.Sprintf("%.1f %ciB", float64(n)/unit, "KMGTP"[i])
}
