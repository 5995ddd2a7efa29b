package invariant

import "fmt"

// Check panics with the text when ok is false. It is called below `if invariant.On` only.
func Check(ok bool, format string, args ...any) {
	if !ok {
		panic("broken invariant: " + fmt.Sprintf(format, args...))
	}
}
