package streams

import "math"

const (
	// noTime is the time of a clock that has seen no record.
	noTime = math.MinInt64
	// maxTime is the end of the year 9999. A record with a later time, or one before 1970, is in no window and moves no clock:
	// what computes with times cannot overflow, and one absurd record does not make all others late.
	maxTime = 253_402_300_799_999
)

func validTime(time int64) bool { return time >= 0 && time <= maxTime }

// clock is the time of one operator in one task. It hears of every record that reaches the operator, apart for each input.
//
// The time of an input is the highest of its records; what comes through a repartition topic has one input for each task that
// writes to it, and these tell their time themselves. The time of the operator is the lowest of the inputs that hold it back.
// An input does not while it stands at the end of its log and is idle, or has no idle time declared. When none holds it back it
// is the highest of all. So no record is late because another partition was read first.
type clock struct {
	name   string
	inputs []clockInput // by the index that records carry
	// now is the operator's time. Invariant: it never goes back.
	now int64
	// closed is the end of the last window that was closed. Invariant: it never goes back.
	closed int64
}

type clockInput struct {
	feeds bool // records of this input reach the operator
	told  bool // the input's time is told by tell, its records do not move it
	free  bool // the input does not hold the operator back
	time  int64
	seen  int64 // by the wall clock, when its last record reached the operator
}

func newClock(name string, inputs int) *clock {
	c := &clock{name: name, inputs: make([]clockInput, inputs), now: noTime, closed: noTime}
	for i := range c.inputs {
		c.inputs[i].time, c.inputs[i].seen = noTime, noTime
	}
	return c
}

// observe takes the time of a record that came by input i, at the wall time wall.
func (c *clock) observe(i int32, time, wall int64) {
	in := &c.inputs[i]
	in.seen = wall
	if !in.told && validTime(time) {
		c.advance(in, time)
	}
}

// tell sets the time of an input that tells it itself.
func (c *clock) tell(i int32, time int64) {
	if c.inputs[i].feeds && c.inputs[i].told && validTime(time) {
		c.advance(&c.inputs[i], time)
	}
}

func (c *clock) advance(in *clockInput, time int64) {
	if time > in.time {
		// Only the input that was furthest behind can move the operator.
		behind := in.time <= c.now
		in.time = time
		if behind {
			c.update()
		}
	}
}

// setFree says whether input i holds the operator back.
func (c *clock) setFree(i int32, free bool) {
	in := &c.inputs[i]
	if in.free == free {
		return
	}
	in.free = free
	c.update()
}

// update computes now.
func (c *clock) update() {
	lowest, highest, held := int64(math.MaxInt64), int64(noTime), false
	for i := range c.inputs {
		in := &c.inputs[i]
		if !in.feeds {
			continue
		}
		highest = max(highest, in.time)
		if !in.free {
			lowest, held = min(lowest, in.time), true
		}
	}
	if !held {
		lowest = highest
	}
	c.now = max(c.now, lowest)
}

// before returns the time that lies d before now.
func (c *clock) before(d int64) int64 {
	if c.now < noTime+d {
		return noTime
	}
	return c.now - d
}
