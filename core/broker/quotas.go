package broker

import (
	"errors"
	"sync"
	"time"

	"github.com/milldam/milldam/core/meta"
)

// anonymous is the principal of every client of a plaintext listener.
const anonymous = "ANONYMOUS"

// quotas measures what clients use, and tells how long those that use more than they may are to be left alone (KIP-13, KIP-124, KIP-599). Without quotas
// in the metadata nothing is measured.
type quotas struct {
	controller *meta.Controller
	client     rateWindow // of bytes and of request time
	mutation   rateWindow // of changes of topics

	mu struct {
		sync.Mutex
		rates   map[quotaKey]*rate
		buckets map[quotaKey]*tokenBucket
		sweepAt int // how many rates there are when idle ones are forgotten
	}
}

// quotaKey is one quota of those that it counts together.
type quotaKey struct {
	who meta.QuotaEntity
	key string
}

// errThrottled is of changes that a quota does not let through.
var errThrottled = errors.New("the throttling quota has been exceeded")

// leastRates is how many rates are kept whatever they are.
const leastRates = 1024

func newQuotas(c *meta.Controller) *quotas {
	i := c.Image()
	window := func(prefix string) rateWindow {
		return rateWindow{samples: int(max(1, c.BrokerInt(i, prefix+".num"))), size: time.Duration(max(1, c.BrokerInt(i, prefix+".size.seconds"))) * time.Second}
	}
	q := &quotas{controller: c, client: window("quota.window"), mutation: window("controller.quota.window")}
	q.mu.rates, q.mu.buckets, q.mu.sweepAt = map[quotaKey]*rate{}, map[quotaKey]*tokenBucket{}, leastRates
	return q
}

// use counts n of what key is about for a client, and returns how long it is to be throttled.
func (q *quotas) use(clientID, key string, n float64, now time.Time) time.Duration {
	who, limit, ok := q.limit(clientID, key)
	if !ok {
		return 0
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	r := q.rateLocked(quotaKey{who, key}, now)
	r.record(q.client, n, now)
	return r.throttle(q.client, limit, now)
}

// useTime counts time that a client's request took, in percent of one thread. Kafka throttles for a window at the most.
func (q *quotas) useTime(clientID string, worked time.Duration, now time.Time) time.Duration {
	return min(q.use(clientID, meta.RequestPercentage, 100*worked.Seconds(), now), q.client.size)
}

// giveBack takes back a use that came to nothing.
func (q *quotas) giveBack(clientID, key string, n float64, now time.Time) {
	if who, _, ok := q.limit(clientID, key); ok {
		q.mu.Lock()
		defer q.mu.Unlock()
		q.rateLocked(quotaKey{who, key}, now).record(q.client, -n, now)
	}
}

// most is the most that a client may get at once: what it may have in all windows but one.
func (q *quotas) most(clientID, key string) (n float64, limited bool) {
	_, limit, ok := q.limit(clientID, key)
	return limit * float64(q.client.samples-1) * q.client.size.Seconds(), ok
}

func (q *quotas) limit(clientID, key string) (who meta.QuotaEntity, limit float64, ok bool) {
	i := q.controller.Image()
	if !i.HasQuotas() {
		return meta.QuotaEntity{}, 0, false
	}
	return i.ClientQuota(anonymous, clientID, key)
}

func (q *quotas) rateLocked(k quotaKey, now time.Time) *rate {
	if r := q.mu.rates[k]; r != nil {
		return r
	}
	if len(q.mu.rates) >= q.mu.sweepAt {
		for other, r := range q.mu.rates {
			if got, _ := r.measure(q.client, now); got == 0 { // as one that was never used
				delete(q.mu.rates, other)
			}
		}
		q.mu.sweepAt = max(leastRates, 2*len(q.mu.rates))
	}
	r := &rate{}
	q.mu.rates[k] = r
	return r
}

// mutations is what one request may change of topics.
type mutations struct {
	quotas   *quotas
	key      quotaKey
	limit    float64
	limited  bool
	strict   bool
	throttle time.Duration // for the response
}

// mutationsOf begins a request that changes topics. A strict one is refused what goes beyond the quota; one of a version whose clients do not know the
// error for that is only throttled.
func (q *quotas) mutationsOf(clientID string, strict bool) *mutations {
	who, limit, ok := q.limit(clientID, meta.ControllerMutationRate)
	return &mutations{quotas: q, key: quotaKey{who, meta.ControllerMutationRate}, limit: limit, limited: ok, strict: strict}
}

// take counts n partitions that are made or removed. errThrottled.
func (m *mutations) take(n int) error {
	if !m.limited {
		return nil
	}
	q, now := m.quotas, time.Now()
	q.mu.Lock()
	defer q.mu.Unlock()
	b := q.mu.buckets[m.key]
	if b == nil {
		b = &tokenBucket{}
		q.mu.buckets[m.key] = b
	}
	b.refill(q.mutation, m.limit, now)
	if wait := b.throttle(m.limit); m.strict && wait > 0 {
		m.throttle = wait
		return errThrottled
	}
	b.tokens -= float64(n)
	if !m.strict {
		m.throttle = b.throttle(m.limit)
	}
	return nil
}
