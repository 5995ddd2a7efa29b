package coordinator

import (
	"iter"
	"slices"
	"time"

	"github.com/milldam/milldam/core/record"
	"github.com/milldam/milldam/core/wire"
)

// consumerProtocol is the protocol type of consumers; others, as Connect's, are none of ours to assign for.
const consumerProtocol = "consumer"

// Topics is what the coordinator knows of the topics of the cluster at one time. Values are comparable: two that are the same say the same.
type Topics interface {
	Topic(name string) (id record.TopicID, partitions int32, ok bool)
	Name(id record.TopicID) (name string, ok bool)
	Names() iter.Seq[string]
}

// MigrationPolicy says which groups change their type while members are up, by Kafka's names.
type MigrationPolicy string

// The policies.
const (
	Bidirectional MigrationPolicy = "bidirectional"
	UpgradeOnly   MigrationPolicy = "upgrade"
	DowngradeOnly MigrationPolicy = "downgrade"
	NoMigration   MigrationPolicy = "disabled"
)

func (p MigrationPolicy) upgrades() bool   { return p == Bidirectional || p == UpgradeOnly }
func (p MigrationPolicy) downgrades() bool { return p == Bidirectional || p == DowngradeOnly }

// ConsumerTimes are what a group of the consumer type can have of its own.
type ConsumerTimes struct {
	Session            time.Duration // default 45 s
	Heartbeat          time.Duration // default 5 s
	AssignmentInterval time.Duration // a target is computed no more often; 0 is at once
}

// ConsumerOptions are of groups of the consumer type (KIP-848).
type ConsumerOptions struct {
	// Times tells what holds for a group now. nil: the defaults, and no interval.
	Times     func(group string) ConsumerTimes
	MaxSize   int             // members of a group; default 2^31-1, as Kafka
	Migration MigrationPolicy // default bidirectional
	Assignors []string        // by preference; those there are not are left out; default uniform, range
}

func (o ConsumerOptions) withDefaults() ConsumerOptions {
	if o.Times == nil {
		o.Times = func(string) ConsumerTimes {
			return ConsumerTimes{Session: 45 * time.Second, Heartbeat: 5 * time.Second}
		}
	}
	if o.MaxSize <= 0 {
		o.MaxSize = 1<<31 - 1
	}
	if o.Migration == "" {
		o.Migration = Bidirectional
	}
	o.Assignors = slices.DeleteFunc(slices.Clone(o.Assignors), func(name string) bool { return assignors[name] == nil })
	if len(o.Assignors) == 0 {
		o.Assignors = []string{uniformAssignor, rangeAssignor}
	}
	return o
}

// consumer is what lives of a group of the consumer type beside its records. Guarded by Groups.mu.
type consumer struct {
	name   string
	shard  *shard
	timers map[memberTimer]*deadline

	topics  Topics               // those that the metadata hash was computed of
	regexes map[string]regexSeen // what the regular expressions were matched with
}

// timerKind is what a member has to do in time.
type timerKind int

const (
	sessionTimer timerKind = iota // send a heartbeat
	revokeTimer                   // give partitions back
	joinTimer                     // of the classic protocol: join again
	syncTimer                     // of the classic protocol: ask for the assignment
)

type memberTimer struct {
	member string
	kind   timerKind
}

// state is what the records say of the group; there is one as long as the group is there.
func (c *consumer) state() *consumerGroup { return c.shard.groups[c.name].consumer }

// start sets a timer of a member anew.
func (g *Groups) start(c *consumer, member string, kind timerKind, d time.Duration, fn func()) {
	key := memberTimer{member, kind}
	g.mu.deadlines.stop(c.timers[key])
	c.timers[key] = g.mu.deadlines.after(d, func() {
		delete(c.timers, key)
		fn()
	})
}

func (g *Groups) stop(c *consumer, member string, kinds ...timerKind) {
	for _, kind := range kinds {
		key := memberTimer{member, kind}
		g.mu.deadlines.stop(c.timers[key])
		delete(c.timers, key)
	}
}

