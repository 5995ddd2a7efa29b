package invariant

import (
	"fmt"
	"testing"
)

func TestCheckNamesWhatBroke(t *testing.T) {
	Check(true, "never said")
	defer func() {
		if got, want := fmt.Sprint(recover()), "broken invariant: offset 4 after 5"; got != want {
			t.Errorf("panic %q, want %q", got, want)
		}
	}()
	Check(false, "offset %d after %d", 4, 5)
}
