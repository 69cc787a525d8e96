package client

import "testing"

// A cursor that is taken reads back from what it is written as.
func FuzzParseCursor(f *testing.F) {
	for _, s := range []string{"", "12/0", "12", "-1/0", "9223372036854775807/4294967295", " 1/2 ", "1/-1", "1/2/3"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		c, err := ParseCursor(s)
		if err != nil {
			return
		}
		if again, err := ParseCursor(c.String()); err != nil || again != c || c.Height < 0 {
			t.Fatalf("%q is %v, which reads back as %v, %v", s, c, again, err)
		}
	})
}
