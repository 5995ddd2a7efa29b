package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"
)

// comparer is one run over all systems and stages.
type comparer struct {
	*tools
	peerOptions
	ctx      context.Context // of the whole run: it ends when the user interrupts it
	systems  []*server
	stages   []stage
	budget   budget
	topics   int // made so far, each with a name of its own
	warmed   bool
	results  []comparison
	verdicts []verdict
}

// hint are options for a few minutes.
func (o peerOptions) hint() peerOptions {
	o.quick, o.rounds, o.warm, o.duration = true, 1, 6*time.Second, time.Second
	if len(o.systems) == len(allSystems) {
		o.systems = []string{ours, kafkaDefault}
	}
	return o
}

// budget shares the time of a run among its loads.
type budget struct {
	began, until time.Time
	left         time.Duration // what the rest takes, as estimated
}

// share is until when a load may go on that is estimated to take cost: all have their part of the time that is left.
func (b *budget) share(now time.Time, cost time.Duration) time.Time {
	part := 1.0
	if b.left > 0 {
		part = min(1, float64(cost)/float64(b.left))
	}
	b.left -= cost
	return now.Add(time.Duration(part * float64(max(0, b.until.Sub(now)))))
}

func (b *budget) progress(now time.Time) string {
	return fmt.Sprintf("%s gone, about %s left", now.Sub(b.began).Round(time.Second), max(0, min(b.left, b.until.Sub(now))).Round(time.Second))
}

// cost estimates a load on all systems.
func (c *comparer) cost(l load) time.Duration {
	return l.each * time.Duration(c.rounds*(len(c.systems)-len(l.skip)))
}

func (c *comparer) plan(st stage) {
	c.stages = append(c.stages, st)
	c.budget.left += st.setup * time.Duration(len(c.systems))
	for _, l := range st.loads {
		c.budget.left += max(l.each, c.cost(l))
	}
}

func (c *comparer) startAll() {
	c.budget = budget{began: time.Now(), until: time.Now().Add(c.limit)}
	for _, s := range c.systems {
		say("%s: start", s.name)
		s.broken = s.start(0)
	}
}

// idleTime is how long a broker that nobody talks to is left alone before its memory is read.
const idleTime = 10 * time.Second

// warm measures the memory of the idle systems and brings them to where they stay: the JVM compiles as it runs.
func (c *comparer) warmAll() {
	if c.warmed || c.warm <= 0 {
		return
	}
	c.warmed = true
	say("memory while idle")
	<-time.After(idleTime)
	idle := load{name: "idle, after the start", targets: []target{fifthRSS}, run: func(s *server) (sample, error) { return sample{}, nil }}
	list := c.list(idle)
	for i, s := range c.systems {
		c.one(idle, s, &list[i])
	}
	c.add(idle, list)
	for _, s := range c.systems {
		if s.broken == nil {
			s.broken = c.warmUp(s, c.warm)
		}
	}
}

// list has a comparison for each system that takes part.
func (c *comparer) list(l load) []comparison {
	var list []comparison
	for _, s := range c.systems {
		if !slices.Contains(l.skip, s.name) {
			list = append(list, comparison{Load: l.name, Unit: l.unit, System: s.name})
		}
	}
	return list
}

// stage measures the loads of a stage. A system that fails is named, and begins the next stage anew.
func (c *comparer) stage(st stage) {
	if st.partitions > 0 {
		c.warmAll()
	}
	c.budget.left -= st.setup * time.Duration(len(c.systems))
	for _, s := range c.systems {
		asked := func(l load) bool { return !slices.Contains(l.skip, s.name) }
		if c.over() == "" && slices.ContainsFunc(st.loads, asked) {
			c.begin(st, s)
		}
	}
	for _, l := range st.loads {
		say("%s: %s", l.name, c.budget.progress(time.Now()))
		list := c.measure(st, l)
		c.add(l, list)
	}
	for _, s := range c.systems {
		if st.partitions > 0 && s.partitions > 0 && s.broken == nil && !st.dear {
			s.broken = s.deleteTopic()
		}
	}
}

