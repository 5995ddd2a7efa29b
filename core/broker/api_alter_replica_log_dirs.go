package broker

import (
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/milldam/milldam/core/wire"
)

// maxMovedName is the longest name of a partition's folder that leaves room in 255 bytes for what Apache Kafka puts behind it while it moves: ".", a UUID without dashes, and "-future".
const maxMovedName = 255 - 1 - 32 - len("-future")

// AlterReplicaLogDirs, versions 1 and 2 (KIP-113). 2 is flexible. A node has one folder for logs, so a replica is where it is asked to be, or asked to
// where there is nothing.
func (s *Server) alterReplicaLogDirs(cl *call, req *kmsg.AlterReplicaLogDirsRequest) {
	resp := kmsg.NewPtrAlterReplicaLogDirsResponse()
	type place struct {
		topic     string
		partition int32
	}
	dirs := map[place]string{} // a partition that is named twice is answered once, by the last folder
	topics := map[string]int{} // index in the response
	for _, d := range req.Dirs {
		for _, t := range d.Topics {
			for _, index := range t.Partitions {
				at := place{t.Topic, index}
				if _, again := dirs[at]; !again {
					if _, known := topics[t.Topic]; !known {
						topics[t.Topic] = len(resp.Topics)
						out := kmsg.NewAlterReplicaLogDirsResponseTopic()
						out.Topic = t.Topic
						resp.Topics = append(resp.Topics, out)
					}
					row := kmsg.NewAlterReplicaLogDirsResponseTopicPartition()
					row.Partition = index
					out := &resp.Topics[topics[t.Topic]]
					out.Partitions = append(out.Partitions, row)
				}
				dirs[at] = d.Dir
			}
		}
	}
	for i := range resp.Topics {
		t := &resp.Topics[i]
		for j := range t.Partitions {
			p := &t.Partitions[j]
			if len(fmt.Sprintf("%s-%d", t.Topic, p.Partition)) > maxMovedName {
				p.ErrorCode = int16(wire.InvalidTopic)
			} else if dirs[place{t.Topic, p.Partition}] != s.opts.DataDir {
				p.ErrorCode = int16(wire.LogDirNotFound)
			} else if _, err := s.opts.Replicas.Partition(t.Topic, p.Partition); err != nil {
				p.ErrorCode = int16(s.code(err))
			}
		}
	}
	cl.reply(resp)
}
