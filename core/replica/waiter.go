package replica

import (
	"sync"
	"time"
)

// Waiter is a request that waits for any of some partitions to move, or for a time to pass.
type Waiter struct {
	wheel *Wheel
	parts []*Partition
	fn    func(expired bool)
	mu    struct {
		sync.Mutex
		done  bool
		timer *Timer
	}
}

// Wait calls fn with false each time the high watermark of one of parts moves, or one of them is gone, and with true, for the last time, when d has passed. Nothing comes
// after Done. fn must not block; calls may overlap.
func (w *Wheel) Wait(parts []*Partition, d time.Duration, fn func(expired bool)) *Waiter {
	x := &Waiter{wheel: w, parts: parts, fn: fn}
	for _, p := range parts {
		p.mu.Lock()
		if p.mu.waiters == nil {
			p.mu.waiters = map[*Waiter]struct{}{}
		}
		p.mu.waiters[x] = struct{}{}
		p.mu.Unlock()
	}
	timer := w.After(d, func() {
		if x.Done() {
			fn(true)
		}
	})
	x.mu.Lock()
	x.mu.timer = timer
	ended := x.mu.done
	x.mu.Unlock()
	if ended { // it was woken before there was a timer to stop
		w.Stop(timer)
	}
	return x
}

func (w *Waiter) wake() {
	w.mu.Lock()
	done := w.mu.done
	w.mu.Unlock()
	if !done {
		w.fn(false)
	}
}

// Done ends the wait. It returns false when it had ended already.
func (w *Waiter) Done() bool {
	w.mu.Lock()
	first, timer := !w.mu.done, w.mu.timer
	w.mu.done = true
	w.mu.Unlock()
	if !first {
		return false
	}
	if timer != nil {
		w.wheel.Stop(timer)
	}
	for _, p := range w.parts {
		p.mu.Lock()
		delete(p.mu.waiters, w)
		p.mu.Unlock()
	}
	return true
}
