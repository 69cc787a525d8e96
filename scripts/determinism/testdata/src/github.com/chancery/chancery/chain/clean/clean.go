package clean

func Double(n int64) int64 { return 2 * n }
