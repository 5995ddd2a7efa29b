package broker_test

import (
	"fmt"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"
)

func playOddFetch(s *txnScript) {
	s.produceRaw(9, "a record", nil, batch(nobody, -1, false))
	fetch := func(what string, version int16, change func(*kmsg.FetchRequest)) *kmsg.FetchResponse {
		req := kmsg.NewPtrFetchRequest()
		req.MaxBytes, req.MaxWaitMillis, req.SessionEpoch = 1<<20, 10, -1
		t, p := kmsg.NewFetchRequestTopic(), kmsg.NewFetchRequestTopicPartition()
		t.Topic, t.TopicID, p.PartitionMaxBytes = s.topic, s.topicID, 1<<20
		t.Partitions = append(t.Partitions, p)
		req.Topics = append(req.Topics, t)
		change(req)
		r, ok := s.alone(version, req).(*kmsg.FetchResponse)
		if !ok {
			s.say("  Fetch v%d, %s: no answer", version, what)
			return nil
		}
		var lines []string
		for _, t := range r.Topics {
			for _, p := range t.Partitions {
				lines = append(lines, fmt.Sprintf("%d %s hw %d lso %d start %d aborted %d bytes %v", p.Partition, codeName(p.ErrorCode), p.HighWatermark, p.LastStableOffset, p.LogStartOffset,
					len(p.AbortedTransactions), len(p.RecordBatches) > 0))
			}
		}
		s.say("  Fetch v%d, %s: %s, session %v, %s", version, what, codeName(r.ErrorCode), r.SessionID != 0, strings.Join(lines, "; "))
		return r
	}
	first := func(r *kmsg.FetchRequest) *kmsg.FetchRequestTopicPartition { return &r.Topics[0].Partitions[0] }
	for _, version := range []int16{4, 6, 11, 12, 16} {
		fetch("as it should be", version, func(*kmsg.FetchRequest) {})
		fetch("behind the end", version, func(r *kmsg.FetchRequest) { first(r).FetchOffset = 100 })
		fetch("below zero", version, func(r *kmsg.FetchRequest) { first(r).FetchOffset = -1 })
		fetch("no bytes of the partition", version, func(r *kmsg.FetchRequest) { first(r).PartitionMaxBytes = 0 })
		fetch("negative bytes of the partition", version, func(r *kmsg.FetchRequest) { first(r).PartitionMaxBytes = -1 })
		fetch("no bytes", version, func(r *kmsg.FetchRequest) { r.MaxBytes = 0 })
		fetch("negative bytes", version, func(r *kmsg.FetchRequest) { r.MaxBytes = -1 })
		fetch("a negative wait", version, func(r *kmsg.FetchRequest) { r.MaxWaitMillis, r.MinBytes = -1, 1<<20 })
		fetch("negative least bytes", version, func(r *kmsg.FetchRequest) { r.MinBytes, first(r).FetchOffset = -1, 1 })
		fetch("a partition that is not there", version, func(r *kmsg.FetchRequest) { first(r).Partition = 1000 })
		fetch("a topic that is not there", version, func(r *kmsg.FetchRequest) { r.Topics[0].Topic, r.Topics[0].TopicID = "not-there", [16]byte{9} })
		fetch("a later epoch", version, func(r *kmsg.FetchRequest) { first(r).CurrentLeaderEpoch = 77 })
		fetch("a negative epoch", version, func(r *kmsg.FetchRequest) { first(r).CurrentLeaderEpoch = -5 })
		fetch("negative bytes at the end", version, func(r *kmsg.FetchRequest) { first(r).PartitionMaxBytes, first(r).FetchOffset = -1, 1 })
		fetch("no topics", version, func(r *kmsg.FetchRequest) { r.Topics = nil })
	}
	fetch("a session that is not there", 12, func(r *kmsg.FetchRequest) { r.SessionID, r.SessionEpoch = 77, 1 })
	fetch("the end of a session that is not there", 12, func(r *kmsg.FetchRequest) { r.SessionID, r.SessionEpoch = 77, -1 })
	fetch("an epoch without a session", 12, func(r *kmsg.FetchRequest) { r.SessionEpoch = 5 })
	fetch("a new session of nothing", 12, func(r *kmsg.FetchRequest) { r.SessionEpoch, r.Topics = 0, nil })
	id := fetch("a new session", 12, func(r *kmsg.FetchRequest) { r.SessionEpoch = 0 }).SessionID
	in := func(what string, version int16, epoch int32, change func(*kmsg.FetchRequest)) {
		fetch(what, version, func(r *kmsg.FetchRequest) {
			r.SessionID, r.SessionEpoch = id, epoch
			change(r)
		})
	}
	nothing := func(r *kmsg.FetchRequest) { r.Topics = nil }
	in("the second of a session, which says nothing", 12, 1, nothing)
	in("the second again", 12, 1, nothing)
	in("an epoch too far", 12, 3, nothing)
	in("with topic ids", 13, 2, nothing)
	in("at the end", 12, 2, func(r *kmsg.FetchRequest) { first(r).FetchOffset = 1 })
	in("another partition", 12, 3, func(r *kmsg.FetchRequest) { first(r).Partition = 1 })
	forget := kmsg.NewFetchRequestForgottenTopic()
	forget.Topic, forget.Partitions = s.topic, []int32{0, 1, 2}
	in("forgets all", 12, 4, func(r *kmsg.FetchRequest) {
		r.Topics, r.ForgottenTopics = nil, []kmsg.FetchRequestForgottenTopic{forget}
	})
	in("after all are forgotten", 12, 5, nothing)
	in("the end of the fetch session", 12, -1, nothing)
	in("after the end of the fetch session", 12, 6, nothing)
}

