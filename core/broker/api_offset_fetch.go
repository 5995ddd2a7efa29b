package broker

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/milldam/milldam/core/record"
	"github.com/milldam/milldam/core/wire"
)

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
