package streams

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Message is a record of a topic, as bytes. A nil Key or Value is a missing one.
type Message struct {
	Topic      string
	Partition  int32
	Offset     int64
	Key, Value []byte
	Time       time.Time
	Headers    []Header
}

// SimulationOptions set up a Simulation.
type SimulationOptions struct {
	// Partitions of topics; a topic that is not named has one.
	Partitions map[string]int32
	// Now is what the clock shows at the start; the beginning of 2026 when zero.
	Now time.Time
	// Delivery is the guarantee, as in Options.
	Delivery Delivery
}

// Simulation runs a topology in this goroutine: topics are kept in memory, and the clock stands still until Advance moves it. It
// goes through the same tasks, merging, stores, changelogs and commits as a worker does, one after the other in a fixed order, so
// that the same calls give the same records. It is not safe for concurrent use.
type Simulation struct {
	plan      *plan
	delivery  Delivery
	logs      map[string][]*memoryLog
	txn       memoryTransaction
	committed map[Source]mark
	metrics   Metrics
	clock     time.Time
	tasks     []*task
	inTurn    map[string]int32 // the next partition for a record without a key
	spare     int              // what may still be made durable before errCrashed; negative is without limit
}

// memoryLog is one partition. It holds no markers of transactions.
type memoryLog struct {
	records []*kgo.Record
	aborted map[int64]bool // offsets
}

// memoryTransaction is what a transaction has made durable.
type memoryTransaction struct {
	records []*kgo.Record
	marks   map[Source]mark
	decided bool // it is committed, whatever comes
}

// errCrashed is the end of a simulated process.
var errCrashed = errors.New("the simulated process crashed")

// Simulate returns a simulation of a topology, with empty topics.
func Simulate(t *Topology, o SimulationOptions) (*Simulation, error) {
	if err := t.Build(); err != nil {
		return nil, err
	}
	partitions := map[string]int32{}
	for _, topic := range append(t.sourceTopics(), t.sinkTopics()...) {
		partitions[topic] = 1
	}
	maps.Copy(partitions, o.Partitions)
	p, err := t.plan("simulation", partitions)
	if err != nil {
		return nil, err
	}
	s := &Simulation{plan: p, delivery: o.Delivery, logs: map[string][]*memoryLog{}, committed: map[Source]mark{}, clock: o.Now, inTurn: map[string]int32{}, spare: -1}
	if s.clock.IsZero() {
		s.clock = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	}
	maps.Copy(partitions, p.partitions)
	for topic, n := range partitions {
		for range n {
			s.logs[topic] = append(s.logs[topic], &memoryLog{})
		}
	}
	return s, s.Restart()
}

// Restart is what a restart of the process is for a worker: all that was not committed is forgotten, and tasks begin anew from the
// committed offsets and the changelogs.
func (s *Simulation) Restart() error {
	s.tasks = nil
	s.endTransaction()
	env := environment{
		metrics: &s.metrics, now: s.Now, sleep: func(ctx context.Context, _ time.Duration) error { return ctx.Err() },
		atomic: s.delivery == ExactlyOnce,
	}
	for _, sub := range s.plan.subs {
		for partition := range sub.tasks {
			t := newTask(s.plan, taskID{sub.id, partition}, env)
			if err := s.restore(t); err != nil {
				return err
			}
			s.tasks = append(s.tasks, t)
		}
	}
	return nil
}

func (s *Simulation) restore(t *task) error {
	for _, in := range t.inputs {
		var committed *mark
		if m, ok := s.committed[*in.source]; ok {
			committed = &m
		}
		if err := t.resume(in, committed, 0, s.log(in.source).end()); err != nil {
			return err
		}
	}
	for _, store := range t.stores {
		if err := t.restoreStore(store, s.logs[store.topic][t.id.partition].from(0)); err != nil {
			return err
		}
	}
	t.restored()
	return nil
}

func (l *memoryLog) end() int64 { return int64(len(l.records)) }

// from returns the committed records behind an offset. No transaction is open when somebody reads.
func (l *memoryLog) from(offset int64) []*kgo.Record {
	if len(l.aborted) == 0 {
		return l.records[offset:]
	}
	return slices.DeleteFunc(slices.Clone(l.records[offset:]), func(r *kgo.Record) bool { return l.aborted[r.Offset] })
}

func (s *Simulation) log(source *Source) *memoryLog { return s.logs[source.Topic][source.Partition] }

// Now is what the clock shows.
func (s *Simulation) Now() time.Time { return s.clock }

// Metrics are the counts since the start, restarts included.
func (s *Simulation) Metrics() *Metrics { return &s.metrics }

// Advance moves the clock, and processes what is due then.
func (s *Simulation) Advance(d time.Duration) error {
	s.clock = s.clock.Add(d)
	return s.run()
}

// Send appends messages to a topic, in the partitions that their keys belong to, and processes all there is. The fields Topic,
// Partition and Offset of the messages are not used.
func (s *Simulation) Send(topic string, messages ...Message) error {
	for _, m := range messages {
		if len(s.logs[topic]) == 0 {
			return fmt.Errorf("the topology does not read topic %q", topic)
		}
		s.append(topic, s.partitionFor(topic, m.Key), m)
	}
	return s.run()
}

