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

// FindCoordinator, versions 0 to 6. 4 asks for several (KIP-699). There is one node, so it is the coordinator of every group and transaction, but for those whose partition is damaged.
func (s *Server) findCoordinator(cl *call, req *kmsg.FindCoordinatorRequest) {
	resp := kmsg.NewPtrFindCoordinatorResponse()
	code, why := s.hasCoordinators(req.CoordinatorType, cl.header.Version)
	answer := func(key string) (errorCode int16, message *string, node int32, host string, port int32) {
		if code != wire.None {
			return int16(code), why, noLeader, "", -1
		}
		if !s.coordinatesKey(req.CoordinatorType, key) {
			return int16(wire.CoordinatorNotAvailable), usualMessage(cl.header.Version, "The coordinator is not available."), noLeader, "", -1
		}
		host, port = cl.address()
		return 0, why, s.opts.NodeID, host, port
	}
	if cl.header.Version < findSeveral {
		resp.ErrorCode, resp.ErrorMessage, resp.NodeID, resp.Host, resp.Port = answer(req.CoordinatorKey)
		cl.reply(resp)
		return
	}
	for _, key := range req.CoordinatorKeys {
		c := kmsg.NewFindCoordinatorResponseCoordinator()
		c.Key = key
		c.ErrorCode, c.ErrorMessage, c.NodeID, c.Host, c.Port = answer(key)
		resp.Coordinators = append(resp.Coordinators, c)
	}
	cl.reply(resp)
}

// usualMessage is the text of a code that says nothing more: from the version that asks for several on it is left out, and is empty, not null.
func usualMessage(version int16, text string) *string {
	if version >= findSeveral {
		text = ""
	}
	return &text
}

// hasCoordinators tells whether there are coordinators of a kind.
func (s *Server) hasCoordinators(kind int8, version int16) (code wire.Code, why *string) {
	switch kind {
	case groupCoordinator:
		return wire.None, usualMessage(version, "NONE")
	case txnCoordinator:
		if _, err := EnsureTxnTopic(s.ctx, s.opts.Controller); err != nil {
			text := "the topic of transactions cannot be made: " + err.Error()
			return wire.CoordinatorNotAvailable, &text
		}
		return wire.None, usualMessage(version, "NONE")
	}
	text := "there is no coordinator of this kind: share groups are not served"
	return wire.InvalidRequest, &text
}

// coordinatesKey tells whether this node can coordinate a group or a transactional id.
func (s *Server) coordinatesKey(kind int8, key string) bool {
	if kind == txnCoordinator {
		return s.coordinates(txnTopic, s.opts.Transactions.PartitionFor(key))
	}
	return s.coordinates(offsetsTopic, s.opts.Groups.PartitionFor(key))
}
