package streams_test

import (
	"strings"
	"testing"
	"time"

	"github.com/milldam/milldam/streams"
)

type click struct {
	Page string
	At   time.Time
}

type row struct {
	Start time.Time
	N     int64
}

// declared is a topology with most operators.
func declared() *streams.Topology {
	t := streams.NewTopology()
	t.Stream("lines", streams.String, streams.String).
		FlatMapValues(strings.FieldsSeq).
		MapValues(strings.ToLower).
		GroupBy("by-word", func(_, w string) string { return w }).
		Count("counts").
		To("word-counts")

	w := t.Stream("clicks", streams.String, streams.JSON[click]()).
		IdleAfter(30*time.Second).
		EventTime(func(_ string, c click) time.Time { return c.At }).
		MaxFuture(5*time.Minute, streams.OnError{Then: streams.Skip}).
		GroupBy("by-page", func(_ string, c click) string { return c.Page }).
		Window(streams.Tumbling(time.Minute).Grace(10 * time.Second))
	w.Late().To("clicks-late")
	pages := t.Table("pages", streams.String, streams.JSON[map[string]string]())
	w.Count("views").
		Final(func(_ string, w streams.Window, n int64) row { return row{w.Start, n} }).
		LeftJoin("title", pages, func(r row, page map[string]string, ok bool) row { return r }).
		To("page-minutes")
	return t
}

func TestDeclaredTopologyBuilds(t *testing.T) {
	if err := declared().Build(); err != nil {
		t.Fatal(err)
	}
}
