package elasticsearch

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/milldam/milldam/connect"
	"github.com/milldam/milldam/connect/connecttest"
)

func TestConformance(t *testing.T) {
	connecttest.Sink(t, func(t *testing.T) (connect.Sink, connecttest.Verify) {
		s := &scripted{t: t, mappings: map[string]json.RawMessage{}}
		server := httptest.NewServer(s)
		t.Cleanup(server.Close)
		return newSink(t, "{urls: ["+server.URL+"], index: orders-%Y}"), s.documents
	})
}

// documents returns the sources of all bulk requests.
func (s *scripted) documents(*testing.T) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []string
	for _, body := range s.bulks {
		for line := range strings.Lines(body) {
			if !strings.HasPrefix(line, `{"index":`) && !strings.HasPrefix(line, `{"delete":`) {
				all = append(all, line)
			}
		}
	}
	return all
}

func TestServerThatHangs(t *testing.T) {
	s := &scripted{t: t, mappings: map[string]json.RawMessage{}}
	release := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/_bulk" {
			<-release
			return
		}
		s.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	t.Cleanup(func() { close(release) })
	connecttest.SinkHangs(t, newSink(t, "{urls: ["+server.URL+"], index: orders}"))
}
