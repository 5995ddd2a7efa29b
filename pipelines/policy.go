package pipelines

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/milldam/milldam/core/config"
)

// ErrorPolicy says what happens to a record that cannot be processed or written.
type ErrorPolicy struct {
	Retry      Retry       `yaml:"retry" doc:"How a failed write is tried again."`
	DeadLetter *DeadLetter `yaml:"dead_letter" doc:"Where records go that can never be written. Without it such a record stops the pipeline."`
}

// Retry says how long, and at what pace, a failed write is tried again.
type Retry struct {
	For     RetryFor `yaml:"for" default:"forever" doc:"How long: a duration, or forever."`
	Backoff Backoff  `yaml:"backoff" default:"200ms..30s" doc:"The first and the longest pause."`
}

// DeadLetter names the topic for records that can never be written.
type DeadLetter struct {
	Topic     string     `yaml:"topic" required:"true" doc:"The dead-letter topic; it is created when it does not exist."`
	HaltAbove *HaltAbove `yaml:"halt_above" doc:"Stop the pipeline when more than this share of records goes there, as in 1% in 5m."`
}

// RetryFor is a duration; zero means forever.
type RetryFor time.Duration

// ConfigType names the type.
func (RetryFor) ConfigType() string { return "a duration or forever" }

// DecodeConfig reads the text.
func (r *RetryFor) DecodeConfig(n config.Node) error {
	text, err := n.Text()
	if err != nil || text == "forever" {
		*r = 0
		return err
	}
	d, err := config.ParseDuration(text)
	if err != nil || d <= 0 {
		return n.Errorf("expected a duration such as 10m, or forever, found %q", n.Raw())
	}
	*r = RetryFor(d)
	return nil
}

// Backoff is a range of pauses, as in 200ms..30s.
type Backoff struct{ First, Longest time.Duration }

// ConfigType names the type.
func (Backoff) ConfigType() string { return "a range such as 200ms..30s" }

// DecodeConfig reads the text.
func (b *Backoff) DecodeConfig(n config.Node) error {
	text, err := n.Text()
	if err != nil {
		return err
	}
	low, high, found := strings.Cut(text, "..")
	first, err1 := config.ParseDuration(low)
	longest, err2 := config.ParseDuration(high)
	if !found || err1 != nil || err2 != nil || first <= 0 || longest < first {
		return n.Errorf("expected two durations such as 200ms..30s, found %q", n.Raw())
	}
	*b = Backoff{first.Std(), longest.Std()}
	return nil
}

// HaltAbove is a share of records in a time, as in 1% in 5m.
type HaltAbove struct {
	Share float64 // from 0 to 1
	In    time.Duration
}

// ConfigType names the type.
func (HaltAbove) ConfigType() string { return "a share such as 1% in 5m" }

// String returns the text form.
func (h HaltAbove) String() string {
	return fmt.Sprintf("%g%% in %s", h.Share*100, config.Duration(h.In))
}

// DecodeConfig reads the text.
func (h *HaltAbove) DecodeConfig(n config.Node) error {
	text, err := n.Text()
	if err != nil {
		return err
	}
	share, span, found := strings.Cut(text, " in ")
	percent, isPercent := strings.CutSuffix(strings.TrimSpace(share), "%")
	p, err1 := strconv.ParseFloat(percent, 64)
	d, err2 := config.ParseDuration(strings.TrimSpace(span))
	if !found || !isPercent || err1 != nil || err2 != nil || !(p > 0 && p <= 100) || d <= 0 {
		return n.Errorf("expected a share such as 1%% in 5m, found %q", n.Raw())
	}
	*h = HaltAbove{Share: p / 100, In: d.Std()}
	return nil
}
