package coordinator

import (
	"maps"
	"regexp"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/milldam/milldam/core/wire"
)

// Describe tells of one transactional id, as DescribeTransactions does.
func (t *Transactions) Describe(id string) kmsg.DescribeTransactionsResponseTransactionState {
	out := kmsg.NewDescribeTransactionsResponseTransactionState()
	out.TransactionalID = id
	if id == "" {
		out.ErrorCode = int16(wire.InvalidRequest)
		return out
	}
	if _, err := t.shard(t.ctx, t.PartitionFor(id)); err != nil {
		out.ErrorCode = int16(closedCode(err))
		return out
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	v := t.mu.ids[id].view()
	if v == nil {
		out.ErrorCode = int16(wire.TransactionalIDNotFound)
		return out
	}
	out.State, out.TimeoutMillis, out.StartTimestamp = v.state.String(), v.timeoutMs, v.startedMs
	out.ProducerID, out.ProducerEpoch = int64(v.producerID), int16(v.epoch)
	for _, p := range v.partitions {
		if n := len(out.Topics); n == 0 || out.Topics[n-1].Topic != p.Topic {
			topic := kmsg.NewDescribeTransactionsResponseTransactionStateTopic()
			topic.Topic = p.Topic
			out.Topics = append(out.Topics, topic)
		}
		topic := &out.Topics[len(out.Topics)-1]
		topic.Partitions = append(topic.Partitions, p.Partition)
	}
	return out
}

// List handles a ListTransactions request. A filter that is empty lets all pass; a duration filters by the time since the transaction began.
func (t *Transactions) List(req *kmsg.ListTransactionsRequest, reply func(*kmsg.ListTransactionsResponse)) {
	r := kmsg.NewPtrListTransactionsResponse()
	var states []txnState
	for _, name := range req.StateFilters {
		if i := slices.Index(txnStateNames[:], name); i >= 0 {
			states = append(states, txnState(i))
		} else {
			r.UnknownStateFilters = append(r.UnknownStateFilters, name)
		}
	}
	var pattern *regexp.Regexp
	if req.TransactionalIDPattern != nil && *req.TransactionalIDPattern != "" {
		var err error
		if pattern, err = regexp.Compile(`^(?:` + *req.TransactionalIDPattern + `)$`); err != nil {
			r.ErrorCode, r.UnknownStateFilters = int16(wire.InvalidRegularExpression), nil // an error says nothing else
			reply(r)
			return
		}
	}
	now := time.Now().UnixMilli()
	t.mu.Lock()
	for _, id := range slices.Sorted(maps.Keys(t.mu.ids)) {
		v := t.mu.ids[id].value()
		switch {
		case v == nil || v.state == txnDead,
			len(req.ProducerIDFilters) > 0 && !slices.Contains(req.ProducerIDFilters, int64(v.producerID)),
			len(req.StateFilters) > 0 && !slices.Contains(states, v.state),
			req.DurationFilterMillis >= 0 && now-v.startedMs <= req.DurationFilterMillis,
			pattern != nil && !pattern.MatchString(id):
			continue
		}
		row := kmsg.NewListTransactionsResponseTransactionState()
		row.TransactionalID, row.ProducerID, row.TransactionState = id, int64(v.producerID), v.state.String()
		r.TransactionStates = append(r.TransactionStates, row)
	}
	t.mu.Unlock()
	reply(r)
}

// TxnStats are numbers for metrics.
type TxnStats struct {
	IDs            int // transactional ids that are known
	Ongoing        int // transactions that are open
	Completing     int // transactions whose end is decided, and not told to all partitions
	MarkersWaiting int // markers that are not on their way yet
	MarkersSent    int // markers on their way

	Committed, Aborted int64 // transactions that were completed
}

// Stats returns the numbers of now.
func (t *Transactions) Stats() TxnStats {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := TxnStats{IDs: len(t.mu.ids), MarkersWaiting: len(t.mu.markers.waiting), MarkersSent: t.mu.markers.inFlight,
		Committed: t.mu.completed.commits, Aborted: t.mu.completed.aborts}
	for _, x := range t.mu.ids {
		switch v := x.value(); {
		case v == nil:
		case v.state == txnOngoing:
			s.Ongoing++
		case v.state.preparing():
			s.Completing++
		}
	}
	return s
}