func (c *comparer) add(l load, list []comparison) {
	for i := range list {
		if len(list[i].Rounds) > 0 {
			list[i].Median = medianSample(list[i].Rounds)
		}
	}
	if c.output == "table" {
		if err := peerTable(list, false); err != nil {
			say("print %s: %v", l.name, err)
		}
	}
	c.results, c.verdicts = append(c.results, list...), append(c.verdicts, l.judge(list)...)
}

// over is why no measurement begins any more, or empty.
func (c *comparer) over() string {
	if c.ctx.Err() != nil {
		return "interrupted"
	}
	if !time.Now().Before(c.budget.until) {
		return timeOver
	}
	return ""
}

// timeOver is why something was not measured.
const timeOver = "the time was over"

// begin gives a system the topic of a stage.
func (c *comparer) begin(st stage, s *server) {
	if s.broken != nil {
		say("%s: made anew, after: %v", s.name, s.broken)
		if s.broken = errors.Join(s.wipe(), s.start(0)); s.broken == nil && st.partitions > 0 {
			s.broken = c.warmUp(s, c.warm)
		}
	}
	if s.broken == nil && st.partitions > 0 {
		s.broken = c.newTopic(st, s)
	}
}

// newTopic makes a topic as the loads of the stage want it.
func (c *comparer) newTopic(st stage, s *server) error {
	c.topics++
	s.written = 0
	if err := s.createTopic("bench-"+strconv.Itoa(c.topics), st.partitions); err != nil {
		return err
	}
	if st.prepare != nil {
		return st.prepare(s)
	}
	_, err := st.loads[0].run(s)
	return err
}

// measure runs a load on the systems in turn, until it has its rounds or its part of the time is over; one round is measured in any case.
func (c *comparer) measure(st stage, l load) []comparison {
	list := c.list(l)
	deadline := c.budget.share(time.Now(), c.cost(l))
	for n := range c.rounds {
		i := -1
		for _, s := range c.systems {
			if slices.Contains(l.skip, s.name) {
				continue
			}
			i++
			why := c.over()
			if why == "" && n > 0 && time.Now().After(deadline) {
				why = timeOver
			}
			if why != "" {
				list[i].Stopped = why
				continue
			}
			c.renew(st, s)
			c.one(l, s, &list[i])
		}
	}
	for i := range list {
		if c.profile != "" && list[i].Error == "" && c.over() == "" {
			if err := c.profileLoad(l, list[i].System); err != nil {
				say("profile of %s: %v", l.name, err)
			}
		}
	}
	return list
}

// topicBytes is how large a topic becomes before it is made anew, so that no disk fills.
const topicBytes = 2e9

func (c *comparer) renew(st stage, s *server) {
	if s.broken != nil || st.keep || s.partitions == 0 || s.written < topicBytes {
		return
	}
	if s.broken = s.deleteTopic(); s.broken == nil {
		s.broken = c.newTopic(st, s)
	}
}

// one measures a system once.
func (c *comparer) one(l load, s *server, to *comparison) {
	if s.broken != nil {
		to.Error = s.broken.Error()
	}
	if to.Error != "" {
		return
	}
	m, err := c.round(l, s)
	if err != nil {
		to.Error = err.Error()
		say("%s on %s: %v", l.name, s.name, err)
		ctx, cancel := context.WithTimeout(c.ctx, 10*time.Second)
		defer cancel()
		if !s.leads(ctx, s.partitions) {
			s.broken = fmt.Errorf("it does not answer since %s: %w", l.name, err)
		}
		return
	}
	s.written += m.Bytes
	to.Rounds = append(to.Rounds, m)
}

func (c *comparer) round(l load, s *server) (m sample, err error) {
	if l.fresh > 0 {
		topic, partitions := s.topic, s.partitions
		defer func() { s.topic, s.partitions = topic, partitions }()
		c.topics++
		if err := s.createTopic("bench-new-"+strconv.Itoa(c.topics), l.fresh); err != nil {
			return m, err
		}
		defer func() { err = errors.Join(err, s.deleteTopic()) }()
	}
	settle()
	if l.writes {
		backMemory()
	}
	return s.observe(l.run)
}
