package broker

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/milldam/milldam/core/meta"
	"github.com/milldam/milldam/core/replica"
)

// DescribeProducers, version 0 (KIP-664): who writes to a partition, and where the open transactions begin.
func (s *Server) describeProducers(cl *call, req *kmsg.DescribeProducersRequest) {
	resp := kmsg.NewPtrDescribeProducersResponse()
	for _, t := range req.Topics {
		out := kmsg.NewDescribeProducersResponseTopic()
		out.Topic = t.Topic
		for _, index := range t.Partitions {
			out.Partitions = append(out.Partitions, s.producersOf(t.Topic, index))
		}
		resp.Topics = append(resp.Topics, out)
	}
	cl.reply(resp)
}

func (s *Server) producersOf(topic string, index int32) kmsg.DescribeProducersResponseTopicPartition {
	out := kmsg.NewDescribeProducersResponseTopicPartition()
	out.Partition = index
	err := meta.CheckTopicName(topic)
	var p *replica.Partition
	if err == nil {
		p, err = s.opts.Replicas.Partition(topic, index)
	}
	if err == nil {
		err = p.Log.Err()
	}
	if err != nil {
		out.ErrorCode, out.ErrorMessage = int16(s.code(err)), message(err)
		return out
	}
	for _, x := range p.Producers() {
		row := kmsg.NewDescribeProducersResponseTopicPartitionActiveProducer()
		row.ProducerID, row.ProducerEpoch, row.LastSequence, row.LastTimestamp = int64(x.ProducerID), int32(x.Epoch), int32(x.LastSequence), x.LastTimestamp
		row.CoordinatorEpoch, row.CurrentTxnStartOffset = x.CoordinatorEpoch, int64(x.TxnFirst)
		out.ActiveProducers = append(out.ActiveProducers, row)
	}
	return out
}
