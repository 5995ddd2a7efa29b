package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// flight is one line of the demo's input.
type flight struct {
	Date        string `json:"date"`
	Delay       int64  `json:"delay"`
	Distance    int64  `json:"distance"`
	Origin      string `json:"origin"`
	Destination string `json:"destination"`
}

// delays is one record of delays-daily.
type delays struct {
	Origin     string  `json:"origin"`
	Day        string  `json:"day"`
	Flights    int64   `json:"flights"`
	MeanDelay  float64 `json:"mean_delay"`
	WorstDelay int64   `json:"worst_delay"`
	Airport    string  `json:"airport"`
	State      string  `json:"state"`
}

// Numbers of the demo's data.
const (
	flightCount = 20_000
	originDays  = 6_901
)

const exampleData = "../../examples/flights/data/"

func inputFlights(t testing.TB) []flight {
	t.Helper()
	raw, err := os.ReadFile(exampleData + "flights-20k.ndjson")
	if err != nil {
		t.Fatal(err)
	}
	var out []flight
	for s := bufio.NewScanner(bytes.NewReader(raw)); s.Scan(); {
		var f flight
		if err := json.Unmarshal(s.Bytes(), &f); err != nil {
			t.Fatal(err)
		}
		out = append(out, f)
	}
	if len(out) != flightCount {
		t.Fatalf("%d flights in the input, want %d", len(out), flightCount)
	}
	return out
}

// expectedDelays computes delays-daily from the input files alone: no engine, a map.
func expectedDelays(t testing.TB) map[string]delays {
	t.Helper()
	raw, err := os.ReadFile(exampleData + "airports.csv")
	if err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(bytes.NewReader(raw)).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	names, states := map[string]string{}, map[string]string{}
	for _, r := range rows[1:] {
		names[r[0]], states[r[0]] = r[1], r[3]
	}
	sums, want := map[string]int64{}, map[string]delays{}
	for _, f := range inputFlights(t) {
		day := strings.ReplaceAll(f.Date[:10], "/", "-")
		id := f.Origin + " " + day
		d, seen := want[id]
		if !seen {
			d = delays{Origin: f.Origin, Day: day, WorstDelay: f.Delay, Airport: names[f.Origin], State: states[f.Origin]}
		}
		d.Flights++
		d.WorstDelay = max(d.WorstDelay, f.Delay)
		sums[id] += f.Delay
		d.MeanDelay = float64(sums[id]) / float64(d.Flights)
		want[id] = d
	}
	if len(want) != originDays {
		t.Fatalf("%d origin-days in the input, want %d", len(want), originDays)
	}
	return want
}

// readTopic returns every record of topic, up to the end offsets it has now.
func readTopic(t testing.TB, broker, topic string) []*kgo.Record {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	records, err := readAll(ctx, broker, topic)
	if err != nil {
		t.Fatalf("read %s: %v", topic, err)
	}
	return records
}

// atLeastOnce and exactlyOnce say how often a result may be there.
type times bool

const (
	once        times = true
	atLeastOnce times = false
)

// checkFlights asserts that topic flights holds every flight, in the order of the file per origin when each is there once.
func checkFlights(t testing.TB, broker string, how times) {
	t.Helper()
	left := map[flight]int{}
	for _, f := range inputFlights(t) {
		left[f]++
	}
	records := readTopic(t, broker, "flights")
	if how == once && len(records) != flightCount {
		t.Errorf("%d records in flights, want %d", len(records), flightCount)
	}
	for _, r := range records {
		var f flight
		if err := json.Unmarshal(r.Value, &f); err != nil {
			t.Fatalf("flights/%d/%d: %v", r.Partition, r.Offset, err)
		}
		at, err := time.Parse("2006/01/02 15:04", f.Date)
		if err != nil || !r.Timestamp.Equal(at) || string(r.Key) != f.Origin {
			t.Fatalf("flights/%d/%d: key %q at %s for %s", r.Partition, r.Offset, r.Key, r.Timestamp, r.Value)
		}
		if _, known := left[f]; !known {
			t.Fatalf("flights/%d/%d is no line of the input: %s", r.Partition, r.Offset, r.Value)
		}
		left[f]--
	}
	for f, n := range left {
		if n > 0 {
			t.Errorf("flight %v is missing %d times", f, n)
		}
	}
}

// checkDelays asserts that delays-daily equals the independent computation. With at least once, a result may come again and counts may
// be above the true ones, but none is missing and none is below.
func checkDelays(t testing.TB, broker string, how times) {
	t.Helper()
	want := expectedDelays(t)
	seen := map[string]int{}
	for _, r := range readTopic(t, broker, "delays-daily") {
		dec := json.NewDecoder(bytes.NewReader(r.Value))
		dec.DisallowUnknownFields()
		var d delays
		if err := dec.Decode(&d); err != nil {
			t.Fatalf("delays-daily/%d/%d %s: %v", r.Partition, r.Offset, r.Value, err)
		}
		id := d.Origin + " " + d.Day
		seen[id]++
		switch {
		case string(r.Key) != d.Origin:
			t.Errorf("key %q of %s", r.Key, r.Value)
		case how == once && d != want[id]:
			t.Errorf("%s: %+v, want %+v", id, d, want[id])
		case how == atLeastOnce && d.Flights < want[id].Flights:
			t.Errorf("%s: %d flights, fewer than the true %d", id, d.Flights, want[id].Flights)
		}
	}
	if len(seen) != originDays {
		t.Errorf("%d origin-days, want %d", len(seen), originDays)
	}
	for id, n := range seen {
		if how == once && n != 1 {
			t.Errorf("%s is there %d times", id, n)
		}
	}
}

