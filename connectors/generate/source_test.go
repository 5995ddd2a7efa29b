package generate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/milldam/milldam/connect"
	"github.com/milldam/milldam/connect/connecttest"
	"github.com/milldam/milldam/core/config"
)

func mustConfig(t *testing.T, yaml string) Config {
	t.Helper()
	var c Config
	if errs := config.Load("source.yaml", []byte(yaml), &c, config.Options{}); len(errs) > 0 {
		t.Fatal(errs.Render())
	}
	return c
}

func open(t *testing.T, yaml string, positions map[string][]byte) *Source {
	t.Helper()
	s := newSource(mustConfig(t, yaml))
	if err := s.Open(t.Context(), connect.SourceTask{Positions: positions}); err != nil {
		t.Fatal(err)
	}
	return s
}

// values reads n values.
func values(t *testing.T, s *Source, n int) []string {
	t.Helper()
	var all []string
	for len(all) < n {
		b, err := s.Read(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range b.Records {
			all = append(all, string(r.Value))
		}
	}
	return all
}

func TestConformance(t *testing.T) {
	connecttest.Source(t, 20, func(t *testing.T) connect.Source {
		s := newSource(mustConfig(t, `{rate: 0/s, count: 20, seed: 3, value: {n: "${{ offset }}", id: "${{ uuid() }}"}}`))
		s.batchRecords = 3
		return s
	})
}

func TestConformanceEndless(t *testing.T) {
	s := newSource(mustConfig(t, `{rate: 1/h, value: {n: 1}}`))
	if err := s.Open(t.Context(), connect.SourceTask{}); err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() {
		_, err := s.Read(context.Background())
		done <- err
	}()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err == nil {
		t.Error("Read goes on after Close")
	}
}

func TestValues(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, `{rate: 1000/s, seed: 7, value: { id: "${{ uuid() }}", user: "u-${{ randint(1, 5) }}", amount: "${{ rand() * 500 }}", status: paid, n: 1, ok: true, none: ,
			country: "${{ oneof('DE','FR') }}", ts: "${{ now() }}", number: "${{ offset }}", deep: {z: 1, a: ["${{ offset * 2 }}", x, {b: 1.5}]} } }`, nil)
		all := values(t, s, 3)
		var v struct {
			ID, User, Status, Country string
			Amount                    float64
			N, Number                 int
			OK                        bool
			TS                        time.Time
		}
		if err := json.Unmarshal([]byte(all[2]), &v); err != nil {
			t.Fatal(err)
		}
		if len(v.ID) != 36 || !strings.HasPrefix(v.User, "u-") || v.Amount < 0 || v.Amount >= 500 || v.Status != "paid" || v.N != 1 || !v.OK ||
			v.Number != 2 || v.Country != "DE" && v.Country != "FR" || !v.TS.Equal(time.Now().UTC()) {
			t.Errorf("value %s", all[2])
		}
		if want := `,"status":"paid","n":1,"ok":true,"none":null,`; !strings.Contains(all[2], want) {
			t.Errorf("value %s, want in it %s", all[2], want)
		}
		if want := `"number":2,"deep":{"z":1,"a":[4,"x",{"b":1.5}]}}`; !strings.HasSuffix(all[2], want) {
			t.Errorf("value %s, want at its end %s", all[2], want)
		}
	})
}

func TestSameSeedSameRecords(t *testing.T) {
	const yaml = `{rate: 0/s, seed: %d, value: { id: "${{ uuid() }}", r: "${{ rand() }}", k: "${{ randint(0, 9) }}" } }`
	first := values(t, open(t, fmt.Sprintf(yaml, 7), nil), 2000)
	if !slices.Equal(first, values(t, open(t, fmt.Sprintf(yaml, 7), nil), 2000)) {
		t.Error("the same seed gives other records")
	}
	later := values(t, open(t, fmt.Sprintf(yaml, 7), map[string][]byte{partition: []byte(`{"version":1,"count":1234}`)}), 500)
	if !slices.Equal(first[1234:1734], later[:500]) {
		t.Error("a restart gives other records")
	}
	if first[0] == values(t, open(t, fmt.Sprintf(yaml, 8), nil), 1)[0] {
		t.Error("another seed gives the same records")
	}
	counts := map[int]int{}
	seen := map[string]bool{}
	for _, text := range first {
		var v struct {
			ID string
			K  int
		}
		if err := json.Unmarshal([]byte(text), &v); err != nil {
			t.Fatal(err)
		}
		counts[v.K]++
		seen[v.ID] = true
	}
	if len(seen) != len(first) {
		t.Errorf("%d ids of %d records", len(seen), len(first))
	}
	for k := range 10 {
		if counts[k] < 140 || counts[k] > 260 { // of 200; four standard deviations
			t.Errorf("randint gives %d %d times in 2000", k, counts[k])
		}
	}
}

