package vfstest

import (
	"fmt"
	"testing"
)

// parts is into how many tests the operations are cut, which run side by side.
const parts = 4

// EachOperation calls once for every operation of a workload, from the first on, and in short mode for every shortStride-th: once lets the n-th one fail, or the process die at it, and
// returns true when the workload ended before there was an n-th.
func EachOperation(t *testing.T, shortStride int, once func(t *testing.T, n int) (finished bool)) {
	t.Helper()
	stride := 1
	if testing.Short() {
		stride = shortStride
	}
	for part := range parts {
		t.Run(fmt.Sprintf("part %d", part), func(t *testing.T) {
			t.Parallel()
			for n := 1 + part*stride; !once(t, n); n += parts * stride {
			}
		})
	}
}
