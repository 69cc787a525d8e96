package maporder

import (
	"cmp"
	"maps"
	"reflect"
	"slices"
	"sort"
)

type byLength []string

func (b byLength) Len() int           { return len(b) }
func (b byLength) Less(i, j int) bool { return b[i] < b[j] }
func (b byLength) Swap(i, j int)      { b[i], b[j] = b[j], b[i] }

type set map[string]bool

func refused(m map[string]int, s set) (out []string) {
	for k, v := range m { // want `ranging over a map is refused`
		_, _ = k, v
	}
	for range s { // want `ranging over a map`
	}
	for k := range m { // want `ranging over a map`
		delete(m, k)
	}
	for k := range maps.All(m) { // want `maps.All is refused`
		_ = k
	}
	for k := range maps.Keys(m) { // want `maps.Keys is refused outside slices.Sorted`
		_ = k
	}
	_ = slices.Collect(maps.Values(m)) // want `maps.Values is refused`
	keys := maps.Keys[set]             // want `maps.Keys is refused`
	_ = slices.Sorted(keys(s))
	_ = slices.SortedFunc(each(maps.Keys(m)), cmp.Compare[string]) // want `maps.Keys is refused`

	v := reflect.ValueOf(m)
	_ = v.MapKeys()             // want `reflect.Value.MapKeys is refused: a map has no order`
	for it := v.MapRange(); ; { // want `reflect.Value.MapRange is refused`
		_ = it
	}
}

func each[T any](t T) T { return t }

func generic[M ~map[K]V, K comparable, V any](m M) {
	for k := range m { // want `ranging over a map`
		_ = k
	}
}

func constrained[S interface{ map[string]int }](s S) {
	for k := range s { // want `ranging over a map`
		_ = k
	}
}

// Almost the allowed form, but not it.
func almost(m map[string]int) {
	var keys, others []string
	for k := range m { // want `ranging over a map`
		keys = append(keys, k)
	}
	for k := range m { // want `ranging over a map`
		keys = append(keys, k)
	}
	others = nil
	slices.Sort(keys)
	for k := range m { // want `ranging over a map`
		keys = append(keys, k)
	}
	slices.Sort(others)
	for k := range m { // want `ranging over a map`
		keys = append(keys, k+"x")
	}
	slices.Sort(keys)
	for k := range m { // want `ranging over a map`
		keys = append(others, k)
	}
	slices.Sort(keys)
	for k := range m { // want `ranging over a map`
		if k != "" {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	for k, v := range m { // want `ranging over a map`
		keys = append(keys, k)
		_ = v
	}
	slices.Sort(keys)
	var k string
	for k = range m { // want `ranging over a map`
		keys = append(keys, k)
	}
	slices.Sort(keys)
	for k := range m { // want `ranging over a map`
		keys = append(keys, k)
	}
	slices.Reverse(keys)
	for k := range m { // want `ranging over a map`
		keys = append(keys, k)
	}
	sort.Sort(sort.Reverse(byLength(keys)))
	for k := range m { // want `ranging over a map`
		keys = append(keys, k)
	}
}

func allowed(m map[string]int, s set, list []int) []string {
	var keys []string
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	for k, _ := range s {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, cmp.Compare[string])
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	for k := range m {
		keys = append(keys, k)
	}
	sort.Slice(keys, func(i, j int) bool { return keys[i] < keys[j] })
	for k := range m {
		keys = append(keys, k)
	}
	sort.Sort(byLength(keys))

	for _, k := range slices.Sorted(maps.Keys(m)) {
		keys = append(keys, k)
	}
	_ = slices.SortedFunc(maps.Values(m), cmp.Compare[int])
	_ = (slices.Sorted[string](maps.Keys[set](s)))
	_ = maps.Clone(m)
	for i := range list {
		_ = i
	}
	for i := range 3 {
		_ = i
	}
	return keys
}

func sliced[S ~[]E, E any](s S) {
	for range s {
	}
}