func TestRateHolds(t *testing.T) {
	for _, rate := range []string{"5000/s", "100/s", "7/s", "90/m"} {
		t.Run(rate, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := open(t, `{rate: `+rate+`, value: {n: 1}}`, nil)
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				n, most := 0, 0
				for {
					b, err := s.Read(ctx)
					if errors.Is(err, context.DeadlineExceeded) {
						break
					}
					if err != nil {
						t.Fatal(err)
					}
					n += len(b.Records)
					most = max(most, len(b.Records))
				}
				want := float64(s.config.Rate) * 60
				if math.Abs(float64(n)-want) > max(want*0.01, 1) {
					t.Errorf("%d records in a minute, want %.0f", n, want)
				}
				if limit := int(float64(s.config.Rate)*1.5*batchInterval.Seconds()) + 1; most > limit {
					t.Errorf("%d records at once, want at most %d", most, limit)
				}
			})
		})
	}
}

func TestSlowTakersAreNotOverrun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, `{rate: 100/s, value: {n: 1}}`, nil)
		values(t, s, 10)
		<-time.After(time.Hour)
		began := time.Now()
		n := len(values(t, s, 500))
		if got := time.Since(began); got < 3*time.Second {
			t.Errorf("%d records in %s after an hour's pause: more than %s is made up for", n, got, maxBehind)
		}
	})
}

func TestCountEnds(t *testing.T) {
	s := open(t, `{rate: 0/s, count: 1500, value: {n: "${{ offset }}"}}`, nil)
	all := values(t, s, 1500)
	if len(all) != 1500 || all[1499] != `{"n":1499}` {
		t.Errorf("%d values, the last %s", len(all), all[len(all)-1])
	}
	if _, err := s.Read(t.Context()); !errors.Is(err, io.EOF) {
		t.Errorf("Read: %v", err)
	}
	s = open(t, `{rate: 0/s, count: 10, value: {n: 1}}`, map[string][]byte{partition: []byte(`{"version":1,"count":1500}`)})
	if _, err := s.Read(t.Context()); !errors.Is(err, io.EOF) {
		t.Errorf("Read behind the end: %v", err)
	}
}

func TestValueThatCannotBeMade(t *testing.T) {
	s := open(t, `{rate: 0/s, value: {a: {b: ["${{ value.x }}"]}}}`, nil)
	_, err := s.Read(t.Context())
	if !errors.Is(err, connect.ErrPermanent) || !strings.HasPrefix(err.Error(), "source.generate.value.a: b: 0: ") {
		t.Errorf("Read: %v", err)
	}
}

func TestMistakesArePlaced(t *testing.T) {
	for yaml, want := range map[string]string{
		"{value: {a: {b: '${{ radn() }}'}}}":     "source.yaml:1:",
		"{value: {}}":                            "has no field",
		"{value: text}":                          "expected a section",
		"{rate: fast, value: {a: 1}}":            "expected a rate",
		"{count: -1, value: {a: 1}}":             "must not be negative",
		"{value: {a: ['${{ 1 + }}', '${{ x'] }}": "value.a[1]",
	} {
		var c Config
		errs := config.Load("source.yaml", []byte(yaml), &c, config.Options{})
		if len(errs) == 0 || !strings.Contains(errs.Render(), want) {
			t.Errorf("%s: %v, want %s", yaml, errs, want)
		}
	}
}
