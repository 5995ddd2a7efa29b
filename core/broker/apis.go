package broker

import (
	"github.com/twmb/franz-go/pkg/kmsg"
)

// handler answers a request through cl, once, now or later.
type handler func(s *Server, cl *call, req kmsg.Request)

// on makes a handler of one for a request type.
func on[R kmsg.Request](fn func(*Server, *call, R)) handler {
	return func(s *Server, cl *call, req kmsg.Request) { fn(s, cl, req.(R)) }
}

// apis has a row for each API that wire says is served; a test compares the two.
var apis = map[int16]handler{
	int16(kmsg.Produce):                      on((*Server).produce),
	int16(kmsg.Fetch):                        on((*Server).fetch),
	int16(kmsg.ListOffsets):                  on((*Server).listOffsets),
	int16(kmsg.Metadata):                     on((*Server).metadata),
	int16(kmsg.OffsetCommit):                 on((*Server).offsetCommit),
	int16(kmsg.OffsetFetch):                  on((*Server).offsetFetch),
	int16(kmsg.FindCoordinator):              on((*Server).findCoordinator),
	int16(kmsg.JoinGroup):                    on((*Server).joinGroup),
	int16(kmsg.Heartbeat):                    on((*Server).heartbeat),
	int16(kmsg.LeaveGroup):                   on((*Server).leaveGroup),
	int16(kmsg.SyncGroup):                    on((*Server).syncGroup),
	int16(kmsg.DescribeGroups):               on((*Server).describeGroups),
	int16(kmsg.ListGroups):                   on((*Server).listGroups),
	int16(kmsg.DeleteGroups):                 on((*Server).deleteGroups),
	int16(kmsg.OffsetDelete):                 on((*Server).offsetDelete),
	int16(kmsg.ApiVersions):                  on((*Server).apiVersions),
	int16(kmsg.CreateTopics):                 on((*Server).createTopics),
	int16(kmsg.DeleteTopics):                 on((*Server).deleteTopics),
	int16(kmsg.CreatePartitions):             on((*Server).createPartitions),
	int16(kmsg.DeleteRecords):                on((*Server).deleteRecords),
	int16(kmsg.InitProducerID):               on((*Server).initProducerID),
	int16(kmsg.AddPartitionsToTxn):           on((*Server).addPartitionsToTxn),
	int16(kmsg.AddOffsetsToTxn):              on((*Server).addOffsetsToTxn),
	int16(kmsg.EndTxn):                       on((*Server).endTxn),
	int16(kmsg.WriteTxnMarkers):              on((*Server).writeTxnMarkers),
	int16(kmsg.DescribeProducers):            on((*Server).describeProducers),
	int16(kmsg.DescribeTransactions):         on((*Server).describeTransactions),
	int16(kmsg.ListTransactions):             on((*Server).listTransactions),
	int16(kmsg.TxnOffsetCommit):              on((*Server).txnOffsetCommit),
	int16(kmsg.ConsumerGroupHeartbeat):       on((*Server).consumerGroupHeartbeat),
	int16(kmsg.ConsumerGroupDescribe):        on((*Server).consumerGroupDescribe),
	int16(kmsg.OffsetForLeaderEpoch):         on((*Server).offsetForLeaderEpoch),
	int16(kmsg.DescribeConfigs):              on((*Server).describeConfigs),
	int16(kmsg.IncrementalAlterConfigs):      on((*Server).incrementalAlterConfigs),
	int16(kmsg.DescribeLogDirs):              on((*Server).describeLogDirs),
	int16(kmsg.UpdateFeatures):               on((*Server).updateFeatures),
	int16(kmsg.DescribeCluster):              on((*Server).describeCluster),
	int16(kmsg.DescribeTopicPartitions):      on((*Server).describeTopicPartitions),
	int16(kmsg.ListPartitionReassignments):   on((*Server).listPartitionReassignments),
	int16(kmsg.AlterConfigs):                 on((*Server).alterConfigs),
	int16(kmsg.ListConfigResources):          on((*Server).listConfigResources),
	int16(kmsg.DescribeACLs):                 on((*Server).describeACLs),
	int16(kmsg.CreateACLs):                   on((*Server).createACLs),
	int16(kmsg.DeleteACLs):                   on((*Server).deleteACLs),
	int16(kmsg.DescribeUserSCRAMCredentials): on((*Server).describeUserScram),
	int16(kmsg.AlterUserSCRAMCredentials):    on((*Server).alterUserScram),
	int16(kmsg.DescribeClientQuotas):         on((*Server).describeClientQuotas),
	int16(kmsg.AlterClientQuotas):            on((*Server).alterClientQuotas),
	int16(kmsg.SASLHandshake):                on((*Server).saslHandshake),
	int16(kmsg.SASLAuthenticate):             on((*Server).saslAuthenticate),
	int16(kmsg.AlterReplicaLogDirs):          on((*Server).alterReplicaLogDirs),
	int16(kmsg.ElectLeaders):                 on((*Server).electLeaders),
	int16(kmsg.AlterPartitionAssignments):    on((*Server).alterPartitionReassignments),
}

func (s *Server) dispatch(cl *call, req kmsg.Request) { apis[cl.header.Key](s, cl, req) }
