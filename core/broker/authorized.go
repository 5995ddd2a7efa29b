package broker

import "github.com/twmb/franz-go/pkg/kmsg"

// Operations that a client may do, as the bits of the protocol: ANONYMOUS is a super user, so it may do all that there are of a resource.
var (
	topicOperations = operations(kmsg.ACLOperationRead, kmsg.ACLOperationWrite, kmsg.ACLOperationCreate, kmsg.ACLOperationDelete, kmsg.ACLOperationAlter,
		kmsg.ACLOperationDescribe, kmsg.ACLOperationDescribeConfigs, kmsg.ACLOperationAlterConfigs)
	groupOperations = operations(kmsg.ACLOperationRead, kmsg.ACLOperationDelete, kmsg.ACLOperationDescribe, kmsg.ACLOperationDescribeConfigs,
		kmsg.ACLOperationAlterConfigs)
	clusterOperations = operations(kmsg.ACLOperationCreate, kmsg.ACLOperationAlter, kmsg.ACLOperationDescribe, kmsg.ACLOperationClusterAction,
		kmsg.ACLOperationDescribeConfigs, kmsg.ACLOperationAlterConfigs, kmsg.ACLOperationIdempotentWrite)
)

func operations(list ...kmsg.ACLOperation) int32 {
	var bits int32
	for _, op := range list {
		bits |= 1 << op
	}
	return bits
}
