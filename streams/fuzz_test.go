package streams

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
)

// readingTask returns the task behind the repartition of crashing, which has two writers.
func readingTask(t testing.TB) *task {
	t.Helper()
	s, err := Simulate(crashing(), SimulationOptions{Partitions: map[string]int32{"in": 2}})
	if err != nil {
		t.Fatal(err)
	}
	return s.tasks[len(s.tasks)-1]
}

// FuzzMetadata resumes from metadata that anybody may have written: it is refused or taken, and the offset holds.
func FuzzMetadata(f *testing.F) {
	f.Add(`{"clocks":{"counts":{"closed":1,"times":[1,2]}},"writers":"03"}`)
	f.Add(`{"clocks":{"counts":{"times":[]}},"writers":"0"}`)
	f.Add("{")
	f.Add("somebody")
	f.Fuzz(func(t *testing.T, metadata string) {
		task := readingTask(t)
		if err := task.resume(task.inputs[0], &mark{1, metadata}, 0, 2); err != nil {
			return
		}
		if task.inputs[0].position != 1 {
			t.Errorf("goes on at %d, want 1", task.inputs[0].position)
		}
		if _, err := task.marks(); err != nil {
			t.Error(err)
		}
	})
}

// FuzzRepartitionRecord reads records of a repartition topic that anybody may have written: they are processed or refused.
func FuzzRepartitionRecord(f *testing.F) {
	f.Add([]byte{1}, []byte("\x00\x00\x00\x00\x00\x00\x00\x01\x02"), []byte(nil))
	f.Add([]byte{0}, []byte("short"), []byte(nil))
	f.Add([]byte{0xff}, []byte(nil), []byte("value"))
	f.Fuzz(func(t *testing.T, writer, clock, value []byte) {
		task := readingTask(t)
		in := task.inputs[0]
		data := &kgo.Record{Key: value, Value: value, Headers: []kgo.RecordHeader{{Key: "other"}, {Key: headerWriter, Value: writer}}}
		told := &kgo.Record{Offset: 1, Headers: []kgo.RecordHeader{{Key: headerWriter, Value: writer}, {Key: headerClock, Value: clock}}}
		in.add([]*kgo.Record{data, told}, 2)
		for did := true; did; {
			var err error
			if did, err = task.step(t.Context()); err != nil {
				return
			}
		}
		if in.position != 2 {
			t.Errorf("went on to %d, want 2", in.position)
		}
	})
}