// SendTo is Send to one partition.
func (s *Simulation) SendTo(topic string, partition int32, messages ...Message) error {
	if int(partition) >= len(s.logs[topic]) || partition < 0 {
		return fmt.Errorf("there is no partition %s-%d", topic, partition)
	}
	for _, m := range messages {
		s.append(topic, partition, m)
	}
	return s.run()
}

func (s *Simulation) append(topic string, partition int32, m Message) {
	log := s.logs[topic][partition]
	log.records = append(log.records, &kgo.Record{
		Topic: topic, Partition: partition, Offset: log.end(), Key: m.Key, Value: m.Value, Timestamp: m.Time, Headers: m.Headers,
	})
}

func (s *Simulation) partitionFor(topic string, key []byte) int32 {
	n := int32(len(s.logs[topic]))
	if key != nil {
		return partitionOf(key, n)
	}
	s.inTurn[topic]++
	return (s.inTurn[topic] - 1) % n
}

// Read returns all records of a topic, ordered by partition and offset. Changelog and repartition topics are called as in a
// cluster, the application is "simulation".
func (s *Simulation) Read(topic string) []Message {
	var out []Message
	for _, log := range s.logs[topic] {
		for _, r := range log.from(0) {
			out = append(out, Message{
				Topic: r.Topic, Partition: r.Partition, Offset: r.Offset, Key: r.Key, Value: r.Value, Time: r.Timestamp.UTC(), Headers: r.Headers,
			})
		}
	}
	return out
}

// Topics returns the names of all topics, those of the topology itself included.
func (s *Simulation) Topics() []string { return slices.Sorted(maps.Keys(s.logs)) }

// run lets all tasks process and commit until nothing is left to do.
func (s *Simulation) run() error {
	for progress := true; progress; {
		progress = false
		for _, t := range s.tasks {
			did, err := s.runTask(t)
			if err != nil {
				return err
			}
			progress = progress || did
		}
	}
	return nil
}

// runTask processes what one task has, and commits.
func (s *Simulation) runTask(t *task) (bool, error) {
	ctx := context.Background()
	for _, in := range t.inputs {
		log := s.log(in.source)
		if news := log.from(in.fetched); len(news) > 0 {
			t.metrics.Buffered.Add(int64(len(news)))
			in.add(news, log.end())
		}
		in.fetched = log.end()
	}
	worked := false
	for {
		did, err := t.step(ctx)
		if err != nil {
			return false, err
		}
		worked = worked || did
		if did {
			continue
		}
		idle := t.uncertified()
		if len(idle) == 0 {
			break
		}
		for _, in := range idle {
			in.certified = true
		}
	}
	wrote, err := s.commit(t)
	return worked || wrote, err
}

// commit makes durable what a task did, in the order of a worker: outputs and changes, then offsets, and where all of it is one
// transaction, then its end.
func (s *Simulation) commit(t *task) (bool, error) {
	if err := t.flush(); err != nil {
		return false, err
	}
	records := t.produced()
	for _, r := range records {
		if err := s.durable(); err != nil {
			return false, err
		}
		s.write(r)
		if s.delivery == ExactlyOnce {
			s.txn.records = append(s.txn.records, r)
		}
	}
	if !t.dirty {
		return len(records) > 0, nil
	}
	if err := s.durable(); err != nil {
		return false, err
	}
	marks, err := marksOf([]*task{t})
	if err != nil {
		return false, err
	}
	s.txn.marks = marks
	if len(s.txn.records) > 0 {
		if err := s.durable(); err != nil {
			return false, err
		}
	}
	s.txn.decided = true
	s.endTransaction()
	t.committed()
	t.metrics.Commits.Add(1)
	return true, nil
}

// endTransaction is what the broker does at the end of a transaction, and when its producer comes back after a crash: what was decided is
// committed, else all of it is aborted.
func (s *Simulation) endTransaction() {
	if s.txn.decided {
		maps.Copy(s.committed, s.txn.marks)
	} else {
		for _, r := range s.txn.records {
			log := s.logs[r.Topic][r.Partition]
			if log.aborted == nil {
				log.aborted = map[int64]bool{}
			}
			log.aborted[r.Offset] = true
		}
	}
	s.txn = memoryTransaction{}
}

func (s *Simulation) durable() error {
	if s.spare == 0 {
		return errCrashed
	}
	s.spare--
	return nil
}

func (s *Simulation) write(r *kgo.Record) {
	if len(s.logs[r.Topic]) == 0 {
		s.logs[r.Topic] = []*memoryLog{{}}
	}
	if r.Partition == anyPartition {
		r.Partition = s.partitionFor(r.Topic, r.Key)
	}
	log := s.logs[r.Topic][r.Partition]
	r.Offset = log.end()
	log.records = append(log.records, r)
}

// Committed returns the committed offset and metadata of a partition; ok is false when there is none.
func (s *Simulation) Committed(topic string, partition int32) (offset int64, metadata string, ok bool) {
	m, ok := s.committed[Source{topic, partition}]
	return m.offset, m.metadata, ok
}
