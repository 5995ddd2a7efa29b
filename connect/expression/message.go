package expression

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/expr-lang/expr/vm"

	"github.com/milldam/milldam/connect"
)

// Runtime is where expressions take time and chance from.
type Runtime struct {
	Now  func() time.Time
	Rand *rand.Rand

	iterations int // of the evaluation that runs
}

// NewRuntime returns a runtime with the system clock, whose chance follows seed.
func NewRuntime(seed uint64) *Runtime {
	return &Runtime{Now: time.Now, Rand: rand.New(rand.NewPCG(seed, seed))}
}

// Message is one record as expressions see it. It belongs to one goroutine and is used again for the next record by Reset.
type Message struct {
	Record connect.Record

	value   any
	order   []string // fields of value when it is an object
	decoded bool
	changed bool
	partial bool // of value only what needs names is decoded
	needs   *paths
	known   map[*vm.Program]bool // those whose paths needs has
	out     []byte               // where values are encoded
	env     map[string]any
	machine vm.VM
	runtime *Runtime
}

// NewMessage returns a message for one record after the other.
func NewMessage(rt *Runtime) *Message {
	return &Message{env: map[string]any{runtimeName: rt}, runtime: rt}
}

// Expect says that of the values as they come only these expressions read. The fields they do not name are checked and not decoded; other expressions
// may be evaluated still, and cost a second decoding.
func (m *Message) Expect(expressions []Expression) {
	m.needs, m.known = &paths{}, map[*vm.Program]bool{}
	for _, e := range expressions {
		m.known[e.program] = true
		for _, path := range e.reads {
			m.needs.add(path)
		}
	}
}

// Reset makes r the record of the message; window and table are forgotten.
func (m *Message) Reset(r connect.Record) {
	m.Record = r
	m.value, m.order, m.decoded, m.changed, m.partial = nil, nil, false, false, false
	clear(m.env)
	m.env[runtimeName] = m.runtime
}

// ErrNoJSON is wrapped by the error for a value that is no JSON.
var ErrNoJSON = errors.New("value")

// Value returns the decoded value; nil for a tombstone.
func (m *Message) Value() (any, error) {
	if m.decoded && !m.partial {
		return m.value, nil
	}
	return m.value, m.complete()
}

// complete decodes the whole value.
func (m *Message) complete() error {
	delete(m.env, "value")
	return m.decode(everything)
}

func (m *Message) decode(want *paths) error {
	if m.Record.Value != nil {
		v, order, err := decode(m.Record.Value, want)
		if err != nil {
			return fmt.Errorf("%w is %w", ErrNoJSON, err)
		}
		m.value, m.order = v, order
	}
	m.decoded, m.partial = true, !want.whole
	return nil
}

// IsTombstone tells whether the record has no value.
func (m *Message) IsTombstone() bool {
	if m.decoded {
		return m.value == nil && (m.changed || m.Record.Value == nil)
	}
	return m.Record.Value == nil
}

// Fields returns the field names of the value in their order; nil when it is no object.
func (m *Message) Fields() ([]string, error) {
	_, err := m.Value()
	return m.order, err
}

// SetObject makes an object the value; order names its fields.
func (m *Message) SetObject(fields map[string]any, order []string) {
	m.set(fields)
	m.order = order
}

// SetValue makes v the value.
func (m *Message) SetValue(v any) { m.set(v) }

func (m *Message) set(v any) {
	m.value, m.order, m.decoded, m.changed, m.partial = v, nil, true, true, false
	delete(m.env, "value")
}

// SetKey makes text the key.
func (m *Message) SetKey(key []byte) {
	m.Record.Key = key
	delete(m.env, "key")
}

// SetTimestamp makes t the record's time.
func (m *Message) SetTimestamp(t time.Time) {
	m.Record.Timestamp = t
	delete(m.env, "timestamp")
}

// SetWindow gives expressions the name window.
func (m *Message) SetWindow(start, end time.Time) {
	m.env["window"] = map[string]any{"start": start.UTC(), "end": end.UTC()}
}

// SetTable gives expressions the name table: the joined row, or nil.
func (m *Message) SetTable(row any) { m.env["table"] = row }

// keptOutBytes is the largest buffer for encoding that stays for the next record.
const keptOutBytes = 64 << 10

// Encode returns the value's bytes: those of the record while nothing changed it.
func (m *Message) Encode() ([]byte, error) {
	if !m.changed {
		return m.Record.Value, nil
	}
	if m.value == nil {
		return nil, nil
	}
	var err error
	var out []byte
	if v, ok := m.value.(map[string]any); ok && m.order != nil {
		out, err = AppendObject(m.out[:0], v, m.order)
	} else {
		out, err = Append(m.out[:0], m.value)
	}
	if err != nil {
		return nil, fmt.Errorf("encode the value: %w", err)
	}
	if cap(out) <= keptOutBytes {
		m.out = out
	}
	out = bytes.Clone(out) // exactly as long as it is: records are kept
	m.Record.Value, m.changed = out, false
	return out, nil
}

// fill puts the names that an expression uses into its environment.
func (m *Message) fill(e Expression) error {
	if err := m.fillValue(e); err != nil {
		return err
	}
	for bit, name := range recordNames {
		if e.uses&(1<<bit) == 0 {
			continue
		}
		if _, has := m.env[name]; has {
			continue
		}
		v, err := m.lookup(name)
		if err != nil {
			return err
		}
		m.env[name] = v
	}
	return nil
}

// fillValue decodes what e reads of the value.
func (m *Message) fillValue(e Expression) error {
	expected := m.known[e.program]
	switch {
	case e.uses&usesValue == 0 || m.decoded && (!m.partial || expected):
		return nil
	case expected:
		return m.decode(m.needs)
	}
	return m.complete()
}

func (m *Message) lookup(name string) (any, error) {
	switch name {
	case "value":
		return m.value, nil // fillValue decoded it
	case "key":
		if m.Record.Key == nil {
			return nil, nil
		}
		return string(m.Record.Key), nil
	case "headers":
		headers := make(map[string]any, len(m.Record.Headers))
		for _, h := range m.Record.Headers {
			headers[h.Key] = string(h.Value)
		}
		return headers, nil
	case "topic":
		return m.Record.Topic, nil
	case "partition":
		return int(m.Record.Partition), nil
	case "offset":
		return int(m.Record.Offset), nil
	}
	return m.Record.Timestamp.UTC(), nil
}
