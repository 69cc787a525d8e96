//go:build !linux

package node

func largePages([]byte) {}

func largeHeap(int64) bool { return false }
