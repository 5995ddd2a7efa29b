package streamtest_test

import (
	"strings"
	"testing"
	"time"

	"github.com/milldam/milldam/streams"
	"github.com/milldam/milldam/streams/streamtest"
)

func TestDriver(t *testing.T) {
	top := streams.NewTopology()
	top.Stream("lines", streams.String, streams.String).
		FlatMapValues(strings.FieldsSeq).
		GroupBy("by-word", func(_, w string) string { return w }).
		Count("counts").
		To("word-counts")
	d := streamtest.New(t, top, streams.SimulationOptions{Partitions: map[string]int32{"lines": 2}})
	lines := streamtest.In(d, "lines", streams.String, streams.String)
	counts := streamtest.Out(d, "word-counts", streams.String, streams.Int64)
	at := time.UnixMilli(7).UTC()

	lines.Send("a", "one two", at)
	if got := counts.Read(); len(got) != 2 || got[0].Value != 1 || !got[0].Time.Equal(at) {
		t.Errorf("got %+v", got)
	}
	d.Restart()
	lines.SendTo(1, "b", "one", at)
	lines.Delete("b", at)
	if got := counts.Read(); len(got) != 1 || got[0].Key != "one" || got[0].Value != 2 {
		t.Errorf("after a restart got %+v", got)
	}
	if got := counts.Read(); got != nil {
		t.Errorf("read again: %+v", got)
	}
}
