package broker

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// metrics are the server's; their labels are API names alone.
type metrics struct {
	requests    *prometheus.CounterVec
	seconds     *prometheus.HistogramVec
	connections prometheus.Gauge
	refused     prometheus.Counter
	badInput    prometheus.Counter
	budgetWaits prometheus.Counter
	pollsEnded  prometheus.Counter
	bytesIn     prometheus.Counter
	bytesOut    prometheus.Counter
	produced    prometheus.Counter
	fetched     prometheus.Counter
	throttled   prometheus.Counter
	apis        sync.Map // *apiMetrics by key
}

func newMetrics() *metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Namespace: "milldam", Subsystem: "broker", Name: name, Help: help})
	}
	return &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "milldam", Subsystem: "broker", Name: "requests_total", Help: "Requests answered, by API."}, []string{"api"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{Namespace: "milldam", Subsystem: "broker", Name: "request_seconds", Help: "From the whole request to the written response, by API.",
			Buckets: prometheus.ExponentialBuckets(0.0001, 4, 10)}, []string{"api"}),
		connections: prometheus.NewGauge(prometheus.GaugeOpts{Namespace: "milldam", Subsystem: "broker", Name: "connections", Help: "Open connections."}),
		throttled:   counter("throttled_total", "Responses whose client was over a quota."),
		refused:     counter("connections_refused_total", "Connections refused because there were too many."),
		badInput:    counter("bad_input_total", "Connections closed because what came was no request."),
		budgetWaits: counter("budget_waits_total", "Requests that waited for memory."),
		pollsEnded:  counter("long_polls_refused_total", "Fetches answered at once because too many wait for records."),
		bytesIn:     counter("received_bytes_total", "Bytes of requests."),
		bytesOut:    counter("sent_bytes_total", "Bytes of responses."),
		produced:    counter("produced_bytes_total", "Bytes of record batches appended."),
		fetched:     counter("fetched_bytes_total", "Bytes of record batches fetched."),
	}
}

func (m *metrics) observe(cl *call, _ error) {
	a := m.of(cl.header.Key)
	a.requests.Inc()
	a.seconds.Observe(time.Since(cl.began).Seconds())
}

// apiMetrics are those of one API, looked up once.
type apiMetrics struct {
	requests prometheus.Counter
	seconds  prometheus.Observer
}

func (m *metrics) of(key int16) *apiMetrics {
	if known, ok := m.apis.Load(key); ok {
		return known.(*apiMetrics)
	}
	name := kmsg.NameForKey(key)
	a, _ := m.apis.LoadOrStore(key, &apiMetrics{m.requests.WithLabelValues(name), m.seconds.WithLabelValues(name)})
	return a.(*apiMetrics)
}

// Collectors are the server's metrics, to be registered.
func (s *Server) Collectors() []prometheus.Collector {
	m := s.metrics
	return append(txnCollectors(s.opts.Transactions), newGroupCollector(s.opts.Groups), m.requests, m.seconds, m.connections, m.refused, m.badInput, m.budgetWaits, m.pollsEnded, m.bytesIn, m.bytesOut, m.produced, m.fetched, m.throttled)
}
