package broker

import (
	"github.com/twmb/franz-go/pkg/kmsg"
)

// ListTransactions, versions 0 to 2. 1 filters by duration (KIP-994), 2 by a pattern of transactional ids (KIP-1152).
func (s *Server) listTransactions(cl *call, req *kmsg.ListTransactionsRequest) {
	s.opts.Transactions.List(req, func(r *kmsg.ListTransactionsResponse) { cl.reply(r) })
}
