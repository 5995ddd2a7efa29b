package pipelines

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/milldam/milldam/connect"
)

// counting is a runner that reads one record a second, of which one in every so many is dead.
type counting struct {
	every    int64
	in, dead atomic.Int64
}

func (c *counting) Run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(time.Second):
			if n := c.in.Add(1); n%c.every == 0 {
				c.dead.Add(1)
			}
		}
	}
}

func (c *counting) Progress() Progress { return Progress{In: c.in.Load(), Dead: c.dead.Load()} }

func TestHaltAboveStopsThePipeline(t *testing.T) {
	for _, c := range []struct {
		name  string
		every int64
		halts bool
	}{{"one in ten is above 5%", 10, true}, {"one in fifty is not", 50, false}} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
				defer cancel()
				err := runHalting(ctx, &counting{every: c.every}, HaltAbove{Share: 0.05, In: 5 * time.Minute})
				if halted := errors.Is(err, connect.ErrPermanent); halted != c.halts {
					t.Errorf("got %v", err)
				}
				if c.halts && !strings.Contains(err.Error(), "halt_above: 5% in 5m") {
					t.Errorf("got %v", err)
				}
			})
		})
	}
}
