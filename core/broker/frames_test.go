package broker

import "testing"

func TestFrameClasses(t *testing.T) {
	for _, tc := range []struct{ bytes, class int }{
		{0, 12}, {1, 12}, {4096, 12}, {4608, 12}, {4609, 13}, {8192, 13}, {16 << 10, 14}, {16<<10 + 100, 14}, {18<<10 + 1, 15},
		{64<<10 + 80, 16}, {1 << 22, 22}, {1<<22 + 1<<19, 22}, {1<<22 + 1<<19 + 1, 23},
	} {
		if got := frameClass(tc.bytes); got != tc.class {
			t.Errorf("%d bytes: class %d, want %d", tc.bytes, got, tc.class)
		}
	}
	var p framePool
	for n := 1; n <= frameRoom(largestFrame); n += 4099 {
		b := p.get(n)
		if cap(b.bytes) < n || len(b.bytes) != 0 {
			t.Fatalf("a buffer for %d bytes has %d and room for %d", n, len(b.bytes), cap(b.bytes))
		}
		p.put(b)
	}
	if b := p.get(frameRoom(largestFrame) + 1); b != nil {
		t.Errorf("a buffer of class %d", b.class)
	}
	p.put(nil)
}
