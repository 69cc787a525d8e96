package scenario

import (
	"context"
)

func (r *run) documents(ctx context.Context) error { return nil }

func (r *run) verifyFile(ctx context.Context, f file) error { return nil }
