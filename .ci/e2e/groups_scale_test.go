package e2e

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"
	"golang.org/x/sync/errgroup"
)

const (
	scaleGroups  = 10_000 // of the classic protocol, with one member each
	scaleMembers = 1000   // of one group of the consumer protocol
	scaleClients = 20     // connections
	scaleFor     = 2 * sessionOfConsumers

	classicHeartbeat = 3 * time.Second // as Java's heartbeat.interval.ms
)

// TestManyGroupsOverTheNetwork holds many groups, and a large one, for two sessions: no member is ever told anything but that it is in.
func TestManyGroupsOverTheNetwork(t *testing.T) {
	fullOnly(t, "10,000 groups for a minute and a half")
	n := startDev(t, t.TempDir(), nil)
	milldam(t, "topic", "create", "t", "-p", "100", "-b", n.kafka)
	var beats atomic.Int64
	var joined errgroup.Group
	start := make(chan struct{})
	var running errgroup.Group
	for i := range scaleClients {
		cl, err := kgo.NewClient(kgo.SeedBrokers(n.kafka), kgo.MaxVersions(kversion.V4_2_0()))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(cl.Close)
		h := &herd{cl: cl, beats: &beats}
		joined.Go(func() error { return h.join(t.Context(), i) })
		running.Go(func() error {
			<-start
			return h.run(t.Context())
		})
	}
	began := time.Now()
	if err := joined.Wait(); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d groups, and %d members of one, joined in %s", scaleGroups, scaleMembers, time.Since(began).Round(time.Millisecond))
	cpu := cpuSeconds(t, n.cmd.Process.Pid)
	close(start)
	if err := running.Wait(); err != nil {
		t.Error(err)
	}
	used := cpuSeconds(t, n.cmd.Process.Pid) - cpu
	t.Logf("%d heartbeats in %s: %.1f CPU seconds, %.0f µs each; %d MiB resident", beats.Load(), scaleFor, used, used*1e6/float64(beats.Load()),
		residentBytes(t, n.cmd.Process.Pid)>>20)
}

// herd is the members that one connection stands for.
type herd struct {
	cl      *kgo.Client
	beats   *atomic.Int64
	classic []*kmsg.HeartbeatRequest
	modern  []*kmsg.ConsumerGroupHeartbeatRequest
}

func ask[R kmsg.Response](ctx context.Context, cl *kgo.Client, req kmsg.Request) (R, error) {
	resp, err := cl.Broker(1).Request(ctx, req)
	if err != nil {
		var none R
		return none, err
	}
	return resp.(R), nil
}

// join makes this herd's share of the groups and members.
func (h *herd) join(ctx context.Context, number int) error {
	for i := range scaleGroups / scaleClients {
		if err := h.joinClassic(ctx, fmt.Sprintf("group-%d-%d", number, i)); err != nil {
			return err
		}
	}
	for i := range scaleMembers / scaleClients {
		r := kmsg.NewPtrConsumerGroupHeartbeatRequest()
		r.Group, r.MemberID, r.RebalanceTimeoutMillis, r.SubscribedTopicNames = "large", fmt.Sprintf("member-%d-%d", number, i), 60_000, []string{"t"}
		r.Topics = []kmsg.ConsumerGroupHeartbeatRequestTopic{}
		if err := h.beatModern(ctx, r); err != nil {
			return err
		}
		h.modern = append(h.modern, r)
	}
	return nil
}

func (h *herd) joinClassic(ctx context.Context, group string) error {
	j := kmsg.NewPtrJoinGroupRequest()
	protocol := kmsg.NewJoinGroupRequestProtocol()
	protocol.Name, protocol.Metadata = "range", []byte{0, 0, 0, 0, 0, 0}
	j.Group, j.ProtocolType, j.InstanceID = group, "consumer", kmsg.StringPtr("i")
	j.SessionTimeoutMillis, j.RebalanceTimeoutMillis, j.Protocols = 45_000, 60_000, append(j.Protocols, protocol)
	joined, err := ask[*kmsg.JoinGroupResponse](ctx, h.cl, j)
	if err == nil {
		err = kerr.ErrorForCode(joined.ErrorCode)
	}
	if err != nil {
		return fmt.Errorf("join %s: %w", group, err)
	}
	s := kmsg.NewPtrSyncGroupRequest()
	s.Group, s.MemberID, s.InstanceID, s.Generation, s.ProtocolType, s.Protocol = group, joined.MemberID, j.InstanceID, joined.Generation, joined.ProtocolType, joined.Protocol
	synced, err := ask[*kmsg.SyncGroupResponse](ctx, h.cl, s)
	if err == nil {
		err = kerr.ErrorForCode(synced.ErrorCode)
	}
	if err != nil {
		return fmt.Errorf("sync %s: %w", group, err)
	}
	b := kmsg.NewPtrHeartbeatRequest()
	b.Group, b.MemberID, b.InstanceID, b.Generation = group, joined.MemberID, j.InstanceID, joined.Generation
	h.classic = append(h.classic, b)
	return nil
}

// beatModern sends a heartbeat of the consumer protocol and notes what the next one is.
func (h *herd) beatModern(ctx context.Context, r *kmsg.ConsumerGroupHeartbeatRequest) error {
	resp, err := ask[*kmsg.ConsumerGroupHeartbeatResponse](ctx, h.cl, r)
	if err == nil {
		err = kerr.ErrorForCode(resp.ErrorCode)
	}
	if err != nil {
		return fmt.Errorf("%s of epoch %d: %w", r.MemberID, r.MemberEpoch, err)
	}
	r.MemberEpoch, r.RebalanceTimeoutMillis, r.SubscribedTopicNames, r.Topics = resp.MemberEpoch, -1, nil, nil
	if resp.Assignment != nil {
		r.Topics = []kmsg.ConsumerGroupHeartbeatRequestTopic{}
		for _, t := range resp.Assignment.Topics {
			r.Topics = append(r.Topics, kmsg.ConsumerGroupHeartbeatRequestTopic{TopicID: t.TopicID, Partitions: t.Partitions})
		}
	}
	return nil
}

// run sends heartbeats as often as clients do.
func (h *herd) run(ctx context.Context) error {
	tick := time.NewTicker(classicHeartbeat)
	defer tick.Stop()
	for end := time.Now().Add(scaleFor); time.Now().Before(end); {
		for _, r := range h.classic {
			resp, err := ask[*kmsg.HeartbeatResponse](ctx, h.cl, r)
			if err == nil {
				err = kerr.ErrorForCode(resp.ErrorCode)
			}
			if err != nil {
				return fmt.Errorf("heartbeat of %s: %w", r.Group, err)
			}
		}
		for _, r := range h.modern {
			if err := h.beatModern(ctx, r); err != nil {
				return err
			}
		}
		h.beats.Add(int64(len(h.classic) + len(h.modern)))
		<-tick.C
	}
	return nil
}

// clockTicks is how many of the units of /proc/PID/stat are in a second, on Linux.
const clockTicks = 100

// cpuSeconds is what a process has used.
func cpuSeconds(t *testing.T, pid int) float64 {
	t.Helper()
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	f := strings.Fields(string(raw[strings.LastIndexByte(string(raw), ')')+1:]))
	user, err1 := strconv.ParseFloat(f[11], 64)
	system, err2 := strconv.ParseFloat(f[12], 64)
	if err1 != nil || err2 != nil {
		t.Fatalf("/proc/%d/stat: %s", pid, raw)
	}
	return (user + system) / clockTicks
}
