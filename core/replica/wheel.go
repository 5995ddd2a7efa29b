package replica

import (
	"sync"
	"time"
)

const (
	// wheelTick is how exactly waits end.
	wheelTick = 5 * time.Millisecond
	// wheelSlots times wheelTick is one turn; longer waits go round several times.
	wheelSlots = 512
)

// Wheel is a timing wheel: any number of waits on one timer, which stands still while nobody waits.
type Wheel struct {
	mu struct {
		sync.Mutex
		slots   [wheelSlots]map[*Timer]struct{}
		at      int // the slot of the current tick
		waiting int
		timer   *time.Timer // nil while nobody waits
		last    time.Time   // of the current tick
	}
}

// Timer is one wait. Its fields belong to the wheel.
type Timer struct {
	fn     func()
	slot   int
	rounds int
	set    bool
}

// After calls fn, in a goroutine of the wheel, about d from now, unless Stop comes first. fn must not block.
func (w *Wheel) After(d time.Duration, fn func()) *Timer {
	t := &Timer{fn: fn}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.mu.timer == nil {
		w.mu.last = time.Now()
		w.mu.timer = time.AfterFunc(wheelTick, w.turn)
	}
	ticks := int((d + time.Since(w.mu.last) + wheelTick - 1) / wheelTick)
	ticks = max(ticks, 1)
	t.slot, t.rounds, t.set = (w.mu.at+ticks)%wheelSlots, (ticks-1)/wheelSlots, true
	if w.mu.slots[t.slot] == nil {
		w.mu.slots[t.slot] = map[*Timer]struct{}{}
	}
	w.mu.slots[t.slot][t] = struct{}{}
	w.mu.waiting++
	return t
}

// Stop ends a wait; it returns false when it has ended already.
func (w *Wheel) Stop(t *Timer) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !t.set {
		return false
	}
	t.set = false
	delete(w.mu.slots[t.slot], t)
	w.mu.waiting--
	return true
}

// turn goes through the ticks that have passed.
func (w *Wheel) turn() {
	var due []*Timer
	w.mu.Lock()
	now := time.Now()
	for now.Sub(w.mu.last) >= wheelTick {
		w.mu.last = w.mu.last.Add(wheelTick)
		w.mu.at = (w.mu.at + 1) % wheelSlots
		for t := range w.mu.slots[w.mu.at] {
			if t.rounds > 0 {
				t.rounds--
				continue
			}
			t.set = false
			delete(w.mu.slots[w.mu.at], t)
			w.mu.waiting--
			due = append(due, t)
		}
	}
	if w.mu.waiting == 0 {
		w.mu.timer = nil
	} else {
		w.mu.timer = time.AfterFunc(wheelTick-now.Sub(w.mu.last), w.turn)
	}
	w.mu.Unlock()
	for _, t := range due {
		t.fn()
	}
}
