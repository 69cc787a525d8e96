package consensus

import "testing"

// Buffers of databases are of about the size that is meant, and not of one: a large cache has a large one.
func TestBuffersFillAtDifferentTimes(t *testing.T) {
	for cache, about := range map[int]int{engineCache: writeBuffer, 128 << 20: 32 << 20} {
		sizes := map[int]bool{}
		for range 100 {
			n := LevelDB(cache).WriteBuffer
			if n < about/4*3 || n > about/4*5 {
				t.Errorf("with a cache of %d bytes the buffer is %d, want about %d", cache, n, about)
			}
			sizes[n] = true
		}
		if len(sizes) < 90 {
			t.Errorf("with a cache of %d bytes there are %d sizes of 100", cache, len(sizes))
		}
	}
}
