package s3

import (
	"net/http"
	"strings"
	"testing"

	"github.com/milldam/milldam/connect"
	"github.com/milldam/milldam/connect/connecttest"
)

// TestConformance runs with one path for all partitions, with more paths than partitions, and with objects of few records.
func TestConformance(t *testing.T) {
	for name, yaml := range map[string]string{
		"one path":      "path: all\n",
		"many paths":    "path: p/${{ topic }}/second=%S\n",
		"small objects": "path: p/second=%S\nrotate: { records: 3 }\n",
	} {
		t.Run(name, func(t *testing.T) {
			connecttest.Sink(t, func(t *testing.T) (connect.Sink, connecttest.Verify) {
				s := newStore(t)
				sink, err := New(s.sinkConfig(yaml))
				must(t, err)
				return sink, s.values
			})
		})
	}
}

// values are the lines of all objects.
func (s *store) values(*testing.T) []string {
	var all []string
	for _, body := range s.objects() {
		for line := range strings.Lines(string(body)) {
			all = append(all, line)
		}
	}
	return all
}

func TestServerThatHangs(t *testing.T) {
	s := newStore(t)
	release := make(chan struct{})
	t.Cleanup(func() { close(release) })
	s.failing(func(r *http.Request) int {
		if r.Method == http.MethodPut {
			<-release
		}
		return 0
	})
	sink, err := New(s.sinkConfig("path: p\n"))
	must(t, err)
	connecttest.SinkHangs(t, sink)
}
