package coordinator

import (
	"bytes"
	"encoding/json"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/milldam/milldam/core/wire"
)

// FuzzGroupMetadata makes a classic group whose leader says any bytes of its subscription and of the assignment, and has a member of the consumer protocol
// come to it: nothing panics, everybody gets an answer, and what stands in the log makes the same group.
func FuzzGroupMetadata(f *testing.F) {
	subscription := func(version int16) []byte {
		sub := kmsg.ConsumerMemberMetadata{Version: version, Topics: []string{"t", "u"}, Generation: 3,
			OwnedPartitions: []kmsg.ConsumerMemberMetadataOwnedPartition{{Topic: "t", Partitions: []int32{0, 1}}}}
		return sub.AppendTo(nil)
	}
	assignment := (&kmsg.ConsumerMemberAssignment{Version: 1, Topics: []kmsg.ConsumerMemberAssignmentTopic{{Topic: "t", Partitions: []int32{0, 1}}, {Topic: "gone", Partitions: []int32{7}}}}).AppendTo(nil)
	for version := range int16(4) {
		f.Add(subscription(version), assignment)
	}
	for at := range subscription(3) {
		cut := subscription(3)[:at]
		f.Add(cut, assignment)
		flipped := bytes.Clone(subscription(3))
		flipped[at] ^= 0x80
		f.Add(flipped, assignment)
	}
	for at := range assignment {
		f.Add(subscription(1), assignment[:at])
		flipped := bytes.Clone(assignment)
		flipped[at] ^= 0x80
		f.Add(subscription(1), flipped)
	}
	f.Fuzz(func(t *testing.T, metadata, assigned []byte) {
		consumerBubble(t, someTopics{"t": 2, "u": 1}, Options{}, func(t *testing.T, c *consumers) {
			m := &subscriber{protocols: []string{"range"}, metadata: string(metadata)}
			joined := c.join(m)
			if r := joined.get(); r == nil {
				t.Fatal("a join is not answered")
			} else if r.ErrorCode != 0 {
				return
			}
			c.joined(m, joined)
			synced := c.sync(m, map[string]string{m.id: string(assigned)})
			pass(time.Second)
			if r := synced.get(); r == nil || r.ErrorCode != 0 || !bytes.Equal(r.MemberAssignment, assigned) {
				t.Fatalf("the leader gave itself %x and got %+v", assigned, r)
			}
			fresh := &modern{id: "new"}
			switch code := c.beat(fresh); code {
			case wire.None:
				for range 3 { // the old member gives back what the new one is to have
					if c.heartbeat(m) == wire.RebalanceInProgress {
						again := c.join(m)
						pass(time.Second)
						if r := again.get(); r == nil {
							t.Fatal("a second join is not answered")
						} else if r.ErrorCode == 0 {
							m.generation = r.Generation
							c.sync(m, nil)
						}
					}
					if code := c.beat(fresh); code != wire.None {
						t.Fatalf("the new member is told %d", code)
					}
				}
			case wire.GroupIDNotFound, wire.InconsistentGroupProtocol, wire.UnknownServerError:
			default:
				t.Fatalf("the new member is told %d", code)
			}
			pass(time.Second)
			state := func() string {
				text, err := json.Marshal([]any{c.described(), c.describedConsumer()})
				if err != nil {
					t.Fatal(err)
				}
				return string(text)
			}
			before := state()
			c.restart()
			if after := state(); after != before {
				t.Fatalf("before a restart:\n%s\nafter:\n%s", before, after)
			}
		})
	})
}
