package pipelines

import (
	"fmt"
	"time"

	"github.com/milldam/milldam/connect/expression"
	"github.com/milldam/milldam/core/config"
)

// Window groups records by a key and by spans of time, and makes one value of each group and span.
type Window struct {
	Size  time.Duration
	Every time.Duration // between the starts of two windows; Size for tumbling ones
	By    expression.Expression
	Time  expression.Expression
	Grace time.Duration
	Idle  time.Duration // zero: never
	Emit  Emit

	aggregates []aggregateField
	names      []string
}

// Emit says when a window's value is sent on.
type Emit string

const (
	EmitFinal   Emit = "final"   // once, when the window closes
	EmitUpdates Emit = "updates" // at every change
)

type aggregateField struct {
	name      string
	aggregate expression.Aggregate
}

// windowFields is the section window of a step.
type windowFields struct {
	Tumbling config.Duration       `yaml:"tumbling" doc:"Windows of this length, one after the other."`
	Hopping  *hopping              `yaml:"hopping" doc:"Windows that overlap."`
	By       expression.Expression `yaml:"by" doc:"What records are grouped by; the record's key when absent."`
	Time     expression.Expression `yaml:"time" doc:"The record's time; its timestamp when absent."`
	Grace    config.Duration       `yaml:"grace" default:"0s" doc:"How long after its end a window still takes late records."`
	Idle     config.Duration       `yaml:"idle" default:"0s" doc:"Close the open windows when no record came for so long; 0s never does, the last windows then wait for later records."`
	Emit     Emit                  `yaml:"emit" default:"final" enum:"final,updates" doc:"final sends each window once, when it closes; updates at every change."`
}

type hopping struct {
	Size  config.Duration `yaml:"size" required:"true" doc:"Length of a window."`
	Every config.Duration `yaml:"every" required:"true" doc:"Time between the starts of two windows."`
}

// maxOverlap bounds how many windows a record belongs to.
const maxOverlap = 1000

// Validate checks the spans against each other.
func (h hopping) Validate() error {
	switch {
	case h.Every < config.Duration(time.Millisecond):
		return config.Fieldf("every", "must be at least 1ms")
	case h.Size < h.Every:
		return config.Fieldf("size", "must not be shorter than every, records between the windows would be lost")
	case h.Size/h.Every > maxOverlap:
		return config.Fieldf("every", "each record would be in %d windows, more than the limit of %d", h.Size/h.Every, maxOverlap)
	}
	return nil
}

// Validate checks that there is one kind of window.
func (w windowFields) Validate() error {
	switch {
	case w.Tumbling != 0 && w.Hopping != nil:
		return config.Fieldf("hopping", "a window is tumbling or hopping, not both")
	case w.Tumbling == 0 && w.Hopping == nil:
		return &config.FieldError{Field: "tumbling", Message: "is missing", Hint: "as in tumbling: 1m"}
	case w.Hopping == nil && w.Tumbling < config.Duration(time.Millisecond):
		return config.Fieldf("tumbling", "must be at least 1ms")
	case w.Grace < 0:
		return config.Fieldf("grace", "must not be negative")
	case w.Idle < 0:
		return config.Fieldf("idle", "must not be negative")
	}
	return nil
}

// decodeWindow reads a step of the two sections window and aggregate.
func decodeWindow(window, aggregate config.Node) (*Window, config.Errors) {
	var f windowFields
	errs := window.Decode(&f)
	w := &Window{Size: f.Tumbling.Std(), Every: f.Tumbling.Std(), By: f.By, Time: f.Time, Grace: f.Grace.Std(), Idle: f.Idle.Std(), Emit: f.Emit}
	if f.Hopping != nil {
		w.Size, w.Every = f.Hopping.Size.Std(), f.Hopping.Every.Std()
	}
	entries, more := aggregate.Entries()
	errs = append(errs, more...)
	if len(more) == 0 && len(entries) == 0 {
		errs = append(errs, aggregate.Errorf("has no field").WithHint("write name: aggregate, as in total: sum(value.amount)"))
	}
	for _, e := range entries {
		var a expression.Aggregate
		errs = append(errs, e.Value.Decode(&a)...)
		w.aggregates = append(w.aggregates, aggregateField{e.Key, a})
		w.names = append(w.names, e.Key)
	}
	return w, errs
}

// windowState is what a window has seen: one state for each aggregate.
type windowState []expression.State

// add takes the record of m into the state.
func (w *Window) add(state windowState, m *expression.Message) (windowState, error) {
	next := make(windowState, len(w.aggregates))
	for i := range w.aggregates {
		var old expression.State
		if i < len(state) {
			old = state[i]
		}
		updated, err := w.aggregates[i].aggregate.Add(old, m)
		if err != nil {
			return nil, fmt.Errorf("aggregate.%s: %w", w.aggregates[i].name, err)
		}
		next[i] = updated
	}
	return next, nil
}

// result makes the aggregates of state the value of m, which has the key and the window already.
func (w *Window) result(state windowState, m *expression.Message) error {
	values := make(map[string]any, len(w.aggregates))
	for i := range w.aggregates {
		var s expression.State
		if i < len(state) {
			s = state[i]
		}
		v, err := w.aggregates[i].aggregate.Result(s, m)
		if err != nil {
			return fmt.Errorf("aggregate.%s: %w", w.aggregates[i].name, err)
		}
		values[w.aggregates[i].name] = v
	}
	m.SetObject(values, w.names)
	return nil
}
