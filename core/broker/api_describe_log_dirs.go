package broker

import (
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/milldam/milldam/core/storage"
	"github.com/milldam/milldam/core/wire"
)

// DescribeLogDirs, versions 1 to 5. 2 is flexible, 3 has an error for all, 4 the size of the disk, 5 whether new partitions stay out of it (KIP-1066).
func (s *Server) describeLogDirs(cl *call, req *kmsg.DescribeLogDirsRequest) {
	wanted := map[string][]int32{}
	for _, t := range req.Topics {
		wanted[t.Topic] = append(wanted[t.Topic], t.Partitions...)
	}
	dir := kmsg.NewDescribeLogDirsResponseDir()
	dir.Dir = s.opts.DataDir
	if s.opts.Replicas.Store().Err() != nil {
		dir.ErrorCode = int16(wire.KafkaStorageError)
	}
	total, free, err := s.opts.Replicas.Usage()
	if err == nil {
		dir.TotalBytes, dir.UsableBytes = int64(total), int64(free)
	}
	at := map[string]int{}
	var damaged []kmsg.DescribeLogDirsResponseDir
	for _, l := range s.opts.Replicas.Store().Logs() {
		if parts, asked := wanted[l.Topic()]; req.Topics != nil && (!asked || !slices.Contains(parts, l.Partition())) {
			continue
		}
		if l.Damaged() != nil {
			damaged = append(damaged, s.damagedDir(l))
			continue
		}
		i, ok := at[l.Topic()]
		if !ok {
			i = len(dir.Topics)
			at[l.Topic()] = i
			t := kmsg.NewDescribeLogDirsResponseDirTopic()
			t.Topic = l.Topic()
			dir.Topics = append(dir.Topics, t)
		}
		p := kmsg.NewDescribeLogDirsResponseDirTopicPartition()
		p.Partition, p.Size = l.Partition(), l.SizeBytes()
		dir.Topics[i].Partitions = append(dir.Topics[i].Partitions, p)
	}
	resp := kmsg.NewPtrDescribeLogDirsResponse()
	resp.Dirs = append(append(resp.Dirs, dir), damaged...)
	cl.reply(resp)
}

// damagedDir names a partition that is not served, as the failed directory that it is.
func (s *Server) damagedDir(l *storage.Log) kmsg.DescribeLogDirsResponseDir {
	dir, t, p := kmsg.NewDescribeLogDirsResponseDir(), kmsg.NewDescribeLogDirsResponseDirTopic(), kmsg.NewDescribeLogDirsResponseDirTopicPartition()
	dir.Dir, dir.ErrorCode = l.Dir(), int16(wire.KafkaStorageError)
	t.Topic, p.Partition, p.Size = l.Topic(), l.Partition(), l.SizeBytes()
	t.Partitions = append(t.Partitions, p)
	dir.Topics = append(dir.Topics, t)
	return dir
}
