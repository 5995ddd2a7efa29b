package broker

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/milldam/milldam/core/wire"
)

// SaslHandshake, versions 0 and 1. A plaintext listener has nothing to authenticate with, so every client comes too late with it.
func (s *Server) saslHandshake(cl *call, _ *kmsg.SASLHandshakeRequest) {
	resp := kmsg.NewPtrSASLHandshakeResponse()
	resp.ErrorCode = int16(wire.IllegalSASLState)
	cl.reply(resp)
}
