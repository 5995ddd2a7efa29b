package worker

import "sync"

// Progress counts what a task did since it was made.
type Progress struct {
	In      int64 // records read
	Out     int64 // records written, and reported durable
	Dropped int64 // by steps
	Dead    int64 // sent to the dead-letter topic
	Retries int64 // attempts after the first
	Done    int64 // of a source, in its own unit
	Total   int64 // 0 when not known
	Ended   bool  // the source came to its end, all of it acknowledged
	Failure string
}

// counter keeps the Progress of a task.
type counter struct {
	mu struct {
		sync.Mutex
		Progress
	}
}

// count changes the progress by change, which must not block.
func (c *counter) count(change func(*Progress)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	change(&c.mu.Progress)
}

func (c *counter) snapshot() Progress {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.mu.Progress
}

// failing notes a failure that is tried again.
func (c *counter) failing(err error) {
	c.count(func(p *Progress) { p.Retries++; p.Failure = err.Error() })
}

// well notes that the last attempt went well.
func (c *counter) well() {
	c.count(func(p *Progress) { p.Failure = "" })
}
