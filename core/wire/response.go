package wire

import (
	"encoding/binary"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// AppendResponse appends resp as a frame. The response's version is that of its request.
func AppendResponse(dst []byte, correlation int32, resp kmsg.Response) []byte {
	at := len(dst)
	dst = append(dst, 0, 0, 0, 0)
	dst = AppendResponseHeader(dst, correlation, flexibleHeader(resp))
	dst = resp.AppendTo(dst)
	binary.BigEndian.PutUint32(dst[at:], uint32(len(dst)-at-4))
	return dst
}

// AppendResponseHeader appends the header that is in front of every response, behind the frame's size.
func AppendResponseHeader(dst []byte, correlation int32, flexible bool) []byte {
	dst = binary.BigEndian.AppendUint32(dst, uint32(correlation))
	if flexible {
		dst = append(dst, 0) // no tags
	}
	return dst
}

// flexibleHeader: the header of ApiVersions never has tags, since who asks does not know yet what is understood.
func flexibleHeader(resp kmsg.Response) bool {
	return resp.IsFlexible() && resp.Key() != int16(kmsg.ApiVersions)
}
