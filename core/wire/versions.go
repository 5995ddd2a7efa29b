package wire

import (
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// Range is the versions of one API.
type Range struct{ Key, Min, Max int16 }

// served is every API this broker answers, at the ranges of Apache Kafka 4.3.1; testdata/kafka-4.3.1.txt is what that says of itself. Produce is
// advertised from 0 for clients that give up otherwise; 0 to 2 are answered with UNSUPPORTED_VERSION, as there.
var served = []Range{
	{int16(kmsg.Produce), 0, 13},
	{int16(kmsg.Fetch), 4, 18},
	{int16(kmsg.ListOffsets), 1, 11},
	{int16(kmsg.Metadata), 0, 13},
	{int16(kmsg.OffsetCommit), 2, 10},
	{int16(kmsg.OffsetFetch), 1, 10},
	{int16(kmsg.FindCoordinator), 0, 6},
	{int16(kmsg.JoinGroup), 0, 9},
	{int16(kmsg.Heartbeat), 0, 4},
	{int16(kmsg.LeaveGroup), 0, 5},
	{int16(kmsg.SyncGroup), 0, 5},
	{int16(kmsg.DescribeGroups), 0, 6},
	{int16(kmsg.ListGroups), 0, 5},
	{int16(kmsg.SASLHandshake), 0, 1},
	{int16(kmsg.ApiVersions), 0, 4},
	{int16(kmsg.CreateTopics), 2, 7},
	{int16(kmsg.DeleteTopics), 1, 6},
	{int16(kmsg.DeleteRecords), 0, 2},
	{int16(kmsg.InitProducerID), 0, 5},
	{int16(kmsg.OffsetForLeaderEpoch), 2, 4},
	{int16(kmsg.AddPartitionsToTxn), 0, 5},
	{int16(kmsg.AddOffsetsToTxn), 0, 4},
	{int16(kmsg.EndTxn), 0, 5},
	{int16(kmsg.WriteTxnMarkers), 1, 2},
	{int16(kmsg.TxnOffsetCommit), 0, 5},
	{int16(kmsg.DescribeACLs), 1, 3},
	{int16(kmsg.CreateACLs), 1, 3},
	{int16(kmsg.DeleteACLs), 1, 3},
	{int16(kmsg.DescribeConfigs), 1, 4},
	{int16(kmsg.AlterConfigs), 0, 2},
	{int16(kmsg.AlterReplicaLogDirs), 1, 2},
	{int16(kmsg.DescribeLogDirs), 1, 5},
	{int16(kmsg.SASLAuthenticate), 0, 2},
	{int16(kmsg.CreatePartitions), 0, 3},
	{int16(kmsg.DeleteGroups), 0, 2},
	{int16(kmsg.ElectLeaders), 0, 2},
	{int16(kmsg.IncrementalAlterConfigs), 0, 1},
	{int16(kmsg.AlterPartitionAssignments), 0, 1},
	{int16(kmsg.ListPartitionReassignments), 0, 0},
	{int16(kmsg.OffsetDelete), 0, 0},
	{int16(kmsg.DescribeClientQuotas), 0, 1},
	{int16(kmsg.AlterClientQuotas), 0, 1},
	{int16(kmsg.DescribeUserSCRAMCredentials), 0, 0},
	{int16(kmsg.AlterUserSCRAMCredentials), 0, 0},
	{int16(kmsg.UpdateFeatures), 0, 2},
	{int16(kmsg.DescribeCluster), 0, 2},
	{int16(kmsg.DescribeProducers), 0, 0},
	{int16(kmsg.DescribeTransactions), 0, 0},
	{int16(kmsg.ListTransactions), 0, 2},
	{int16(kmsg.ConsumerGroupHeartbeat), 0, 1},
	{int16(kmsg.ConsumerGroupDescribe), 0, 1},
	{int16(kmsg.ListConfigResources), 0, 1},
	{int16(kmsg.DescribeTopicPartitions), 0, 0},
}

// Served lists the APIs this broker answers, sorted by key.
func Served() []Range { return slices.Clone(served) }

// RangeOf returns the versions served of an API; ok is false for one that is not.
func RangeOf(key int16) (r Range, ok bool) {
	i, ok := slices.BinarySearchFunc(served, key, func(r Range, key int16) int { return int(r.Key) - int(key) })
	if !ok {
		return Range{}, false
	}
	return served[i], true
}
