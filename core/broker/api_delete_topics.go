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
	for _, a := range topicsToDelete(s.opts.Controller.Image(), req) {
		err := a.err
		if err == nil {
			var t *meta.Topic
			if t, err = s.deleteTopic(ctx, a.name, a.id, changes); t != nil {
				a.name, a.id = &t.Name, t.ID
			}
		}
		out := kmsg.NewDeleteTopicsResponseTopic()
		out.Topic, out.TopicID, out.ErrorCode, out.ErrorMessage = a.name, a.id, int16(s.code(err)), message(err)
		resp.Topics = append(resp.Topics, out)
	}
	cl.throttle = changes.throttle
	cl.reply(resp)
}

// topicToDelete is one answer of a DeleteTopics request: err, or what becomes of the topic.
type topicToDelete struct {
	name *string
	id   record.TopicID
	err  error
}

var (
	errTopicTwice   = wrapped{meta.ErrInvalidRequest, "The topic was named more than once."}
	errTopicNowhere = wrapped{meta.ErrInvalidRequest, "Neither topic name nor id were specified."}
	errTopicBoth    = wrapped{meta.ErrInvalidRequest, "You may not specify both topic name and topic id."}
)

// topicsToDelete are the topics of a request as Kafka takes them: one that is named twice, or by its id twice, or by both, is answered once and stays.
func topicsToDelete(image *meta.Image, req *kmsg.DeleteTopicsRequest) []topicToDelete {
	none := record.TopicID{}
	var list []topicToDelete
	for i := range req.TopicNames {
		list = append(list, topicToDelete{name: &req.TopicNames[i]})
	}
	for _, t := range req.Topics {
		list = append(list, topicToDelete{name: t.Topic, id: t.TopicID})
	}
	names, ids := map[string]int{}, map[record.TopicID]int{} // how often each is there alone
	for _, a := range list {
		switch {
		case a.name == nil:
			ids[a.id]++
		case a.id == none:
			names[*a.name]++
		}
	}
	var out []topicToDelete
	answered := map[any]bool{} // names and ids
	for _, a := range list {
		switch {
		case a.name == nil && a.id == none:
			a.err = errTopicNowhere
		case a.name != nil && a.id != none:
			a.err = errTopicBoth
		case a.name == nil && answered[a.id], a.name != nil && answered[*a.name]:
			continue
		case a.name == nil:
			answered[a.id] = true
			if t := image.TopicByID(a.id); ids[a.id] > 1 {
				a.err = errTopicTwice
			} else if t != nil && names[t.Name] == 1 {
				a.name, a.err, answered[t.Name] = &t.Name, errTopicTwice, true
			}
		default:
			answered[*a.name] = true
			if t := image.Topic(*a.name); names[*a.name] > 1 {
				a.err = errTopicTwice
			} else if t != nil && ids[t.ID] > 0 {
				a.id, a.err, answered[t.ID] = t.ID, errTopicTwice, answered[t.ID] || ids[t.ID] == 1
			}
		}
		out = append(out, a)
	}
	return out
}

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
	case t == nil && name != nil:
		return nil, wrapped{meta.ErrUnknownTopic, "unknown topic " + *name}
	case t == nil:
		return nil, unknownID
	}
	if s.opts.Controller.BrokerValue(image, "delete.topic.enable") == "false" {
		return t, wrapped{errDeletionDisabled, "Topic deletion is disabled."}
	}
	if err := changes.take(len(t.Partitions)); err != nil {
		return t, err
	}
	if err := s.opts.Controller.DeleteTopic(ctx, t.ID); err != nil {
		return t, err
	}
	err := s.opts.Replicas.RemoveTopic(ctx, t.ID)
	switch t.Name {
	case offsetsTopic:
		s.opts.Groups.Forget()
	case txnTopic:
		s.opts.Transactions.Forget()
	default:
		s.opts.Groups.TopicsDeleted([]string{t.Name})
	}
	return t, err
}
