package consent

import "time"

func expires() time.Time { return time.Now() } // want `time.Now is refused`
