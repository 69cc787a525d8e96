package main

import (
	"math"
	"slices"
)

// mt19937 is the Mersenne twister (Matsumoto, Nishimura 1998), seeded as NumPy's
// RandomState seeds it from an integer.
type mt19937 struct {
	state [624]uint32
	next  int
}

func seeded(seed uint32) *mt19937 {
	r := &mt19937{next: 624}
	r.state[0] = seed
	for i := 1; i < len(r.state); i++ {
		r.state[i] = 1812433253*(r.state[i-1]^r.state[i-1]>>30) + uint32(i)
	}
	return r
}

func (r *mt19937) uint32() uint32 {
	if r.next == len(r.state) {
		for i := range r.state {
			y := r.state[i]&0x80000000 | r.state[(i+1)%624]&0x7fffffff
			x := r.state[(i+397)%624] ^ y>>1
			if y&1 != 0 {
				x ^= 0x9908b0df
			}
			r.state[i] = x
		}
		r.next = 0
	}
	y := r.state[r.next]
	r.next++
	y ^= y >> 11
	y ^= y << 7 & 0x9d2c5680
	y ^= y << 15 & 0xefc60000
	return y ^ y>>18
}

// upTo draws from 0 to most, both included, by masking and refusing.
func (r *mt19937) upTo(most uint32) uint32 {
	mask := most
	for s := 1; s < 32; s *= 2 {
		mask |= mask >> s
	}
	for {
		if v := r.uint32() & mask; v <= most {
			return v
		}
	}
}

func (r *mt19937) shuffle(list []int) {
	for i := len(list) - 1; i > 0; i-- {
		j := r.upTo(uint32(i))
		list[i], list[j] = list[j], list[i]
	}
}

func (r *mt19937) permutation(n int) []int {
	out := make([]int, n)
	for i := range out {
		out[i] = i
	}
	r.shuffle(out)
	return out
}

// stratified splits rows into training and test rows as scikit-learn's train_test_split
// does with stratify and random_state.
func stratified(labels []int8, share float64, seed uint32) (train, test []int) {
	classes := [2][]int{}
	for i, l := range labels {
		classes[l] = append(classes[l], i)
	}
	n := len(labels)
	nTest := int(math.Ceil(share * float64(n)))
	nTrain := n - nTest
	r := seeded(seed)
	counts := [2]int{len(classes[0]), len(classes[1])}
	inTrain := r.mode(counts, nTrain)
	inTest := r.mode([2]int{counts[0] - inTrain[0], counts[1] - inTrain[1]}, nTest)
	for i, class := range classes {
		p := r.permutation(len(class))
		for k, j := range p[:inTrain[i]+inTest[i]] {
			if k < inTrain[i] {
				train = append(train, class[j])
			} else {
				test = append(test, class[j])
			}
		}
	}
	r.shuffle(train)
	r.shuffle(test)
	return train, test
}

// mode shares draws among classes by their sizes, the remainders to the largest
// fractions.
func (r *mt19937) mode(counts [2]int, draws int) [2]int {
	total := float64(counts[0] + counts[1])
	var out [2]int
	var rest [2]float64
	add := draws
	for i, c := range counts {
		x := float64(c) / total * float64(draws)
		out[i] = int(math.Floor(x))
		rest[i] = x - math.Floor(x)
		add -= out[i]
	}
	values := []float64{rest[0], rest[1]}
	slices.Sort(values)
	values = slices.Compact(values)
	slices.Reverse(values)
	for _, v := range values {
		if add <= 0 {
			break
		}
		var at []int
		for i, x := range rest {
			if x == v {
				at = append(at, i)
			}
		}
		chosen := r.permutation(len(at))[:min(len(at), add)]
		for _, k := range chosen {
			out[at[k]]++
		}
		add -= len(chosen)
	}
	return out
}