// checkParquet asserts that the Parquet files below dir hold the flights, read by pyarrow.
func checkParquet(t testing.TB, dir string, how times) {
	t.Helper()
	left := map[flight]int{}
	for _, f := range inputFlights(t) {
		left[f]++
	}
	rows := 0
	for _, text := range run(t, time.Minute, "", exec.Command(python(t), "testdata/parquet_rows.py", dir)) {
		var got struct {
			File string
			Row  flight
		}
		if err := json.Unmarshal([]byte(text), &got); err != nil {
			t.Fatal(err)
		}
		rows++
		if day := "dt=" + strings.ReplaceAll(got.Row.Date[:10], "/", "-"); !strings.Contains(got.File, day) {
			t.Fatalf("%s holds a flight of %s", got.File, got.Row.Date)
		}
		if _, known := left[got.Row]; !known {
			t.Fatalf("%s: no line of the input: %v", got.File, got.Row)
		}
		left[got.Row]--
	}
	for f, n := range left {
		if n > 0 {
			t.Errorf("Parquet: flight %v is missing %d times", f, n)
		}
	}
	if how == once && rows != flightCount {
		t.Errorf("%d Parquet rows, want %d", rows, flightCount)
	}
}

// demoBound is the longest the demo may run, from the start of the process to its end.
const demoBound = 20 * time.Second

func TestDemo(t *testing.T) {
	dir := t.TempDir()
	demo := func() string {
		t.Helper()
		began := time.Now()
		out := milldam(t, "dev", "--demo", "--once", "--dir", dir, "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0")
		took := time.Since(began)
		t.Logf("the demo took %s", took)
		if took > demoBound {
			t.Errorf("the demo took %s, more than %s", took, demoBound)
		}
		return out
	}
	out := demo()
	for _, want := range []string{"20,000", "6,901"} {
		if !strings.Contains(out, want) {
			t.Errorf("the summary does not say %s:\n%s", want, out)
		}
	}
	check := func(n *node) {
		t.Helper()
		checkFlights(t, n.kafka, once)
		checkDelays(t, n.kafka, once)
		checkParquet(t, filepath.Join(dir, "s3"), once)
		if code, took := n.terminate(); code != 0 || took > 5*time.Second {
			t.Errorf("SIGTERM: exit %d after %s, want 0 within 5 s", code, took)
		}
	}
	check(startDev(t, dir, nil))
	demo() // on a finished folder nothing is sent twice
	check(startDev(t, dir, nil))
	check(startUnderRetention(t, dir))
}

// startUnderRetention serves a data folder with retention that looks at every log all the time, and returns when it has deleted a record as old as the flights
// from a topic with the default retention.
func startUnderRetention(t *testing.T, dir string) *node {
	t.Helper()
	config := filepath.Join(t.TempDir(), "milldam.yaml")
	text := fmt.Sprintf("node: { data_dir: %q }\nlisteners: { kafka: [\"127.0.0.1:0\"], console: \"127.0.0.1:0\" }\nkafka: { log.retention.check.interval.ms: 50 }\n", dir)
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	n := &node{t: t, dir: dir, args: []string{"server", "-c", config}}
	n.start()
	t.Cleanup(n.kill)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	cl, err := kgo.NewClient(kgo.SeedBrokers(n.kafka), kgo.AllowAutoTopicCreation())
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	old := &kgo.Record{Topic: "forgotten", Value: []byte("x"), Timestamp: time.Date(2001, 1, 1, 0, 47, 0, 0, time.UTC)}
	if err := cl.ProduceSync(ctx, old).FirstErr(); err != nil {
		t.Fatal(err)
	}
	eventually(t, 30*time.Second, func() error {
		starts, err := kadm.NewClient(cl).ListStartOffsets(ctx, "forgotten")
		if o, ok := starts.Lookup("forgotten", 0); err == nil && (!ok || o.Offset != 1) {
			err = fmt.Errorf("retention has not run")
		}
		return err
	})
	return n
}

func TestDemoInMemory(t *testing.T) {
	out := milldam(t, "dev", "--demo", "--once", "--memory", "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0")
	if !strings.Contains(out, "6,901") {
		t.Errorf("the summary does not say 6,901:\n%s", out)
	}
}

// TestDemoRunsFromAnyFolder starts the installed binary where no checkout is.
func TestDemoRunsFromAnyFolder(t *testing.T) {
	cmd := exec.Command(milldamPath(t), "dev", "--demo", "--once", "-o", "json", "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0")
	cmd.Dir = t.TempDir()
	text := strings.Join(run(t, time.Minute, "", cmd), "\n")
	var summary map[string]any
	if err := json.Unmarshal([]byte(text), &summary); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	if fmt.Sprint(summary["correct"]) != "true" {
		t.Errorf("summary: %s", text)
	}
	if _, err := strconv.Atoi(fmt.Sprint(summary["windows_out"])); err != nil {
		t.Errorf("windows_out: %v", summary["windows_out"])
	}
}
