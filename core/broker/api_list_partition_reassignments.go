package broker

import (
	"github.com/twmb/franz-go/pkg/kmsg"
)

// ListPartitionReassignments, version 0: none are under way on one node.
func (s *Server) listPartitionReassignments(cl *call, _ *kmsg.ListPartitionReassignmentsRequest) {
	cl.reply(kmsg.NewPtrListPartitionReassignmentsResponse())
}
