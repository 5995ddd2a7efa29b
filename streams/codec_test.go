package streams

import (
	"bytes"
	"testing"
)

func roundTrip[T comparable](t *testing.T, c Codec[T], v T, want string) {
	t.Helper()
	b, err := c.Append([]byte("x"), v)
	if err != nil || string(b) != "x"+want {
		t.Errorf("%s: %v written as %q, want %q (%v)", c.Name(), v, b, "x"+want, err)
	}
	got, err := c.Decode(b[1:])
	if err != nil || got != v {
		t.Errorf("%s: read %v, want %v (%v)", c.Name(), got, v, err)
	}
}

func TestCodecs(t *testing.T) {
	roundTrip(t, String, "grüß", "grüß")
	roundTrip(t, Int64, -2, "\xff\xff\xff\xff\xff\xff\xff\xfe")
	roundTrip(t, Float64, 1, "\x3f\xf0\x00\x00\x00\x00\x00\x00")
	roundTrip(t, JSON[struct{ A int }](), struct{ A int }{1}, `{"A":1}`)
	for _, bad := range []string{"", "1234567", "123456789"} {
		if _, err := Int64.Decode([]byte(bad)); err == nil {
			t.Errorf("int64 of %d bytes was read", len(bad))
		}
		if _, err := Float64.Decode([]byte(bad)); err == nil {
			t.Errorf("float64 of %d bytes was read", len(bad))
		}
	}
}

// What is kept in a store must not hold on to the fetched bytes.
func TestCopyingCodecsDoNotReferToTheirInput(t *testing.T) {
	src := []byte("abc")
	s, _ := copyingCodec(String).Decode(src) // cannot fail
	b, _ := copyingCodec(Bytes).Decode(src)  // cannot fail
	copy(src, "xyz")
	if s != "abc" || !bytes.Equal(b, []byte("abc")) {
		t.Errorf("got %q and %q after the input changed", s, b)
	}
}
