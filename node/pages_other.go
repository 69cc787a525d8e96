//go:build !linux

package node

func largePages([]byte) {}
