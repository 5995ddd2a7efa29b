package broker

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/milldam/milldam/core/wire"
)

// Kinds of coordinators.
const (
	groupCoordinator = 0
	txnCoordinator   = 1
)

// findSeveral is the version of FindCoordinator from which it asks for several.
const findSeveral = 4

// FindCoordinator, versions 0 to 6. 4 asks for several (KIP-699). There is one node, so it is the coordinator of every group and transaction.
func (s *Server) findCoordinator(cl *call, req *kmsg.FindCoordinatorRequest) {
	resp := kmsg.NewPtrFindCoordinatorResponse()
	host, port := cl.address()
	answer := func() (code wire.Code, why *string) {
		switch req.CoordinatorType {
		case groupCoordinator:
			return wire.None, nothingWrong(cl.header.Version)
		case txnCoordinator:
			if _, err := EnsureTxnTopic(s.ctx, s.opts.Controller); err != nil {
				text := "the topic of transactions cannot be made: " + err.Error()
				return wire.CoordinatorNotAvailable, &text
			}
			return wire.None, nothingWrong(cl.header.Version)
		}
		text := "there is no coordinator of this kind: share groups are not served"
		return wire.InvalidRequest, &text
	}
	code, why := answer()
	node := s.opts.NodeID
	if code != wire.None {
		node, host, port = -1, "", -1
	}
	if cl.header.Version < findSeveral {
		resp.ErrorCode, resp.ErrorMessage, resp.NodeID, resp.Host, resp.Port = int16(code), why, node, host, port
		cl.reply(resp)
		return
	}
	for _, key := range req.CoordinatorKeys {
		c := kmsg.NewFindCoordinatorResponseCoordinator()
		c.Key, c.NodeID, c.Host, c.Port, c.ErrorCode, c.ErrorMessage = key, node, host, port, int16(code), why
		resp.Coordinators = append(resp.Coordinators, c)
	}
	cl.reply(resp)
}

// nothingWrong is the message of success, which is none of the protocol's usual null.
func nothingWrong(version int16) *string {
	text := ""
	if version < findSeveral {
		text = "NONE"
	}
	return &text
}
