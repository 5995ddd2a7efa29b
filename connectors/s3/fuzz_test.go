package s3

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"github.com/milldam/milldam/connect"
	"github.com/milldam/milldam/core/config"
)

// fuzzedReply is what the store answers to everything.
type fuzzedReply struct {
	status int
	etag   string
	body   []byte
}

// FuzzReplies uploads to a store that answers anything: no panic, and nothing is acknowledged unless the store says that it has the object.
func FuzzReplies(f *testing.F) {
	for _, body := range []string{
		`<InitiateMultipartUploadResult><Bucket>lake</Bucket><Key>k</Key><UploadId>7</UploadId></InitiateMultipartUploadResult>`,
		`<CompleteMultipartUploadResult><ETag>"e"</ETag></CompleteMultipartUploadResult>`,
		`<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>`,
		`<Error><Code>NoSuchBucket</Code></Error>`, `<Error>`, `{"no":"xml"}`, ``,
		`<ListBucketResult><Contents><Key>a</Key><Size>3</Size></Contents><IsTruncated>true</IsTruncated><NextContinuationToken>n</NextContinuationToken></ListBucketResult>`,
	} {
		for _, status := range []uint16{200, 204, 301, 400, 403, 404, 412, 500, 503} {
			f.Add(status, `"etag"`, []byte(body), false)
			f.Add(status, "", []byte(body), true)
		}
	}
	var now atomic.Pointer[fuzzedReply]
	var asked atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		r := now.Load()
		w.Header()["Etag"] = []string{r.etag}
		w.WriteHeader(r.status)
		_, _ = w.Write(r.body) // a status may have no body
	}))
	f.Cleanup(server.Close)
	f.Fuzz(func(t *testing.T, status uint16, etag string, body []byte, parts bool) {
		now.Store(&fuzzedReply{status: 200})
		var c Config
		text := fmt.Sprintf("bucket: lake\nendpoint: %s\naccess_key: a\nsecret_key: b\npath: k\n", server.URL)
		if errs := config.Load("sink.yaml", []byte(text), &c, config.Options{}); len(errs) > 0 {
			t.Fatal(errs.Render())
		}
		made, err := New(c)
		must(t, err)
		sink := made.(*Sink)
		defer sink.Close()
		acked := int64(0)
		must(t, sink.Open(t.Context(), connect.SinkTask{Pipeline: "p", Logger: slog.New(slog.DiscardHandler), Ack: func(_ connect.TopicPartition, next int64) { acked = next }}))
		now.Store(&fuzzedReply{status: 200 + int(status%400), etag: etag, body: body})
		b := batch(part0, 0, 1)
		if parts {
			sink.config.PartSize = 4
		}
		asked.Store(0)
		err = sink.Write(t.Context(), b)
		if err == nil {
			err = sink.Flush(t.Context(), connect.FlushAll)
		}
		if (acked != 0) != (err == nil) {
			t.Fatalf("acknowledged up to %d after %d requests, with error %v", acked, asked.Load(), err)
		}
		if acked != 0 && now.Load().status >= 300 {
			t.Fatalf("acknowledged, and the store answered %d", now.Load().status)
		}
		if _, _, err := Usage(t.Context(), c, "k"); err != nil && err.Error() == "" {
			t.Fatal("an error without words")
		}
	})
}