func playOddAdministration(s *txnScript) {
	epochs := func(what string, version int16, partition, current, epoch int32) {
		req := kmsg.NewPtrOffsetForLeaderEpochRequest()
		t, p := kmsg.NewOffsetForLeaderEpochRequestTopic(), kmsg.NewOffsetForLeaderEpochRequestTopicPartition()
		t.Topic, p.Partition, p.CurrentLeaderEpoch, p.LeaderEpoch = s.topic, partition, current, epoch
		t.Partitions = append(t.Partitions, p)
		req.Topics, req.ReplicaID = append(req.Topics, t), -1
		s.whole(what, version, req)
	}
	for _, version := range []int16{2, 4} {
		epochs("as it should be", version, 0, -1, 0)
		epochs("an epoch below zero", version, 0, -1, -1)
		epochs("an epoch that never was", version, 0, -1, -2)
		epochs("an epoch that never was, no records", version, 2, -1, -2)
		epochs("a later epoch", version, 0, -1, 5)
		epochs("a later present epoch", version, 0, 7, 0)
		epochs("no such partition", version, 1000, -1, 0)
		epochs("a negative partition", version, -1, -1, 0)
		epochs("no records", version, 2, -1, 0)
	}
	records := func(what string, partition int32, offset int64) {
		req := kmsg.NewPtrDeleteRecordsRequest()
		req.TimeoutMillis = 5000
		t := kmsg.NewDeleteRecordsRequestTopic()
		t.Topic, t.Partitions = s.topic, []kmsg.DeleteRecordsRequestTopicPartition{{Partition: partition, Offset: offset}}
		req.Topics = append(req.Topics, t)
		s.whole(what, 2, req)
	}
	records("behind the end", 0, 100)
	records("below -1", 0, -2)
	records("no such partition", 1000, 0)
	records("the end", 0, -1)
	records("below the start", 0, 0)
	dirs := kmsg.NewPtrDescribeLogDirsRequest()
	dirs.Topics = []kmsg.DescribeLogDirsRequestTopic{{Topic: "not-there", Partitions: []int32{0}}}
	if r, ok := s.alone(4, dirs).(*kmsg.DescribeLogDirsResponse); ok {
		s.say("  DescribeLogDirs of nothing: %s, %d topics", codeName(r.Dirs[0].ErrorCode), len(r.Dirs[0].Topics))
	}
	dirs.Topics = []kmsg.DescribeLogDirsRequestTopic{{Topic: s.topic, Partitions: []int32{0, 0, 1000}}}
	if r, ok := s.alone(4, dirs).(*kmsg.DescribeLogDirsResponse); ok {
		n := 0
		for _, t := range r.Dirs[0].Topics {
			n += len(t.Partitions)
		}
		s.say("  DescribeLogDirs of a partition twice: %s, %d topics, %d partitions", codeName(r.Dirs[0].ErrorCode), len(r.Dirs[0].Topics), n)
	}
	grow := func(what string, change func(*kmsg.CreatePartitionsRequest)) {
		req := kmsg.NewPtrCreatePartitionsRequest()
		req.TimeoutMillis, req.ValidateOnly = 5000, true
		t := kmsg.NewCreatePartitionsRequestTopic()
		t.Topic, t.Count = s.topic, 5
		req.Topics = append(req.Topics, t)
		change(req)
		s.whole(what, 3, req)
	}
	grow("as it should be", func(*kmsg.CreatePartitionsRequest) {})
	grow("as many as there are", func(r *kmsg.CreatePartitionsRequest) { r.Topics[0].Count = 3 })
	grow("fewer", func(r *kmsg.CreatePartitionsRequest) { r.Topics[0].Count = 1 })
	grow("negative", func(r *kmsg.CreatePartitionsRequest) { r.Topics[0].Count = -1 })
	grow("a topic that is not there", func(r *kmsg.CreatePartitionsRequest) { r.Topics[0].Topic = "not-there" })
	grow("a topic of no name", func(r *kmsg.CreatePartitionsRequest) { r.Topics[0].Topic = "" })
	grow("a topic twice", func(r *kmsg.CreatePartitionsRequest) { r.Topics = append(r.Topics, r.Topics[0]) })
	grow("an assignment too few", func(r *kmsg.CreatePartitionsRequest) {
		r.Topics[0].Assignment = []kmsg.CreatePartitionsRequestTopicAssignment{{Replicas: []int32{1}}}
	})
	grow("no replicas", func(r *kmsg.CreatePartitionsRequest) {
		r.Topics[0].Assignment = []kmsg.CreatePartitionsRequestTopicAssignment{{Replicas: []int32{}}, {Replicas: []int32{}}}
	})
	grow("a broker that is not there", func(r *kmsg.CreatePartitionsRequest) {
		r.Topics[0].Assignment = []kmsg.CreatePartitionsRequestTopicAssignment{{Replicas: []int32{77}}, {Replicas: []int32{77}}}
	})
	metadata := func(what string, version int16, change func(*kmsg.MetadataRequest)) {
		req := kmsg.NewPtrMetadataRequest()
		t := kmsg.NewMetadataRequestTopic()
		t.Topic, req.AllowAutoTopicCreation = kmsg.StringPtr(s.topic), false
		req.Topics = append(req.Topics, t)
		change(req)
		r, ok := s.alone(version, req).(*kmsg.MetadataResponse)
		if !ok {
			s.say("  Metadata v%d, %s: no answer", version, what)
			return
		}
		var lines []string
		for _, t := range r.Topics {
			lines = append(lines, fmt.Sprintf("%v %s, %d partitions, id %v, operations %d", t.Topic != nil, codeName(t.ErrorCode), len(t.Partitions), t.TopicID != [16]byte{}, t.AuthorizedOperations))
		}
		s.say("  Metadata v%d, %s: %s, cluster operations %d", version, what, strings.Join(lines, "; "), r.AuthorizedOperations)
	}
	for _, version := range []int16{4, 8, 9, 12, 13} {
		metadata("a topic", version, func(*kmsg.MetadataRequest) {})
		metadata("with operations", version, func(r *kmsg.MetadataRequest) {
			r.IncludeClusterAuthorizedOperations, r.IncludeTopicAuthorizedOperations = true, true
		})
		metadata("a wrong name", version, func(r *kmsg.MetadataRequest) { r.Topics[0].Topic = kmsg.StringPtr("a b") })
		metadata("no name", version, func(r *kmsg.MetadataRequest) { r.Topics[0].Topic = kmsg.StringPtr("") })
		metadata("a topic that is not there", version, func(r *kmsg.MetadataRequest) { r.Topics[0].Topic = kmsg.StringPtr("not-there") })
	}
	for _, kind := range []int8{0, 1, 2, 3} {
		cluster := kmsg.NewPtrDescribeClusterRequest()
		cluster.EndpointType = kind
		r, ok := s.alone(1, cluster).(*kmsg.DescribeClusterResponse)
		if !ok {
			s.say("  DescribeCluster, endpoint type %d: no answer", kind)
			continue
		}
		s.say("  DescribeCluster, endpoint type %d: %s", kind, codeName(r.ErrorCode))
	}
	elect := kmsg.NewPtrElectLeadersRequest()
	elect.TimeoutMillis = 5000
	for _, kind := range []int8{0, 1, 2} {
		elect.ElectionType = kind
		elect.Topics = []kmsg.ElectLeadersRequestTopic{{Topic: s.topic, Partitions: []int32{0, 1000}}, {Topic: "not-there", Partitions: []int32{0}}}
		s.whole(fmt.Sprintf("type %d", kind), 2, elect)
	}
}
