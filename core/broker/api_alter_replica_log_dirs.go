package broker

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/milldam/milldam/core/wire"
)

// AlterReplicaLogDirs, versions 1 and 2 (KIP-113). 2 is flexible. A node has one folder for logs, so a replica is where it is asked to be, or asked to
// where there is nothing.
func (s *Server) alterReplicaLogDirs(cl *call, req *kmsg.AlterReplicaLogDirsRequest) {
	resp := kmsg.NewPtrAlterReplicaLogDirsResponse()
	for _, d := range req.Dirs {
		for _, t := range d.Topics {
			out := kmsg.NewAlterReplicaLogDirsResponseTopic()
			out.Topic = t.Topic
			for _, index := range t.Partitions {
				row := kmsg.NewAlterReplicaLogDirsResponseTopicPartition()
				row.Partition = index
				if d.Dir != s.opts.DataDir {
					row.ErrorCode = int16(wire.LogDirNotFound)
				} else if _, err := s.opts.Replicas.Partition(t.Topic, index); err != nil {
					row.ErrorCode = int16(s.code(err))
				}
				out.Partitions = append(out.Partitions, row)
			}
			resp.Topics = append(resp.Topics, out)
		}
	}
	cl.reply(resp)
}
