package coordinator

import (
	"container/heap"
	"time"
)

// deadline is a time at which fn is called, with Groups.mu held, unless it was stopped.
type deadline struct {
	at      time.Time
	fn      func()
	index   int // in the heap, -1 when it is not there
	stopped bool
}

// deadlines are all of them, on one timer.
type deadlines struct {
	list  deadlineHeap
	timer *time.Timer
	due   time.Time // the timer's
	fire  func()    // called by the timer
}

type deadlineHeap []*deadline

func (h deadlineHeap) Len() int           { return len(h) }
func (h deadlineHeap) Less(i, j int) bool { return h[i].at.Before(h[j].at) }
func (h deadlineHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}
func (h *deadlineHeap) Push(x any) {
	d := x.(*deadline)
	d.index = len(*h)
	*h = append(*h, d)
}
func (h *deadlineHeap) Pop() any {
	old := *h
	d := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	d.index = -1
	return d
}

// after adds a deadline.
func (t *deadlines) after(d time.Duration, fn func()) *deadline {
	x := &deadline{at: time.Now().Add(d), fn: fn, index: -1}
	heap.Push(&t.list, x)
	t.arm()
	return x
}

// move sets a deadline anew. A later time is common (every heartbeat), so the heap learns of it only when the old one has come.
func (t *deadlines) move(x *deadline, d time.Duration) {
	x.at = time.Now().Add(d)
	if x.index >= 0 {
		heap.Fix(&t.list, x.index)
	} else {
		x.stopped = false
		heap.Push(&t.list, x)
	}
	t.arm()
}

// stop removes a deadline; x may be nil.
func (t *deadlines) stop(x *deadline) {
	if x == nil {
		return
	}
	x.stopped = true
	if x.index >= 0 {
		heap.Remove(&t.list, x.index)
	}
}

// arm sets the timer to the first deadline, if it is set later or not at all.
func (t *deadlines) arm() {
	if len(t.list) == 0 {
		return
	}
	first := t.list[0].at
	switch {
	case t.timer == nil:
		t.timer = time.AfterFunc(time.Until(first), t.fire)
	case t.due.IsZero() || first.Before(t.due):
		t.timer.Reset(time.Until(first))
	default:
		return
	}
	t.due = first
}

// run calls what is due.
func (t *deadlines) run() {
	t.due = time.Time{}
	for len(t.list) > 0 && !t.list[0].at.After(time.Now()) {
		x := heap.Pop(&t.list).(*deadline)
		if !x.stopped {
			x.fn()
		}
	}
	t.arm()
}
