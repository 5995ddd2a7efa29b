package broker

import "time"

// rateWindow says over which time rates are measured: the last samples windows of size each, as Kafka's quota.window.num and quota.window.size.seconds.
type rateWindow struct {
	samples int
	size    time.Duration
}

// rate is how much came in the last windows, by the second. It measures as Kafka's SampledStat and Rate do, so that the same load is throttled for the same
// time: a window begins with the first value after the last one ended, and while fewer windows than samples are over, the missing ones count as time in
// which nothing came.
type rate struct {
	ring []rateSample
	at   int
}

type rateSample struct {
	began, last time.Time
	total       float64
}

// record adds v at now.
func (r *rate) record(w rateWindow, v float64, now time.Time) {
	if len(r.ring) == 0 {
		r.ring = append(r.ring, rateSample{began: now, last: now})
	}
	if now.Sub(r.ring[r.at].began) >= w.size {
		r.at = (r.at + 1) % (w.samples + 1) // one more, that began before the time measured and reaches into it
		if r.at >= len(r.ring) {
			r.ring = append(r.ring, rateSample{})
		}
		r.ring[r.at] = rateSample{began: now, last: now}
	}
	s := &r.ring[r.at]
	s.total += v
	s.last = now
}

// measure returns the rate at now, and the time it was measured over.
func (r *rate) measure(w rateWindow, now time.Time) (perSecond float64, over time.Duration) {
	oldest, total := now, 0.0
	for i := range r.ring {
		s := &r.ring[i]
		if now.Sub(s.last) >= time.Duration(w.samples)*w.size {
			*s = rateSample{began: now, last: now}
		}
		if s.began.Before(oldest) {
			oldest = s.began
		}
		total += s.total
	}
	over = now.Sub(oldest).Truncate(time.Millisecond)
	if full := int(over / w.size); full < w.samples-1 {
		over += time.Duration(w.samples-1-full) * w.size
	}
	over = max(over, w.size)
	return total / over.Seconds(), over
}

// throttle is how long nothing must come for the rate to be limit again; 0 when it is no more than that.
func (r *rate) throttle(w rateWindow, limit float64, now time.Time) time.Duration {
	got, over := r.measure(w, now)
	if got <= limit {
		return 0
	}
	return roundMillis((got - limit) / limit * over.Seconds())
}

// roundMillis is a number of seconds in whole milliseconds, as far as a throttle time goes in the protocol.
func roundMillis(seconds float64) time.Duration {
	const most = 1<<31 - 1
	return time.Duration(min(seconds*1000+0.5, most)) * time.Millisecond
}

// tokenBucket lets bursts through that a rate would not, as Kafka's for changes of topics (KIP-599): it holds what is allowed in all windows together.
type tokenBucket struct {
	tokens  float64
	updated time.Time
}

// refill adds what has become allowed until now.
func (b *tokenBucket) refill(w rateWindow, limit float64, now time.Time) {
	burst := float64(w.samples) * w.size.Seconds() * limit
	if b.updated.IsZero() {
		b.tokens = burst
	} else {
		b.tokens = min(burst, b.tokens+limit*now.Sub(b.updated).Seconds())
	}
	b.updated = now
}

// throttle is how long it takes until the bucket is not overdrawn any more.
func (b *tokenBucket) throttle(limit float64) time.Duration {
	if b.tokens >= 0 {
		return 0
	}
	return roundMillis(-b.tokens / limit)
}
