package pipelines

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/milldam/milldam/connect"
)

// haltSamples is how often a hop is looked at within the time of its limit.
const haltSamples = 60

// runHalting runs r and stops it when more records than h allows go to the dead-letter topic.
func runHalting(ctx context.Context, r runner, h HaltAbove) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var halted error
	var watch sync.WaitGroup
	watch.Go(func() {
		if halted = watchDead(ctx, r, h); halted != nil {
			cancel()
		}
	})
	err := r.Run(ctx)
	cancel()
	watch.Wait()
	if halted != nil {
		return halted
	}
	return err
}

// watchDead returns an error when the share of dead records within the time of h is above its limit, nil when ctx ends.
func watchDead(ctx context.Context, r runner, h HaltAbove) error {
	tick := time.NewTicker(max(h.In/haltSamples, time.Millisecond))
	defer tick.Stop()
	past := []Progress{{}} // at most haltSamples, oldest first
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		now, then := r.Progress(), past[0]
		in, dead := now.In-then.In, now.Dead-then.Dead
		if in > 0 && float64(dead) > h.Share*float64(in) {
			return connect.Permanent(fmt.Errorf("%d of the last %d records went to the dead-letter topic, more than halt_above: %s; look at them, mend the cause, and the pipeline goes on",
				dead, in, h))
		}
		if past = append(past, now); len(past) > haltSamples {
			past = past[1:]
		}
	}
}
