package fixed

import (
	"math"
	"math/big"
	"math/bits"
	"os"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// The hash goes into consensus state with every model that takes logarithms: it never changes.
const goldenTable = "5f07f6579c09c628f0903ac44e894895d3b30f2f0b1f4ae16f8b451337344836"

func TestTheTableOfLogarithmsIsPinned(t *testing.T) {
	if got := TableHash(); got != goldenTable {
		t.Fatalf("the table has hash %s, want %s", got, goldenTable)
	}
	page, err := os.ReadFile("../../../../docs/threat-streams.md")
	if err != nil || !strings.Contains(string(page), goldenTable) {
		t.Errorf("docs/threat-streams.md does not have the hash: %v", err)
	}
}

// lnBig is ln x for x in [1, 2], as 2*artanh((x-1)/(x+1)), in 200 bits.
func lnBig(x *big.Float) *big.Float {
	prec := func() *big.Float { return new(big.Float).SetPrec(200) }
	one := prec().SetInt64(1)
	z := prec().Quo(prec().Sub(x, one), prec().Add(x, one))
	square, term, sum := prec().Mul(z, z), prec().Set(z), prec()
	for k := int64(1); k < 140; k += 2 {
		sum.Add(sum, prec().Quo(term, prec().SetInt64(k)))
		term.Mul(term, square)
	}
	return sum.Mul(sum, prec().SetInt64(2))
}

func TestEveryEntryOfTheTableIsTheRoundedLogarithm(t *testing.T) {
	prec := func() *big.Float { return new(big.Float).SetPrec(200) }
	ln2 := lnBig(prec().SetInt64(2))
	for i, got := range logTable {
		x := prec().Quo(prec().SetInt64(int64(LogScale+i)), prec().SetInt64(LogScale))
		exact := prec().Mul(prec().Quo(lnBig(x), ln2), prec().SetInt64(LogScale))
		want, _ := prec().Add(exact, prec().SetFloat64(0.5)).Int64()
		if int64(got) != want {
			t.Fatalf("entry %d is %d, want %d (%v)", i, got, want, exact)
		}
	}
}

// logError is how far Log2(x) is from the logarithm, in units of 2^-12. A float64 logarithm of a uint64 is good to
// better than 10^-13.
func logError(x uint64) float64 {
	n := bits.Len64(x) - 1
	exact := float64(n) + math.Log2(float64(x)/math.Ldexp(1, n))
	return math.Abs(float64(Log2(x)) - exact*LogScale)
}

func TestLog2IsExactAtPowersOfTwoAndWithinItsBound(t *testing.T) {
	if Log2(0) != 0 || Log2(1) != 0 || Log2(math.MaxUint64) != LogMax {
		t.Fatal(Log2(0), Log2(1), Log2(math.MaxUint64))
	}
	for n := range 64 {
		if Log2(1<<n) != int64(n)*LogScale {
			t.Fatalf("log2(2^%d) is %d", n, Log2(1<<n))
		}
	}
	var worst float64
	last := int64(-1)
	for x := uint64(1); x < 1<<22; x++ {
		e := logError(x)
		if x < 1<<13 && e > 0.5+1e-9 || e >= 1.001 {
			t.Fatalf("log2(%d) is off by %v", x, e)
		}
		worst = max(worst, e)
		if l := Log2(x); l < last {
			t.Fatalf("log2 falls at %d", x)
		} else {
			last = l
		}
	}
	t.Logf("worst error below 2^22: %.4f of 2^-12", worst)
	rapid.Check(t, func(t *rapid.T) {
		x := rapid.Uint64Min(1).Draw(t, "x") >> rapid.IntRange(0, 50).Draw(t, "shift")
		if x > 0 && logError(x) >= 1.001 {
			t.Fatalf("log2(%d) is off by %v", x, logError(x))
		}
		if x < math.MaxUint64 && Log2(x) > Log2(x+1) {
			t.Fatalf("log2 falls after %d", x)
		}
	})
}

func bigOf(v U128) *big.Int {
	b := new(big.Int).SetUint64(v.Hi)
	return b.Lsh(b, 64).Add(b, new(big.Int).SetUint64(v.Lo))
}

func saturated(b *big.Int) uint64 {
	if b.IsUint64() {
		return b.Uint64()
	}
	return math.MaxUint64
}

// wide draws numbers of every length, the extremes among them.
func wide() *rapid.Generator[uint64] {
	return rapid.Custom(func(t *rapid.T) uint64 {
		return rapid.Uint64().Draw(t, "v") >> rapid.IntRange(0, 63).Draw(t, "shift")
	})
}

func TestArithmeticIsThatOfUnboundedIntegers(t *testing.T) {
	u := func(x uint64) *big.Int { return new(big.Int).SetUint64(x) }
	rapid.Check(t, func(t *rapid.T) {
		a, b, c := wide().Draw(t, "a"), wide().Draw(t, "b"), wide().Draw(t, "c")
		if got, want := Add(a, b), saturated(new(big.Int).Add(u(a), u(b))); got != want {
			t.Fatalf("%d + %d = %d, want %d", a, b, got, want)
		}
		if got, want := Mul(a, b), saturated(new(big.Int).Mul(u(a), u(b))); got != want {
			t.Fatalf("%d * %d = %d, want %d", a, b, got, want)
		}
		if got := Sub(a, b); a >= b && got != a-b || a < b && got != 0 {
			t.Fatalf("%d - %d = %d", a, b, got)
		}
		product := new(big.Int).Mul(u(a), u(b))
		if bigOf(Product(a, b)).Cmp(product) != 0 {
			t.Fatalf("%d * %d", a, b)
		}
		want := uint64(math.MaxUint64)
		if c != 0 {
			want = saturated(new(big.Int).Quo(product, u(c)))
		}
		if got := MulDiv(a, b, c); got != want {
			t.Fatalf("%d*%d/%d = %d, want %d", a, b, c, got, want)
		}
		n := rapid.UintRange(0, 64).Draw(t, "n")
		if bigOf(Shifted(a, n)).Cmp(new(big.Int).Lsh(u(a), n)) != 0 {
			t.Fatalf("%d << %d", a, n)
		}
		x, y := U128{wide().Draw(t, "x"), b}, U128{wide().Draw(t, "y"), c}
		diff := new(big.Int).Sub(bigOf(x), bigOf(y))
		if bigOf(AbsDiff(x, y)).Cmp(diff.Abs(diff)) != 0 {
			t.Fatalf("|%v - %v|", x, y)
		}
		i, j := int64(a), int64(b)
		exact := new(big.Int).Add(big.NewInt(i), big.NewInt(j))
		nearest := int64(math.MaxInt64)
		if exact.IsInt64() {
			nearest = exact.Int64()
		} else if exact.Sign() < 0 {
			nearest = math.MinInt64
		}
		if AddSigned(i, j) != nearest {
			t.Fatalf("%d + %d = %d", i, j, AddSigned(i, j))
		}
	})
}

func TestSquareDivIsExact(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := U128{wide().Draw(t, "hi") >> rapid.IntRange(0, 63).Draw(t, "down"), wide().Draw(t, "lo")}
		p, q, shift := wide().Draw(t, "p"), wide().Draw(t, "q"), rapid.UintRange(0, 63).Draw(t, "shift")
		want := uint64(math.MaxUint64)
		if p != 0 && q != 0 {
			by := new(big.Int).Mul(new(big.Int).SetUint64(p), new(big.Int).SetUint64(q))
			n := new(big.Int).Mul(bigOf(d), bigOf(d))
			want = saturated(n.Quo(n, by.Lsh(by, shift)))
		}
		if got := SquareDiv(d, p, q, shift); got != want {
			t.Fatalf("%v²/(%d*%d<<%d) = %d, want %d", d, p, q, shift, got, want)
		}
	})
}

