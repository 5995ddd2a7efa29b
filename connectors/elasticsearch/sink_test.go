package elasticsearch

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/milldam/milldam/connect"
	"github.com/milldam/milldam/core/config"
)

// scripted answers as a server that keeps nothing: bulk items get the outcome that items says for their id, 201 without one.
type scripted struct {
	t     *testing.T
	items map[string]string // document id to the JSON of its outcome
	limit int               // documents in a request, more give 413; 0 is any
	deny  int               // status of everything, when not 0

	mu       sync.Mutex
	mappings map[string]json.RawMessage // by index
	bulks    []string
}

func (s *scripted) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	body, err := io.ReadAll(r.Body)
	if err != nil {
		s.t.Error(err)
	}
	index, _, isMapping := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/_mapping")
	switch {
	case s.deny != 0:
		w.WriteHeader(s.deny)
		fmt.Fprintf(w, `{"status":%d,"error":{"type":"security_exception","reason":"missing authentication"}}`, s.deny)
	case r.URL.Path == "/":
		fmt.Fprint(w, `{}`)
	case r.URL.Path == "/_bulk":
		s.bulk(w, string(body))
	case r.Method == "GET" && isMapping && s.mappings[index] == nil:
		w.WriteHeader(http.StatusNotFound)
		fmt.Fprint(w, `{"status":404,"error":{"type":"index_not_found_exception","reason":"no such index"}}`)
	case r.Method == "GET" && isMapping:
		fmt.Fprintf(w, `{%q:{"mappings":%s}}`, index, s.mappings[index])
	case r.Method == "PUT" && isMapping:
		s.mappings[index] = body
		fmt.Fprint(w, `{"acknowledged":true}`)
	case r.Method == "PUT":
		var made struct{ Mappings json.RawMessage }
		if err := json.Unmarshal(body, &made); err != nil {
			s.t.Error(err)
		}
		s.mappings[index] = made.Mappings
		fmt.Fprint(w, `{"acknowledged":true}`)
	default:
		s.t.Errorf("%s %s", r.Method, r.URL)
	}
}

func (s *scripted) bulk(w http.ResponseWriter, body string) {
	lines := strings.Split(strings.TrimSuffix(body, "\n"), "\n")
	var outcomes []string
	failed := false
	for i := 0; i < len(lines); i++ {
		var head map[string]struct {
			ID string `json:"_id"`
		}
		if err := json.Unmarshal([]byte(lines[i]), &head); err != nil {
			s.t.Errorf("line %q: %v", lines[i], err)
			return
		}
		for verb, h := range head {
			outcome := s.items[h.ID]
			if outcome == "" {
				outcome = `{"status":201}`
			} else {
				failed = true
			}
			outcomes = append(outcomes, fmt.Sprintf(`{%q:%s}`, verb, outcome))
			if verb != "delete" {
				i++
			}
		}
	}
	if s.limit > 0 && len(outcomes) > s.limit {
		w.WriteHeader(http.StatusRequestEntityTooLarge)
		return
	}
	s.bulks = append(s.bulks, body)
	fmt.Fprintf(w, `{"errors":%t,"items":[%s]}`, failed, strings.Join(outcomes, ","))
}

// opened is a sink on a scripted server, and what it acknowledged.
type opened struct {
	connect.Sink
	server *scripted
	acked  []int64
}

// topicIDs gives topics ids by name; the second form of a name stands for one made anew.
var topicIDs = map[string][16]byte{"t": {1}}

func open(t *testing.T, yaml string, s *scripted) *opened {
	t.Helper()
	s.t = t
	if s.mappings == nil {
		s.mappings = map[string]json.RawMessage{}
	}
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	o := &opened{server: s, Sink: newSink(t, "{urls: ["+server.URL+"], "+yaml+"}")}
	if err := o.Open(t.Context(), o.task(topicIDs["t"])); err != nil {
		t.Fatal(err)
	}
	return o
}

func (o *opened) task(id [16]byte) connect.SinkTask {
	return task(id, func(_ connect.TopicPartition, next int64) { o.acked = append(o.acked, next) })
}

