package coordinator

import (
	"context"
	"sync"
)

// committed is what a coordinator has to do about records that were committed, in the order of the logs. The committer of the storage adds to it and cannot do it
// itself: it must not wait for a coordinator's lock.
type committed struct {
	mu   sync.Mutex
	list []func()
	wake chan struct{} // capacity 1
}

func newCommitted() *committed { return &committed{wake: make(chan struct{}, 1)} }

// later has fn called by applyLoop.
func (c *committed) later(fn func()) {
	c.mu.Lock()
	c.list = append(c.list, fn)
	c.mu.Unlock()
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// applyLoop gives apply what has come, until ctx ends; then once more.
func (c *committed) applyLoop(ctx context.Context, apply func([]func())) {
	for {
		select {
		case <-c.wake:
			apply(c.take())
		case <-ctx.Done():
			apply(c.take())
			return
		}
	}
}

func (c *committed) take() []func() {
	c.mu.Lock()
	defer c.mu.Unlock()
	list := c.list
	c.list = nil
	return list
}
