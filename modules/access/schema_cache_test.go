package access

import (
	"errors"
	"testing"

	accessv1 "github.com/chancery/chancery/proto/chancery/access/v1"
)

// A verdict may not depend on what a node happens to have parsed before: a format
// whose lowest byte is that of a known one must be refused by all.
func TestAFormatIsJudgedBeforeTheCacheIsAsked(t *testing.T) {
	const text = `entity User; entity Doc; action "read" appliesTo { principal: User, resource: Doc };`
	odd := &accessv1.SchemaText{Text: text, Format: accessv1.SchemaFormat_SCHEMA_FORMAT_CEDAR + 256}
	fresh, used := newCaches(), newCaches()
	if _, err := used.parseSchema(&accessv1.SchemaText{Text: text, Format: accessv1.SchemaFormat_SCHEMA_FORMAT_CEDAR}); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]*caches{"fresh": fresh, "used": used} {
		if _, err := c.parseSchema(odd); !errors.Is(err, ErrField) {
			t.Errorf("%s caches say %v of format %d", name, err, odd.Format)
		}
	}
}
