package pipelines

import (
	"slices"
	"sync"
	"time"
)

// State says how a pipeline fares.
type State string

const (
	Waiting  State = "waiting"  // for the pipelines it comes after, or for a topic
	Running  State = "running"  //
	Retrying State = "retrying" // it failed and is started again after a pause
	Blocked  State = "blocked"  // it failed in a way that its owner must mend; it is tried again now and then
	Done     State = "done"     // its source came to its end, and nothing is left to do
	Stopped  State = "stopped"
)

// Status is a snapshot of a pipeline.
type Status struct {
	Name  string    `json:"name"`
	State State     `json:"state"`
	Since time.Time `json:"since"`
	// Detail says what it waits for, or what the error is and what to do.
	Detail string      `json:"detail,omitempty"`
	Hops   []HopStatus `json:"hops"`
}

// HopStatus is a snapshot of one hop.
type HopStatus struct {
	Hop      `json:"hop"`
	Progress `json:"progress"`
}

// Progress counts what a hop did since it was started.
type Progress struct {
	In      int64 `json:"in"`      // records read
	Out     int64 `json:"out"`     // records written, and acknowledged
	Dropped int64 `json:"dropped"` // by steps
	Dead    int64 `json:"dead"`    // sent to the dead-letter topic
	Late    int64 `json:"late"`    // behind the close of their window
	Retries int64 `json:"retries"` // writes tried again
	Lag     int64 `json:"lag"`     // records of the topics read that are not processed and committed yet; -1 when not known
	Done    int64 `json:"done"`    // of a source, in its own unit
	Total   int64 `json:"total"`   // 0 when not known
	Ended   bool  `json:"ended"`   // the source came to its end, all of it acknowledged
	// Failure is the last failure that is being retried; empty while all is well.
	Failure string `json:"failure,omitempty"`
}

// In is the number of records read by the first hop.
func (s Status) In() int64 {
	if len(s.Hops) == 0 {
		return 0
	}
	return s.Hops[0].In
}

// Out is the number of records written by the last hop.
func (s Status) Out() int64 {
	if len(s.Hops) == 0 {
		return 0
	}
	return s.Hops[len(s.Hops)-1].Out
}

// Dead is the number of records sent to the dead-letter topic.
func (s Status) Dead() int64 {
	var dead int64
	for _, h := range s.Hops {
		dead += h.Dead
	}
	return dead
}

// Lag is the number of records that topics hold for the pipeline and that are not processed yet; -1 when one hop does not know.
func (s Status) Lag() int64 {
	var lag int64
	for _, h := range s.Hops {
		if h.Kind == SourceHop {
			continue
		}
		if h.Progress.Lag < 0 {
			return -1
		}
		lag += h.Progress.Lag
	}
	return lag
}

// tracker holds the state of one hop while it runs.
type tracker struct {
	mu struct {
		sync.Mutex
		state  State
		since  time.Time
		detail string
	}
}

func (t *tracker) set(state State, detail string) {
	now := time.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.mu.state != state {
		t.mu.state, t.mu.since = state, now
	}
	t.mu.detail = detail
}

func (t *tracker) get() (state State, since time.Time, detail string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.mu.state, t.mu.since, t.mu.detail
}

// severity orders states by how much they say about a pipeline whose hops differ.
var severity = []State{Done, Stopped, Running, Waiting, Retrying, Blocked}

// worse tells whether a says more about a pipeline than b.
func worse(a, b State) bool { return slices.Index(severity, a) > slices.Index(severity, b) }
