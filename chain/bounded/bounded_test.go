package bounded

import "testing"

// What is kept is bounded in bytes, and what was used least gives way.
func TestACacheIsBoundedInBytes(t *testing.T) {
	s := New(100, 10, func(_ int, v string) int { return len(v) })
	for i, v := range []string{"aaaa", "bbb", "ccc", "dd"} {
		s.Add(i, v)
	}
	_, oldest := s.Get(0)
	_, youngest := s.Get(3)
	if oldest || !youngest || s.Bytes() != 8 {
		t.Errorf("%v %v, %d bytes", oldest, youngest, s.Bytes())
	}
	s.Add(3, "dd")
	if s.Add(4, "more than ten bytes"); s.Bytes() > 10 {
		t.Errorf("%d bytes", s.Bytes())
	}
	s.Add(5, "four")
	s.Remove(5)
	if s.Remove(5); s.Len() != 0 || s.Bytes() != 0 {
		t.Errorf("%d bytes of %d values that are gone", s.Bytes(), s.Len())
	}
}
