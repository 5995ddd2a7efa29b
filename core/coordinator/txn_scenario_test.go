package coordinator

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/milldam/milldam/core/record"
	"github.com/milldam/milldam/core/wire"
)

// txnActor is one producer of a scenario. Several may believe to be the producer of the same transactional id.
type txnActor struct {
	id      string
	version int16
	me      Txn
	open    []TopicPartition // it believes to have added
	asked   string           // what it waits for
	answer  *reply
	commit  bool
	anew    bool // it asked for an identity without naming one
	killed  bool
}

// txnScenario is a coordinator, producers that do this and that, and what they may rely on.
type txnScenario struct {
	t       *testing.T
	rng     *rand.Rand
	b       *txnBench
	actors  []*txnActor
	replies []*reply
	given   map[Txn]bool // identities that were given to who named none
	ends    []txnEnd
}

// txnEnd is an acknowledged end of a transaction.
type txnEnd struct {
	producer record.ProducerID
	epoch    record.ProducerEpoch // of its markers
	commit   bool
	open     []TopicPartition
}

func (s *txnScenario) chance(percent int) bool { return s.rng.IntN(100) < percent }

func (s *txnScenario) ask(a *txnActor, what string) *reply {
	a.asked, a.answer = what, &reply{}
	s.replies = append(s.replies, a.answer)
	return a.answer
}

// act has a producer take its next step.
func (s *txnScenario) act(a *txnActor) {
	if a.asked != "" {
		if times, code, next := a.answer.get(); times > 0 {
			s.take(a, code, next)
		} else if s.chance(1) { // its connection broke: it does not learn what came of it
			if a.asked == "add" {
				a.open = a.open[:len(a.open)-1]
			}
			a.asked = ""
		}
		return
	}
	switch dice := s.rng.IntN(100); {
	case a.me.ID == noProducerID || dice < 3:
		p := Txn{a.id, noProducerID, noEpoch}
		if a.me.ID != noProducerID && s.chance(50) {
			p = a.me // KIP-360
		}
		a.anew = !p.known()
		s.b.InitProducerID(p, 5_000, s.ask(a, "init").take)
	case dice < 50 && len(a.open) < 5:
		list := []TopicPartition{{"t", s.rng.Int32N(6)}}
		a.open = append(a.open, list...)
		if a.version >= txnVersion2 {
			s.b.Enlist(a.me, list, s.ask(a, "add").takeCode)
		} else {
			s.b.AddPartitions(a.me, list, a.version, s.ask(a, "add").takeCode)
		}
	case dice < 80:
		a.commit = s.chance(60)
		s.b.End(a.me, a.commit, a.version, s.ask(a, "end").take)
	case dice < 85:
		s.b.Verify(a.me, a.open)
	case dice < 87: // somebody else takes over, and this one does not know
		s.actors = append(s.actors, &txnActor{id: a.id, version: a.version, me: Txn{a.id, noProducerID, noEpoch}})
	case dice < 88:
		a.killed = true
	}
}

// take takes over an answer.
func (s *txnScenario) take(a *txnActor, code wire.Code, next Txn) {
	asked := a.asked
	a.asked = ""
	switch code {
	case wire.None:
	case wire.ConcurrentTransactions, wire.CoordinatorNotAvailable:
		if asked == "add" {
			a.open = a.open[:len(a.open)-1]
		}
		return
	case wire.ProducerFenced, wire.InvalidProducerIDMapping, wire.InvalidTxnState:
		a.me, a.open = Txn{a.id, noProducerID, noEpoch}, nil
		return
	default:
		s.t.Errorf("%s got %d", asked, code)
		return
	}
	switch asked {
	case "init":
		a.me, a.open = next, nil
		if a.anew && s.given[next] {
			s.t.Errorf("%+v was given out twice", next)
		}
		s.given[next] = true
	case "end":
		end := txnEnd{a.me.ID, a.me.Epoch, a.commit, a.open}
		if a.open = nil; a.version >= txnVersion2 {
			end.epoch++
			a.me = next
		}
		s.ends = append(s.ends, end)
	}
}