func newSink(t *testing.T, yaml string) connect.Sink {
	t.Helper()
	var c Config
	if errs := config.Load("sink.yaml", []byte(yaml), &c, config.Options{}); len(errs) > 0 {
		t.Fatal(errs)
	}
	sink, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return sink
}

func batch(values ...string) connect.SinkBatch {
	b := connect.SinkBatch{TopicPartition: connect.TopicPartition{Topic: "t", Partition: 2}, Next: 100 + int64(len(values))}
	for i, v := range values {
		r := connect.Record{Topic: "t", Partition: 2, Offset: 100 + int64(i), Key: fmt.Appendf(nil, "k%d", i), Value: []byte(v),
			Timestamp: time.Date(2026, 11, 24, 0, 0, 0, 0, time.UTC)}
		if v == "" {
			r.Value = nil
		}
		b.Records = append(b.Records, r)
	}
	return b
}

func TestBulkBody(t *testing.T) {
	for name, c := range map[string]struct {
		yaml   string
		values []string
		want   string
	}{
		"defaults": {"index: i-%Y.%m", []string{`{"a":1}`, "{\n\"b\": 2}"},
			`{"index":{"_index":"i-2026.11","_id":"t-2-100","version":100,"version_type":"external"}}` + "\n" + `{"a":1}` + "\n" +
				`{"index":{"_index":"i-2026.11","_id":"t-2-101","version":101,"version_type":"external"}}` + "\n" + `{"b":2}` + "\n"},
		"id and version of the value": {"index: i, id: value.n, version: value.v * 2, versioning: external_gte", []string{`{"n":"x\"ü","v":4}`},
			`{"index":{"_index":"i","_id":"x\"ü","version":8,"version_type":"external_gte"}}` + "\n" + `{"n":"x\"ü","v":4}` + "\n"},
		"tombstone deletes": {"index: i, id: key", []string{""},
			`{"delete":{"_index":"i","_id":"k0","version":100,"version_type":"external"}}` + "\n"},
		"tombstone ignored":  {"index: i, on_tombstone: ignore", []string{"", `{}`}, `{"index":{"_index":"i","_id":"t-2-101","version":101,"version_type":"external"}}` + "\n{}\n"},
		"create, no version": {"index: i, operation: create", []string{`{}`}, `{"create":{"_index":"i","_id":"t-2-100"}}` + "\n{}\n"},
		"versioning off":     {"index: i, versioning: 'off'", []string{`{}`}, `{"index":{"_index":"i","_id":"t-2-100"}}` + "\n{}\n"},
	} {
		t.Run(name, func(t *testing.T) {
			o := open(t, c.yaml, &scripted{})
			if err := o.Write(t.Context(), batch(c.values...)); err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(o.server.bulks, "---"); got != c.want {
				t.Errorf("body:\n%s\nwant:\n%s", got, c.want)
			}
			if !slices.Equal(o.acked, []int64{100 + int64(len(c.values))}) {
				t.Errorf("acked %v", o.acked)
			}
		})
	}
}

func TestItemOutcomes(t *testing.T) {
	item := func(status int, kind string) string {
		return fmt.Sprintf(`{"status":%d,"error":{"type":%q,"reason":"because"}}`, status, kind)
	}
	items := map[string]string{
		"t-2-101": item(409, "version_conflict_engine_exception"),
		"t-2-102": item(429, "es_rejected_execution_exception"),
		"t-2-103": item(400, "document_parsing_exception"),
		"t-2-104": item(403, "cluster_block_exception"),
		"t-2-105": item(404, "index_not_found_exception"),
		"t-2-106": item(503, "unavailable_shards_exception"),
		"t-2-107": `{"status":404}`,
	}
	o := open(t, "index: i", &scripted{items: items})
	values := slices.Repeat([]string{`{}`}, 7)
	err := o.Write(t.Context(), batch(append(values, "", "no json", "[1]")...))
	var failed *connect.BatchError
	if !errors.As(err, &failed) {
		t.Fatalf("Write: %v", err)
	}
	got := map[int]connect.Outcome{}
	for _, f := range failed.Records {
		got[f.Index] = f.Outcome
	}
	want := map[int]connect.Outcome{2: connect.Retry, 3: connect.Poison, 4: connect.Retry, 5: connect.Block, 6: connect.Retry, 8: connect.Poison, 9: connect.Poison}
	if !maps.Equal(got, want) {
		t.Errorf("outcomes %v, want %v", got, want)
	}
	if len(o.acked) != 0 {
		t.Errorf("acked %v with records failed", o.acked)
	}
}

