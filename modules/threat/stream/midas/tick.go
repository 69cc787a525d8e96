package midas

// TickOfHeight is the tick of a block: 1 for the length blocks from start on, then 2, and so forth. It is 1 before
// start and where length is 0.
func TickOfHeight(height, start, length uint64) uint64 {
	if height < start || length == 0 {
		return 1
	}
	return min((height-start)/length, MaxTick-1) + 1
}

// TickOfTime is the tick of a time in seconds since 1970, as TickOfHeight is of a height; length is in seconds.
func TickOfTime(seconds, start, length int64) uint64 {
	if seconds < start || length <= 0 {
		return 1
	}
	// The difference of two int64 of which the first is not below the second fits a uint64.
	return TickOfHeight(uint64(seconds)-uint64(start), 0, uint64(length))
}
