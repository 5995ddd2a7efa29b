package pipelines

import (
	"fmt"
	"strings"

	"github.com/milldam/milldam/connect"
	"github.com/milldam/milldam/connect/expression"
	"github.com/milldam/milldam/core/config"
)

// StepError is the failure of one record in a step: it says where the step stands in the YAML. Trying again does not mend it.
type StepError struct {
	Position config.Position
	Step     string // as in steps[0].where
	Err      error
}

// Error returns position, step and cause.
func (e *StepError) Error() string { return fmt.Sprintf("%s: %s: %v", e.Position, e.Step, e.Err) }

// Unwrap returns the cause.
func (e *StepError) Unwrap() error { return e.Err }

// recordStep is a step that needs nothing but the record.
type recordStep struct {
	apply func(*expression.Message) (keep bool, err error)
	fail  func(error) error
}

// chain applies steps that need nothing but the record, and at last the expressions of a topic sink. A chain belongs to one goroutine.
type chain struct {
	steps   []recordStep
	message *expression.Message
}

// newChain returns the steps [from, to) of s as a chain; those that need state are left out.
func newChain(s *Spec, from, to int, rt *expression.Runtime) *chain {
	c := &chain{message: expression.NewMessage(rt)}
	for i := from; i < to; i++ {
		step := s.Steps[i]
		fail := stepFailure(step.node, step.Kind())
		switch {
		case step.Where != nil:
			c.steps = append(c.steps, recordStep{step.Where.apply, fail})
		case step.Map != nil:
			c.steps = append(c.steps, recordStep{step.Map.apply, fail})
		}
	}
	if reads, ok := readBy(s.Steps[from:to]); ok {
		c.message.Expect(reads)
	}
	return c
}

// readBy returns the expressions that read the value until a map makes a new one; ok is false when other steps may read it too.
func readBy(steps []Step) (reads []expression.Expression, ok bool) {
	for _, step := range steps {
		switch {
		case step.Where != nil:
			reads = append(reads, step.Where.condition)
		case step.Map != nil:
			for _, f := range step.Map.fields {
				reads = append(reads, f.expression)
			}
			return reads, true
		default:
			return nil, false
		}
	}
	return nil, false
}

// addSink adds the expressions of a topic sink.
func (c *chain) addSink(s *Spec) {
	sink := s.Sink.Topic
	if sink == nil {
		return
	}
	section := at(s.node, "sink", "topic")
	for _, x := range []struct {
		name       string
		expression expression.Expression
		apply      func(*expression.Message, expression.Expression) error
	}{{"time", sink.Time, setTime}, {"key", sink.Key, setKey}, {"value", sink.Value, setValue}} {
		if !x.expression.IsZero() {
			apply := func(m *expression.Message) (bool, error) { return true, x.apply(m, x.expression) }
			c.steps = append(c.steps, recordStep{apply, stepFailure(section, x.name)})
		}
	}
}

// stepFailure returns a function that says of an error where it happened.
func stepFailure(n config.Node, field string) func(error) error {
	where := at(n, strings.Split(field, ".")...)
	position, path := where.Position(), where.Path
	return func(err error) error { return &StepError{position, path, err} }
}

func setTime(m *expression.Message, e expression.Expression) error {
	t, err := e.Time(m)
	if err == nil {
		m.SetTimestamp(t)
	}
	return err
}

func setKey(m *expression.Message, e expression.Expression) error {
	text, ok, err := e.Text(m)
	switch {
	case err != nil:
		return err
	case ok:
		m.SetKey([]byte(text))
	default:
		m.SetKey(nil)
	}
	return nil
}

func setValue(m *expression.Message, e expression.Expression) error {
	v, err := e.Eval(m)
	if err == nil {
		m.SetValue(v)
	}
	return err
}

// apply runs r through the steps; keep is false when one dropped it.
func (c *chain) apply(r connect.Record) (out connect.Record, keep bool, err error) {
	if len(c.steps) == 0 {
		return r, true, nil
	}
	c.message.Reset(r)
	keep, err = c.run()
	if err != nil || !keep {
		return connect.Record{}, false, err
	}
	return c.record()
}

// run applies the steps to the message as it stands.
func (c *chain) run() (keep bool, err error) {
	for _, s := range c.steps {
		keep, err := s.apply(c.message)
		if err != nil {
			return false, s.fail(err)
		}
		if !keep {
			return false, nil
		}
	}
	return true, nil
}

func (c *chain) record() (connect.Record, bool, error) {
	value, err := c.message.Encode()
	if err != nil {
		return connect.Record{}, false, err
	}
	out := c.message.Record
	out.Value = value
	return out, true, nil
}