func TestAnswersThatDoNotTellOfEachDocumentAreErrors(t *testing.T) {
	s := &Sink{urls: []string{"http://here"}}
	actions := []action{{record: 0, id: "a"}, {record: 1, id: "b"}}
	for _, answer := range []string{
		``, `{`, `{}`, `[]`, `null`, `{"errors":true,"items":[{"index":{"status":201}}]}`,
		`{"errors":true,"items":[{"index":{"status":201}},{}]}`,
		`{"errors":true,"items":[{"index":{"status":201}},{"index":{}}]}`,
		`{"errors":true,"items":[{"index":{"status":201}},{"index":{"status":-1}}]}`,
		`{"errors":true,"items":[{"index":{"status":201}},{"index":{"status":201},"delete":{"status":400}}]}`,
		`{"errors":true,"items":[{"index":{"status":201}},null]}`,
	} {
		if failed, err := s.outcomes(actions, []byte(answer)); err == nil {
			t.Errorf("%s: taken, with %v", answer, failed)
		}
	}
}

func TestTooLargeRequestIsSplit(t *testing.T) {
	o := open(t, "index: i", &scripted{limit: 2})
	if err := o.Write(t.Context(), batch(slices.Repeat([]string{`{}`}, 7)...)); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(strings.Join(o.server.bulks, ""), `"_id"`); n != 7 {
		t.Errorf("%d documents arrived, want 7", n)
	}
}

func TestRefusedCredentialsArePermanent(t *testing.T) {
	server := httptest.NewServer(&scripted{t: t, deny: 401})
	defer server.Close()
	err := newSink(t, "{urls: ["+server.URL+"], index: i, api_key: nope}").Open(t.Context(), task(topicIDs["t"], nil))
	if !errors.Is(err, connect.ErrPermanent) || !strings.Contains(err.Error(), "api_key") || strings.Contains(err.Error(), "nope") {
		t.Errorf("Open: %v", err)
	}
}

func TestUnreachableServerSaysWhereAndWhatToDo(t *testing.T) {
	server := httptest.NewServer(nil)
	server.Close()
	err := newSink(t, "{urls: ["+server.URL+"], index: i}").Open(t.Context(), task(topicIDs["t"], nil))
	if err == nil || errors.Is(err, connect.ErrPermanent) || !strings.Contains(err.Error(), server.URL) || !strings.Contains(err.Error(), "set urls") {
		t.Errorf("Open: %v", err)
	}
}

func TestTopicMadeAnewBlocks(t *testing.T) {
	s := &scripted{}
	o := open(t, "index: i", s)
	if err := o.Write(t.Context(), batch(`{}`)); err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(s.mappings["i"], []byte(`"topics":{"t":"01000000000000000000000000000000"}`)) {
		t.Errorf("the index does not name its topic: %s", s.mappings["i"])
	}
	again := newSink(t, "{urls: ["+o.Sink.(*Sink).urls[0]+"], index: i}")
	if err := again.Open(t.Context(), o.task([16]byte{2})); err != nil {
		t.Fatal(err)
	}
	bulks := len(s.bulks)
	err := again.Write(t.Context(), batch(`{}`))
	if !errors.Is(err, connect.ErrPermanent) || !strings.Contains(err.Error(), "delete the index") || len(s.bulks) != bulks {
		t.Errorf("Write of a topic made anew: %v, %d requests", err, len(s.bulks)-bulks)
	}
}

func task(id [16]byte, ack func(connect.TopicPartition, int64)) connect.SinkTask {
	return connect.SinkTask{Pipeline: "test", Logger: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})), Ack: ack,
		TopicID: func(context.Context, string) ([16]byte, error) { return id, nil }}
}
