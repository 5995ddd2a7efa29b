package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// MaxFrameBytes is the largest request, as Kafka's socket.request.max.bytes.
const MaxFrameBytes = 100 << 20

// Errors of frames. The connection they come over is closed: nothing behind such bytes can be trusted.
var (
	ErrFrameSize = errors.New("impossible frame size")
	ErrMalformed = errors.New("malformed request")
	// ErrUnsupportedVersion is of a request whose API is served at other versions.
	ErrUnsupportedVersion = errors.New("unsupported version")
	// ErrUnknownAPI is of a request for an API that is not served.
	ErrUnknownAPI = errors.New("unknown API")
)

// FrameSize reads the four bytes before a frame.
func FrameSize(b [4]byte) (int, error) {
	n := int32(binary.BigEndian.Uint32(b[:]))
	if n < minHeaderBytes || n > MaxFrameBytes {
		return 0, fmt.Errorf("%w: %d%s", ErrFrameSize, n, likely(b))
	}
	return int(n), nil
}

// likely names what a client speaks that begins so, and it is not Kafka's protocol.
func likely(b [4]byte) string {
	switch {
	case b[0] == 22 && b[1] == 3:
		return "; the client speaks TLS, and this listener is plaintext"
	case slices.Contains([]string{"GET ", "HEAD", "POST", "PUT ", "OPTI", "DELE"}, string(b[:])):
		return "; the client speaks HTTP, which another address serves"
	}
	return ""
}

// minHeaderBytes is key, version, correlation id and the length of the client id.
const minHeaderBytes = 2 + 2 + 4 + 2

// Header is the header of a request.
type Header struct {
	Key, Version int16
	Correlation  int32
	ClientID     string
}

// ParseRequest reads a frame. The request's byte slices point into it. With ErrUnsupportedVersion and ErrUnknownAPI the header is good and the request nil.
func ParseRequest(frame []byte) (h Header, req kmsg.Request, err error) {
	if len(frame) < minHeaderBytes {
		return h, nil, fmt.Errorf("%w: %d bytes", ErrMalformed, len(frame))
	}
	h.Key, h.Version = int16(binary.BigEndian.Uint16(frame)), int16(binary.BigEndian.Uint16(frame[2:]))
	h.Correlation = int32(binary.BigEndian.Uint32(frame[4:]))
	length := int(int16(binary.BigEndian.Uint16(frame[8:])))
	rest := frame[minHeaderBytes:]
	if length > len(rest) || length < -1 {
		return h, nil, fmt.Errorf("%w: a client id of %d bytes", ErrMalformed, length)
	}
	if length > 0 {
		h.ClientID, rest = string(rest[:length]), rest[length:]
	}
	r, known := RangeOf(h.Key)
	if !known {
		return h, nil, fmt.Errorf("%w: key %d", ErrUnknownAPI, h.Key)
	}
	if h.Version < r.Min || h.Version > r.Max {
		return h, nil, fmt.Errorf("%w: %s %d, %d to %d are served", ErrUnsupportedVersion, kmsg.NameForKey(h.Key), h.Version, r.Min, r.Max)
	}
	req = kmsg.RequestForKey(h.Key)
	req.SetVersion(h.Version)
	if req.IsFlexible() {
		if rest, err = skipTags(rest); err != nil {
			return h, nil, err
		}
	}
	if err := req.ReadFrom(rest); err != nil {
		return h, nil, fmt.Errorf("%w: %s %d: %w", ErrMalformed, kmsg.NameForKey(h.Key), h.Version, err)
	}
	return h, req, nil
}

// maxTags bounds the tagged fields of a header; nobody sends any.
const maxTags = 1000

func skipTags(b []byte) ([]byte, error) {
	count, n := binary.Uvarint(b)
	if n <= 0 || count > maxTags {
		return nil, fmt.Errorf("%w: tags of the header", ErrMalformed)
	}
	b = b[n:]
	for range count {
		_, n := binary.Uvarint(b)
		if n <= 0 {
			return nil, fmt.Errorf("%w: tags of the header", ErrMalformed)
		}
		b = b[n:]
		size, n := binary.Uvarint(b)
		if n <= 0 || size > uint64(len(b)-n) {
			return nil, fmt.Errorf("%w: tags of the header", ErrMalformed)
		}
		b = b[n+int(size):]
	}
	return b, nil
}
