package worker

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/milldam/milldam/connect"
)

// Errors says what happens to a write that fails and to a record that can never be written.
type Errors struct {
	// RetryFor is how long a failed write is tried again; 0 is for ever.
	RetryFor time.Duration
	// First and Longest are the pauses between attempts; each is twice the one before.
	First, Longest time.Duration
	// DeadLetter is the topic for records that can never be written. Empty: such a record ends the task.
	DeadLetter string
}

// Pauses where the policy names none.
const (
	defaultFirstPause   = 200 * time.Millisecond
	defaultLongestPause = 30 * time.Second
)

func (e Errors) withDefaults() Errors {
	if e.First <= 0 {
		e.First = defaultFirstPause
	}
	if e.Longest < e.First {
		e.Longest = max(e.First, defaultLongestPause)
	}
	return e
}

// backoff is the pace of attempts at one thing.
type backoff struct {
	policy  Errors
	started time.Time
	pause   time.Duration
}

func (e Errors) backoff() backoff { return backoff{policy: e, started: time.Now(), pause: e.First} }

// jitterShare is how much of a pause is left to chance, so that tasks that failed together do not come back together.
const jitterShare = 4

// next returns the pause before the next attempt.
func (b *backoff) next() time.Duration {
	pause := b.pause
	b.pause = min(2*b.pause, b.policy.Longest)
	return pause - rand.N(pause/jitterShare+1)
}

// over tells whether the time for attempts is used up.
func (b *backoff) over() bool {
	return b.policy.RetryFor > 0 && time.Since(b.started) >= b.policy.RetryFor
}

func (b *backoff) gaveUp(err error) error {
	return connect.Permanent(fmt.Errorf("gave up after %s: %w; mend the cause, or set errors.retry.for: forever", b.policy.RetryFor, err))
}
