package node

import "testing"

func TestDescriptorsAreDivided(t *testing.T) {
	for limit, want := range map[int]descriptors{
		1 << 20: {2048, 20_000},
		20_000:  {2048, 17_440},
		1024:    {256, 512},
		200:     {50, 100},
		3:       {1, 2},
		0:       {1, 1},
	} {
		if got := divide(limit); got != want {
			t.Errorf("%d: %+v, want %+v", limit, got, want)
		}
	}
}
