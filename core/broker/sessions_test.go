package broker_test

import (
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/milldam/milldam/core/vfs"
	"github.com/milldam/milldam/core/wire"
)

// TestARequestOfASessionMayComeWhileAnotherWaits moves a session's offset again and again while records wake a request of the same session, which wants more. Once
// there is enough it hears that it was overtaken, as from Kafka. Well-behaved clients meet the first part too: an answer is on its way before all who may give it
// have looked whether they should.
func TestARequestOfASessionMayComeWhileAnotherWaits(t *testing.T) {
	r := start(t, vfs.NewMem())
	cl := r.client(t, kgo.DefaultProduceTopic("t"))
	_, err := kadm.NewClient(cl).CreateTopic(within(t), 1, 1, nil, "t")
	must(t, err)
	first := longPoll(0, 0)
	first.SessionEpoch = 0
	id := ask[*kmsg.FetchResponse](t, r, first).SessionID
	parked := longPoll(time.Minute, 0)
	parked.SessionID, parked.SessionEpoch, parked.MinBytes = id, 1, 1500
	waiting := r.caller(t)
	waiting.send(parked)
	other := r.caller(t)
	for epoch := int32(2); epoch < 50; epoch++ {
		must(t, cl.ProduceSync(within(t), kgo.StringRecord("wakes it")).FirstErr())
		again := longPoll(0, 0)
		again.SessionID, again.SessionEpoch = id, epoch
		again.Topics[0].Partitions[0].FetchOffset = int64(epoch % 2)
		other.send(again)
		resp := longPollResponse()
		if other.receive(resp); resp.ErrorCode != 0 {
			t.Fatalf("epoch %d: error %d", epoch, resp.ErrorCode)
		}
	}
	resp := longPollResponse()
	if waiting.receive(resp); resp.ErrorCode != int16(wire.InvalidFetchSessionEpoch) || len(resp.Topics) > 0 {
		t.Errorf("the overtaken request gets error %d and %d topics", resp.ErrorCode, len(resp.Topics))
	}
}
