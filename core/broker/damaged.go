package broker

import "github.com/milldam/milldam/core/meta"

// A partition whose files are damaged is answered as Kafka 4.3.1 answers one in a log directory that failed on its only broker: it has no leader, and its replica is offline; requests that
// reach it all the same get KAFKA_STORAGE_ERROR, and groups and transactions that are kept there have no coordinator. The metadata itself goes on naming the leader, since what is damaged is
// this node's to know, and is mended without a change of the metadata.

// noLeader is the leader of a partition that has none.
const noLeader = -1

// damaged tells whether a partition does not serve because its files are not what was written.
func (s *Server) damaged(t *meta.Topic, partition int32) bool {
	l := s.opts.Replicas.Store().Log(t.ID, partition)
	return l != nil && l.Damaged() != nil
}

// coordinates tells whether this node can coordinate what is kept in a partition of an internal topic, which need not be there yet.
func (s *Server) coordinates(topic string, partition int32) bool {
	t := s.opts.Controller.Image().Topic(topic)
	return t == nil || !s.damaged(t, partition)
}
