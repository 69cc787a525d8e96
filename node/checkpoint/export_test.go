package checkpoint

import "time"

// Hurry shortens the pauses of a publisher that does not run yet.
func Hurry(p *Publisher) { p.pauses.first, p.pauses.longest = 5*time.Millisecond, 20*time.Millisecond }

// Break has each write of a publisher that does not run yet go through a function, which may
// leave it out.
func Break(p *Publisher, through func(path string, write func() error) error) {
	good := p.write
	p.write = func(path string, raw []byte) error { return through(path, func() error { return good(path, raw) }) }
}
