package broker

import (
	"github.com/twmb/franz-go/pkg/kmsg"
)

// DescribeTransactions, version 0 (KIP-664).
func (s *Server) describeTransactions(cl *call, req *kmsg.DescribeTransactionsRequest) {
	resp := kmsg.NewPtrDescribeTransactionsResponse()
	for _, id := range req.TransactionalIDs {
		resp.TransactionStates = append(resp.TransactionStates, s.opts.Transactions.Describe(id))
	}
	cl.reply(resp)
}
