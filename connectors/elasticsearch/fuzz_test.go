package elasticsearch

import (
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"github.com/milldam/milldam/connect"
)

// fuzzedReply is what the server answers to everything.
type fuzzedReply struct {
	status int
	body   []byte
}

// FuzzReplies writes a batch to a server that answers anything: no panic, and nothing is acknowledged unless the answer says that all of it was stored.
func FuzzReplies(f *testing.F) {
	for _, body := range []string{
		`{"errors":false,"items":[{"index":{"status":201}},{"index":{"status":200}}]}`,
		`{"errors":true,"items":[{"index":{"status":201}},{"index":{"status":429,"error":{"type":"es_rejected_execution_exception","reason":"full"}}}]}`,
		`{"errors":true,"items":[{"index":{"status":409}},{"index":{"status":400,"error":{"type":"t","reason":"r","caused_by":{"type":"u","reason":"s"}}}}]}`,
		`{"errors":true,"items":[{},{"index":{}}]}`,
		`{"i":{"mappings":{"_meta":{"milldam":{"topics":{"t":"01000000000000000000000000000000"}}}}}}`,
		`{"i":{"mappings":{"_meta":{"milldam":{"topics":{"t":"02"}}}}}}`,
		`{"status":403,"error":{"type":"security_exception","reason":"missing authentication","root_cause":[{"type":"x"}]}}`,
		`{"error":"a text"}`, `<html>502</html>`, ``, `null`,
	} {
		for _, status := range []uint16{200, 404, 413, 429, 503} {
			f.Add(status, []byte(body), false)
			f.Add(status, []byte(body), true)
		}
	}
	var now atomic.Pointer[fuzzedReply]
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		r := now.Load()
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(r.status)
		_, _ = w.Write(r.body) // a status may have no body
	}))
	f.Cleanup(server.Close)
	f.Fuzz(func(t *testing.T, status uint16, body []byte, claimed bool) {
		now.Store(&fuzzedReply{status: 200, body: []byte("{}")})
		sink := newSink(t, "{urls: ["+server.URL+"], index: i}").(*Sink)
		defer sink.Close()
		acked := int64(0)
		o := task(topicIDs["t"], func(_ connect.TopicPartition, next int64) { acked = next })
		o.Logger = slog.New(slog.DiscardHandler)
		if err := sink.Open(t.Context(), o); err != nil {
			t.Fatal(err)
		}
		if claimed { // the answer is one to the bulk request
			sink.claimed["i"] = map[string]string{"t": "01000000000000000000000000000000"}
		}
		now.Store(&fuzzedReply{status: 200 + int(status%400), body: body})
		err := sink.Write(t.Context(), batch(`{"a":1}`, `{"a":2}`))
		if (acked != 0) != (err == nil) {
			t.Fatalf("acknowledged up to %d, with error %v", acked, err)
		}
		var failed *connect.BatchError
		if errors.As(err, &failed) {
			for _, r := range failed.Records {
				if r.Index < 0 || r.Index > 1 || r.Err == nil {
					t.Fatalf("%+v of a batch of two", r)
				}
			}
		}
	})
}