func TestPowerIsBelowTheTruePowerByNoMoreThanItsBound(t *testing.T) {
	if Power(One63, math.MaxUint64) != One63 || Power(0, 0) != One63 || Power(0, 1) != 0 {
		t.Fatal("one, zero or nothing to the n-th")
	}
	rapid.Check(t, func(t *rapid.T) {
		den := rapid.Uint32Min(1).Draw(t, "denominator")
		num := rapid.Uint32Range(0, den).Draw(t, "numerator")
		factor, n := Factor(num, den), rapid.Uint64Range(0, 2000).Draw(t, "n")
		got := Power(factor, n)
		exact := new(big.Int).Exp(new(big.Int).SetUint64(factor), new(big.Int).SetUint64(n), nil)
		if n == 0 {
			exact.Lsh(exact, 63)
		} else {
			exact.Rsh(exact, 63*uint(n-1))
		}
		below := new(big.Int).Sub(exact, new(big.Int).SetUint64(got))
		if below.Sign() < 0 || below.Cmp(new(big.Int).SetUint64(2*n+1)) > 0 {
			t.Fatalf("(%d/%d)^%d is %v below", num, den, n, below)
		}
		a := wide().Draw(t, "a")
		scaled := new(big.Int).Mul(new(big.Int).SetUint64(a), new(big.Int).SetUint64(got))
		if Scale(a, got) != scaled.Rsh(scaled, 63).Uint64() {
			t.Fatalf("%d scaled by %d is %d", a, got, Scale(a, got))
		}
	})
}

func TestSeedsAreFunctionsOfTheirStart(t *testing.T) {
	// The first outputs of SplitMix64 from 0 and from 1234567, as other implementations give them.
	for _, c := range []struct {
		seed Seed
		want [3]uint64
	}{
		{0, [3]uint64{0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F}},
		{1234567, [3]uint64{6457827717110365317, 3203168211198807973, 9817491932198370423}},
	} {
		for i, want := range c.want {
			if got := c.seed.Next(); got != want {
				t.Errorf("number %d is %d, want %d", i, got, want)
			}
		}
	}
	s := Seed(1)
	var seen [6]int
	for range 6000 {
		seen[s.Below(6)]++
	}
	for face, n := range seen {
		if n < 900 || n > 1100 {
			t.Errorf("%d came %d times of 6000", face, n)
		}
	}
	if s.Below(0) != 0 || Name([]byte("abc")) != 0xba7816bf8f01cfea {
		t.Error("nothing below 0, or the hash of a name")
	}
}

func BenchmarkLog2(b *testing.B) {
	b.ReportAllocs()
	var sum int64
	for i := range uint64(b.N) {
		sum += Log2(i * golden64)
	}
	if sum == 1 {
		b.Fatal(sum)
	}
}

func BenchmarkSquareDiv(b *testing.B) {
	b.ReportAllocs()
	for i := range uint64(b.N) {
		SquareDiv(U128{i & 0xFFFF, i * golden64}, i|1, 46572, 16)
	}
}
