package broker

import (
	"github.com/twmb/franz-go/pkg/kmsg"
)

// CreatePartitions, versions 0 to 3. 2 is flexible.
func (s *Server) createPartitions(cl *call, req *kmsg.CreatePartitionsRequest) {
	ctx, cancel := s.within(req.TimeoutMillis)
	defer cancel()
	changes := s.quotas.mutationsOf(cl.header.ClientID, cl.header.Version >= createPartitionsStrict)
	resp := kmsg.NewPtrCreatePartitionsResponse()
	named := map[string]int{}
	for _, in := range req.Topics {
		named[in.Topic]++
	}
	for _, in := range req.Topics {
		if named[in.Topic] == 0 { // answered
			continue
		}
		var assignment [][]int32
		for _, a := range in.Assignment {
			assignment = append(assignment, a.Replicas)
		}
		var err error
		if named[in.Topic] > 1 {
			err, named[in.Topic] = errTopicTwice, 0
		}
		if t := s.opts.Controller.Image().Topic(in.Topic); err == nil && t != nil && int(in.Count) > len(t.Partitions) {
			err = changes.take(int(in.Count) - len(t.Partitions))
		}
		if err == nil {
			err = s.opts.Controller.CreatePartitions(ctx, in.Topic, in.Count, assignment, req.ValidateOnly)
		}
		out := kmsg.NewCreatePartitionsResponseTopic()
		out.Topic, out.ErrorCode, out.ErrorMessage = in.Topic, int16(s.code(err)), message(err)
		resp.Topics = append(resp.Topics, out)
	}
	cl.throttle = changes.throttle
	cl.reply(resp)
}
