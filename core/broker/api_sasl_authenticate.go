package broker

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/milldam/milldam/core/wire"
)

// SaslAuthenticate, versions 0 to 2. 1 has the session's lifetime (KIP-368), 2 is flexible. See SaslHandshake.
func (s *Server) saslAuthenticate(cl *call, _ *kmsg.SASLAuthenticateRequest) {
	resp := kmsg.NewPtrSASLAuthenticateResponse()
	resp.ErrorCode, resp.ErrorMessage = int16(wire.IllegalSASLState), kmsg.StringPtr("SaslAuthenticate request received after successful authentication")
	cl.reply(resp)
}
