package broker

import (
	"fmt"
	"math"
	"os"
	"strings"
	"testing"
	"time"
)

// TestRatesAreKafkas replays what the classes of Apache Kafka 4.3.1 recorded and measured.
func TestRatesAreKafkas(t *testing.T) {
	text, err := os.ReadFile("testdata/kafka-rates.txt")
	if err != nil {
		t.Fatal(err)
	}
	w := rateWindow{samples: 11, size: time.Second}
	var r rate
	var b tokenBucket
	near := func(a, b float64) bool { return math.Abs(a-b) < 1e-6*max(1, math.Abs(b)) }
	compared := 0
	for line := range strings.Lines(string(text)) {
		var at, window, throttle int64
		var value, want float64
		switch {
		case strings.HasPrefix(line, "rate "):
			if _, err := fmt.Sscanf(line, "rate %d %g %g %d %d", &at, &value, &want, &window, &throttle); err != nil {
				t.Fatal(err)
			}
			now := time.UnixMilli(at)
			r.record(w, value, now)
			got, over := r.measure(w, now)
			if wait := r.throttle(w, 1000, now); !near(got, want) || over.Milliseconds() != window || wait.Milliseconds() != throttle {
				t.Errorf("%s: got %v over %d ms, throttled for %v", strings.TrimSpace(line), got, over.Milliseconds(), wait)
			}
		case strings.HasPrefix(line, "bucket "):
			if _, err := fmt.Sscanf(line, "bucket %d %g %g %d", &at, &value, &want, &throttle); err != nil {
				t.Fatal(err)
			}
			b.refill(w, 5, time.UnixMilli(at))
			b.tokens -= value
			if wait := b.throttle(5); !near(b.tokens, want) || wait.Milliseconds() != throttle {
				t.Errorf("%s: got %v, throttled for %v", strings.TrimSpace(line), b.tokens, wait)
			}
		default:
			continue
		}
		compared++
	}
	if compared < 50 {
		t.Errorf("only %d lines were compared", compared)
	}
}