func (g *Groups) stopAll(c *consumer, member string) {
	g.stop(c, member, sessionTimer, revokeTimer, joinTimer, syncTimer)
}

// heardConsumer starts a member's session anew.
func (g *Groups) heardConsumer(c *consumer, m *consumerMember) {
	session := g.opts.Consumer.Times(c.name).Session
	if m.classic != nil {
		session = time.Duration(m.classic.sessionMs) * time.Millisecond
	}
	if d := c.timers[memberTimer{m.id, sessionTimer}]; d != nil {
		g.mu.deadlines.move(d, session)
		return
	}
	g.start(c, m.id, sessionTimer, session, func() { g.fenceLate(c, m.id, "its session has ended") })
}

// fenceLate removes a member that did not do in time what it had to.
func (g *Groups) fenceLate(c *consumer, id, why string) {
	if g.mu.consumers[c.name] != c || c.state().members[id] == nil {
		return
	}
	g.opts.Logger.Info("a member is removed", "group", c.name, "member", id, "why", why)
	m := c.state().members[id]
	x := g.change(c)
	g.fence(x, id)
	x.commit(func(code wire.Code) {
		if code != wire.None && g.mu.consumers[c.name] == c && c.state().members[id] == m {
			g.heardConsumer(c, m) // it is removed when that can be written
		}
	})
}

func makeConsumer(name string, s *shard) *consumer {
	return &consumer{name: name, shard: s, timers: map[memberTimer]*deadline{}, regexes: map[string]regexSeen{}}
}

// newConsumer makes the living part of a consumer group.
func (g *Groups) newConsumer(name string, s *shard) *consumer {
	c := makeConsumer(name, s)
	g.mu.consumers[name] = c
	return c
}

// restoreConsumer takes over a group from its records: each member has its session's time to show itself.
func (g *Groups) restoreConsumer(name string, s *shard) {
	c := g.newConsumer(name, s)
	for _, m := range c.state().members {
		g.heardConsumer(c, m)
		if m.state == memberUnrevoked {
			g.awaitRevocation(c, m)
		}
	}
}

// change is what one request, or a time that has come, changes in a consumer group. Each record is applied as it is added, so that the next one is decided on it.
type change struct {
	g        *Groups
	c        *consumer
	list     []entry
	undo     []func()
	appended []func() // called when the records are in the log
}

func (g *Groups) change(c *consumer) *change { return &change{g: g, c: c} }

// state is the group as it is after the records added so far.
func (x *change) state() *consumerGroup {
	if d := x.c.shard.groups[x.c.name]; d != nil && d.consumer != nil {
		return d.consumer
	}
	return newConsumerGroup() // nothing was added yet
}

func (x *change) emit(f fact) { x.add(entry{group: x.c.name, fact: f}) }

func (x *change) add(e entry) {
	x.list = append(x.list, e)
	if !e.isOffset {
		x.undo = append(x.undo, x.c.shard.applyGroup(e))
	}
}

// then has fn called when the records are in the log, with mu held: it changes what lives beside them.
func (x *change) then(fn func()) { x.appended = append(x.appended, fn) }

// rollback takes back what was added.
func (x *change) rollback() {
	for _, undo := range slices.Backward(x.undo) {
		undo()
	}
	x.c.shard.dropIfEmpty(x.c.name)
	x.list, x.undo = nil, nil
}

// commit appends the records and calls done, with mu held, when they are committed or could not be. Without records it waits for those before.
func (x *change) commit(done func(wire.Code)) {
	ran := func() {
		for _, fn := range x.appended {
			fn()
		}
	}
	if len(x.list) == 0 {
		ran()
		x.g.afterWrites(x.c.shard, done)
		return
	}
	ok := false
	x.g.append(x.c.shard, noTxn, nil, x.list, func() { ok = true; ran() }, done)
	if !ok {
		x.rollback()
		x.g.dropConsumerIfNew(x.c)
	}
}