func (s *txnScenario) run(steps int) {
	for i := range 4 {
		s.actors = append(s.actors, &txnActor{id: fmt.Sprintf("txn-%d", i), version: int16(i%2) * 2, me: Txn{"", noProducerID, noEpoch}})
	}
	for range steps {
		if a := s.actors[s.rng.IntN(len(s.actors))]; !a.killed {
			s.act(a)
		}
		if s.rng.IntN(steps) < 3 {
			s.b.restart()
		}
		if s.rng.IntN(steps) < 3 {
			s.b.logs[s.rng.IntN(len(s.b.logs))].failNext()
		}
		if s.chance(2) {
			s.b.mu.Lock()
			s.b.mu.refuse++
			s.b.mu.Unlock()
		}
		pass(time.Duration(s.rng.Int64N(int64(20 * time.Millisecond))))
		s.b.checkRebuilt()
	}
	pass(time.Minute) // timeouts, and what was to be tried again
	s.b.checkRebuilt()
}

// check compares what partitions were told with what was acknowledged.
func (s *txnScenario) check() {
	type key struct {
		producer record.ProducerID
		epoch    record.ProducerEpoch
	}
	told := map[key]map[TopicPartition][]bool{}
	for _, m := range s.b.markers() {
		k := key{m.ProducerID, m.ProducerEpoch}
		if told[k] == nil {
			told[k] = map[TopicPartition][]bool{}
		}
		told[k][m.TopicPartition] = append(told[k][m.TopicPartition], m.Commit)
	}
	for k, partitions := range told {
		all := map[bool]bool{}
		for _, list := range partitions {
			for _, commit := range list {
				all[commit] = true
			}
		}
		if version2 := slices.ContainsFunc(s.b.markers(), func(m sentMarker) bool {
			return m.ProducerID == k.producer && m.ProducerEpoch == k.epoch && m.version == txnVersion2
		}); version2 && len(all) > 1 {
			s.t.Errorf("producer %d, epoch %d: some partitions were told to commit, others to abort: %v", k.producer, k.epoch, partitions)
		}
	}
	for _, end := range s.ends {
		for _, p := range end.open {
			if list := told[key{end.producer, end.epoch}][p]; !slices.Contains(list, end.commit) {
				s.t.Errorf("%+v was acknowledged, and %v was told %v", end, p, list)
			}
		}
	}
	for id, x := range s.b.Transactions.mu.ids {
		if x.busy() || x.value().state == txnOngoing {
			s.t.Errorf("%s is still busy in the end: %+v", id, *x.value())
		}
	}
	for i, r := range s.replies {
		if times, _, _ := r.get(); times > 1 {
			s.t.Errorf("request %d was answered %d times", i, times)
		}
	}
	if st := s.b.Stats(); st.MarkersSent != 0 || st.MarkersWaiting != 0 {
		s.t.Errorf("markers are left: %+v", st)
	}
}

// TestRandomTransactions lets producers of both versions do what producers do, with failing logs and restarts, and compares after every step what the
// coordinator holds with what a new one reads from the log.
func TestRandomTransactions(t *testing.T) {
	for seed := range uint64(40) {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &txnScenario{t: t, rng: rand.New(rand.NewPCG(seed, 3)), given: map[Txn]bool{}}
				o := TxnOptions{MaxMarkers: 1 + int(seed%4)}
				s.b = newTxnBench(t, 3, o)
				for i, l := range s.b.logs {
					l.delay = upTo(30*time.Millisecond, seed, uint64(i))
				}
				s.b.delay = upTo(60*time.Millisecond, seed, 10)
				s.run(600)
				s.check()
			})
		})
	}
}

// upTo makes delays.
func upTo(most time.Duration, seed, stream uint64) func() time.Duration {
	rng := rand.New(rand.NewPCG(seed, 100+stream))
	return func() time.Duration { return time.Duration(rng.Int64N(int64(most))) }
}
