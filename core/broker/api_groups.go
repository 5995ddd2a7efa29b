package broker

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/milldam/milldam/core/meta"
	"github.com/milldam/milldam/core/record"
	"github.com/milldam/milldam/core/wire"
)

// The classic group protocol. What the requests mean stands in coordinator; here are names, ids and who asks.

// Kinds of coordinators.
const (
	groupCoordinator = 0
	txnCoordinator   = 1
)

// FindCoordinator, versions 0 to 6. 4 asks for several (KIP-699). There is one node, so it is the coordinator of every group and transaction.
func (s *Server) findCoordinator(cl *call, req *kmsg.FindCoordinatorRequest) {
	resp := kmsg.NewPtrFindCoordinatorResponse()
	host, port := cl.address()
	answer := func() (code wire.Code, why *string) {
		switch req.CoordinatorType {
		case groupCoordinator:
			return wire.None, nil
		case txnCoordinator:
			if _, err := EnsureTxnTopic(s.ctx, s.opts.Controller); err != nil {
				text := "the topic of transactions cannot be made: " + err.Error()
				return wire.CoordinatorNotAvailable, &text
			}
			return wire.None, nil
		}
		text := "there is no coordinator of this kind: share groups are not served"
		return wire.InvalidRequest, &text
	}
	code, why := answer()
	node := s.opts.NodeID
	if code != wire.None {
		node, host, port = -1, "", -1
	}
	if cl.header.Version < 4 {
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

// JoinGroup, versions 0 to 9. 4 asks new members to come again with an id (KIP-394), 5 static members (KIP-345), 6 is flexible, 8 reasons (KIP-800).
func (s *Server) joinGroup(cl *call, req *kmsg.JoinGroupRequest) {
	s.opts.Groups.Join(cl.client(), req, func(r *kmsg.JoinGroupResponse) { cl.reply(r) })
}

// SyncGroup, versions 0 to 5.
func (s *Server) syncGroup(cl *call, req *kmsg.SyncGroupRequest) {
	s.opts.Groups.Sync(cl.client(), req, func(r *kmsg.SyncGroupResponse) { cl.reply(r) })
}

// Heartbeat, versions 0 to 4.
func (s *Server) heartbeat(cl *call, req *kmsg.HeartbeatRequest) {
	s.opts.Groups.Heartbeat(req, func(r *kmsg.HeartbeatResponse) { cl.reply(r) })
}

// LeaveGroup, versions 0 to 5. 3 takes several members.
func (s *Server) leaveGroup(cl *call, req *kmsg.LeaveGroupRequest) {
	s.opts.Groups.Leave(req, func(r *kmsg.LeaveGroupResponse) { cl.reply(r) })
}

// DescribeGroups, versions 0 to 6.
func (s *Server) describeGroups(cl *call, req *kmsg.DescribeGroupsRequest) {
	s.opts.Groups.Describe(req, func(r *kmsg.DescribeGroupsResponse) {
		for i := range r.Groups {
			if req.IncludeAuthorizedOperations && r.Groups[i].ErrorCode == 0 {
				r.Groups[i].AuthorizedOperations = groupOperations
			}
		}
		cl.reply(r)
	})
}

// ListGroups, versions 0 to 5. 4 filters by state (KIP-518), 5 by type (KIP-848).
func (s *Server) listGroups(cl *call, req *kmsg.ListGroupsRequest) {
	s.opts.Groups.List(req, func(r *kmsg.ListGroupsResponse) { cl.reply(r) })
}

// DeleteGroups, versions 0 to 2.
func (s *Server) deleteGroups(cl *call, req *kmsg.DeleteGroupsRequest) {
	s.opts.Groups.Delete(req, func(r *kmsg.DeleteGroupsResponse) { cl.reply(r) })
}

const offsetsTopicIDs = 10 // the version of OffsetCommit and OffsetFetch that names topics by id (KIP-848)

// OffsetCommit, versions 2 to 10. 7 has static members, 8 is flexible, 10 names topics by id.
func (s *Server) offsetCommit(cl *call, req *kmsg.OffsetCommitRequest) {
	image := s.opts.Controller.Image()
	known := *req
	known.Topics = nil
	refused := map[int]wire.Code{} // topics of the request that the coordinator never sees
	for i := range req.Topics {
		t := req.Topics[i]
		found, code := topicOf(image, cl.header.Version >= offsetsTopicIDs, t.Topic, t.TopicID)
		if found == nil {
			refused[i] = code
			continue
		}
		t.Topic, t.TopicID = found.Name, found.ID
		known.Topics = append(known.Topics, t)
	}
	s.opts.Groups.CommitOffsets(&known, func(r *kmsg.OffsetCommitResponse) {
		resp := *r
		resp.Topics = nil
		for i, next := 0, 0; i < len(req.Topics); i++ {
			code, isRefused := refused[i]
			if !isRefused {
				resp.Topics = append(resp.Topics, r.Topics[next])
				resp.Topics[i].TopicID = req.Topics[i].TopicID
				next++
				continue
			}
			t := kmsg.NewOffsetCommitResponseTopic()
			t.Topic, t.TopicID = req.Topics[i].Topic, req.Topics[i].TopicID
			for _, p := range req.Topics[i].Partitions {
				row := kmsg.NewOffsetCommitResponseTopicPartition()
				row.Partition, row.ErrorCode = p.Partition, int16(code)
				t.Partitions = append(t.Partitions, row)
			}
			resp.Topics = append(resp.Topics, t)
		}
		cl.reply(&resp)
	})
}

func topicOf(image *meta.Image, byID bool, name string, id record.TopicID) (*meta.Topic, wire.Code) {
	if byID {
		return image.TopicByID(id), wire.UnknownTopicID
	}
	return image.Topic(name), wire.UnknownTopicOrPartition
}

// OffsetFetch, versions 1 to 10. 2 takes no topics as all, 6 is flexible, 8 asks for several groups (KIP-709), 10 names topics by id. The
// coordinator sees names alone.
func (s *Server) offsetFetch(cl *call, req *kmsg.OffsetFetchRequest) {
	if cl.header.Version < offsetsTopicIDs {
		s.opts.Groups.FetchOffsets(req, func(r *kmsg.OffsetFetchResponse) { cl.reply(r) })
		return
	}
	image := s.opts.Controller.Image()
	for i := range req.Groups {
		for j := range req.Groups[i].Topics {
			t := &req.Groups[i].Topics[j]
			if found := image.TopicByID(record.TopicID(t.TopicID)); found != nil {
				t.Topic = found.Name
			}
		}
	}
	s.opts.Groups.FetchOffsets(req, func(r *kmsg.OffsetFetchResponse) {
		image := s.opts.Controller.Image()
		for i := range r.Groups {
			for j := range r.Groups[i].Topics {
				t := &r.Groups[i].Topics[j]
				if found := image.Topic(t.Topic); found != nil {
					t.TopicID = found.ID
					continue
				}
				if j < len(req.Groups[i].Topics) {
					t.TopicID = req.Groups[i].Topics[j].TopicID
				}
				for k := range t.Partitions {
					t.Partitions[k].ErrorCode = int16(wire.UnknownTopicID)
				}
			}
		}
		cl.reply(r)
	})
}
