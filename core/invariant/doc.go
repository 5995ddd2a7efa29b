// Package invariant holds assertions that are checked in tests and in race builds, and cost nothing in a release.
//
// They say what the code around relies on and what no input can make false: bytes from outside get errors, not assertions. With the race
// detector, or with the build tag invariants, a broken one panics and names what broke; otherwise On is a constant false and the compiler
// drops check and arguments alike:
//
//	if invariant.On {
//		invariant.Check(next == l.end, "%s: a batch at %d, the log ends at %d", l, next, l.end)
//	}
//
// Files: invariant.go; on.go and off.go choose by build tag.
package invariant
