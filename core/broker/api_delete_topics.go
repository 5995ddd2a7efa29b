package broker

import (
	"context"
	"errors"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/milldam/milldam/core/meta"
	"github.com/milldam/milldam/core/record"
)

// errDeletionDisabled is of brokers with delete.topic.enable=false.
var errDeletionDisabled = errors.New("topic deletion is disabled")

// DeleteTopics, versions 1 to 6. 4 is flexible, 5 has messages, 6 takes topics by id (KIP-516).
func (s *Server) deleteTopics(cl *call, req *kmsg.DeleteTopicsRequest) {
	ctx, cancel := s.within(req.TimeoutMillis)
	defer cancel()
	changes := s.quotas.mutationsOf(cl.header.ClientID, cl.header.Version >= deleteTopicsStrict)
	resp := kmsg.NewPtrDeleteTopicsResponse()
	type asked struct {
		name *string
		id   record.TopicID
	}
	var list []asked
	for _, name := range req.TopicNames {
		list = append(list, asked{name: kmsg.StringPtr(name)})
	}
	for _, t := range req.Topics {
		list = append(list, asked{name: t.Topic, id: t.TopicID})
	}
	// By its id, or where it is not there by what it was asked by; a topic that is named twice is answered once, and stays.
	key := func(image *meta.Image, a asked) any {
		switch t := topicAsked(image, a.name, a.id); {
		case t != nil:
			return t.ID
		case a.name != nil:
			return *a.name
		}
		return a.id
	}
	image, named := s.opts.Controller.Image(), map[any]int{}
	for _, a := range list {
		named[key(image, a)]++
	}
	for _, a := range list {
		out := kmsg.NewDeleteTopicsResponseTopic()
		out.Topic, out.TopicID = a.name, a.id
		switch n := named[key(image, a)]; {
		case n == 0: // answered
			continue
		case n > 1:
			named[key(image, a)] = 0
			out.ErrorCode, out.ErrorMessage = int16(s.code(errTopicTwice)), message(errTopicTwice)
			resp.Topics = append(resp.Topics, out)
			continue
		}
		t, err := s.deleteTopic(ctx, a.name, a.id, changes)
		if t != nil {
			out.Topic, out.TopicID = kmsg.StringPtr(t.Name), t.ID
		}
		out.ErrorCode, out.ErrorMessage = int16(s.code(err)), message(err)
		resp.Topics = append(resp.Topics, out)
	}
	cl.throttle = changes.throttle
	cl.reply(resp)
}

var errTopicTwice = wrapped{meta.ErrInvalidRequest, "The topic was named more than once."}

// topicAsked is the topic with a name, or without one that with an id; nil when there is none.
func topicAsked(image *meta.Image, name *string, id record.TopicID) *meta.Topic {
	if name != nil {
		return image.Topic(*name)
	}
	return image.TopicByID(id)
}

func (s *Server) deleteTopic(ctx context.Context, name *string, id record.TopicID, changes *mutations) (*meta.Topic, error) {
	image := s.opts.Controller.Image()
	t := topicAsked(image, name, id)
	switch {
	case name == nil && id == record.TopicID{}:
		return nil, wrapped{meta.ErrInvalidRequest, "Neither topic name nor id were specified."}
	case t == nil && name != nil:
		return nil, wrapped{meta.ErrUnknownTopic, "unknown topic " + *name}
	case t == nil:
		return nil, unknownID
	}
	if s.opts.Controller.BrokerValue(image, "delete.topic.enable") == "false" {
		return t, wrapped{errDeletionDisabled, "Topic deletion is disabled."}
	}
	if isInternal(t.Name) {
		return t, wrapped{meta.ErrInvalidTopic, t.Name + " is internal and stays"}
	}
	if err := changes.take(len(t.Partitions)); err != nil {
		return t, err
	}
	if err := s.opts.Controller.DeleteTopic(ctx, t.ID); err != nil {
		return t, err
	}
	s.opts.Groups.TopicsDeleted([]string{t.Name})
	return t, s.opts.Replicas.RemoveTopic(ctx, t.ID)
}
