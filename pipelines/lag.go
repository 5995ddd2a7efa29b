package pipelines

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
)

// lagInterval is how often the lag of all hops is looked up.
const lagInterval = time.Second

// lagLoop keeps the lag of every hop that reads topics up to date until ctx ends.
func (m *Manager) lagLoop(ctx context.Context) {
	tick := time.NewTicker(lagInterval)
	defer tick.Stop()
	for {
		for _, p := range m.pipelines {
			for _, h := range p.hops {
				if h.Group == "" {
					continue
				}
				lag, err := m.env.lag(ctx, h.Group, h.Read)
				if err != nil {
					lag = -1
				}
				h.lag.Store(lag)
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// lag is the number of records that group has not committed, of topics and of the topics that the streams engine made for it.
func (e *environment) lag(ctx context.Context, group string, topics []string) (int64, error) {
	admin, err := e.admin()
	if err != nil {
		return 0, err
	}
	committed, err := admin.FetchOffsets(ctx, group)
	if err != nil {
		return 0, err
	}
	for topic := range committed {
		if strings.HasPrefix(topic, group+"-") && !slices.Contains(topics, topic) {
			topics = append(slices.Clone(topics), topic)
		}
	}
	starts, err := admin.ListStartOffsets(ctx, topics...)
	if err != nil {
		return 0, err
	}
	ends, err := admin.ListEndOffsets(ctx, topics...)
	if err != nil {
		return 0, err
	}
	if err := ends.Error(); err != nil {
		return 0, err
	}
	var lag int64
	ends.Each(func(end kadm.ListedOffset) {
		from := int64(0)
		if start, ok := starts.Lookup(end.Topic, end.Partition); ok {
			from = start.Offset
		}
		if c, ok := committed.Lookup(end.Topic, end.Partition); ok {
			from = max(from, c.At)
		}
		lag += max(end.Offset-from, 0)
	})
	return lag, nil
}
