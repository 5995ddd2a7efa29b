package expression

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math"
	"math/bits"
)

// State is what an Aggregate has seen: one accumulator for each of its functions.
type State []accumulator

// accumulator is the running value of one function. Whole numbers are added exactly, as 128 bits; floats with a correction for
// what rounding lost (Neumaier), so that the order of the records hardly matters.
type accumulator struct {
	count      int64 // values taken in; null counts for none
	high       int64 // sum of the whole numbers: high * 2^64 + low
	low        uint64
	sum        float64 // sum of the floats
	correction float64
	floats     bool // a float was among the values
	extreme    any  // for min and max: int64, float64 or string
}

func (a *accumulator) add(name string, v any, given bool) error {
	if name == "count" {
		if !given || v != nil && v != false {
			a.count++
		}
		return nil
	}
	if v == nil {
		return nil
	}
	if i, ok := v.(int); ok {
		v = int64(i)
	}
	if name == "min" || name == "max" {
		return a.addExtreme(name, v)
	}
	switch n := v.(type) {
	case int64:
		var carry uint64
		a.low, carry = bits.Add64(a.low, uint64(n), 0)
		a.high += n>>63 + int64(carry)
	case float64:
		a.floats = true
		total := a.sum + n
		if math.Abs(a.sum) >= math.Abs(n) {
			a.correction += a.sum - total + n
		} else {
			a.correction += n - total + a.sum
		}
		a.sum = total
	default:
		return fmt.Errorf("%s wants a number, got %s", name, describe(v))
	}
	a.count++
	return nil
}

func (a *accumulator) addExtreme(name string, v any) error {
	switch v.(type) {
	case int64, float64, string:
	default:
		return fmt.Errorf("%s wants a number or text, got %s", name, describe(v))
	}
	a.count++
	if a.extreme == nil {
		a.extreme = v
		return nil
	}
	order, ok := compare(v, a.extreme)
	if !ok {
		return fmt.Errorf("%s of text and numbers together: %s and %s", name, describe(a.extreme), describe(v))
	}
	if order < 0 && name == "min" || order > 0 && name == "max" {
		a.extreme = v
	}
	return nil
}

// compare orders two numbers or two texts.
func compare(a, b any) (int, bool) {
	switch x := a.(type) {
	case string:
		y, ok := b.(string)
		return cmp.Compare(x, y), ok
	case int64:
		switch y := b.(type) {
		case int64:
			return cmp.Compare(x, y), true
		case float64:
			return cmp.Compare(float64(x), y), true
		}
	case float64:
		switch y := b.(type) {
		case int64:
			return cmp.Compare(x, float64(y)), true
		case float64:
			return cmp.Compare(x, y), true
		}
	}
	return 0, false
}

// whole returns the sum of the whole numbers; exact is false when it does not fit in an int64.
func (a *accumulator) whole() (exact int64, approximate float64, fits bool) {
	fits = a.high == int64(a.low)>>63
	return int64(a.low), float64(a.high)*(1<<64) + float64(a.low), fits
}

func (a *accumulator) result(name string) any {
	switch {
	case name == "count":
		return a.count
	case a.count == 0 && name == "sum":
		return int64(0)
	case a.count == 0:
		return nil
	case name == "min" || name == "max":
		return a.extreme
	}
	exact, total, fits := a.whole()
	if fits {
		total = float64(exact)
	}
	if name == "mean" {
		return (total + a.sum + a.correction) / float64(a.count)
	}
	if fits && !a.floats {
		return exact
	}
	return total + a.sum + a.correction
}

// AppendState appends state in the form that DecodeState reads: a JSON list of [count, high, low, sum, correction, floats, extreme].
func AppendState(dst []byte, state State) ([]byte, error) {
	var err error
	dst = append(dst, '[')
	for i, a := range state {
		if i > 0 {
			dst = append(dst, ',')
		}
		row := []any{a.count, a.high, int64(a.low), a.sum, a.correction, a.floats, a.extreme}
		if dst, err = Append(dst, row); err != nil {
			return nil, fmt.Errorf("encode an aggregate: %w", err)
		}
	}
	return append(dst, ']'), nil
}

// DecodeState reads what AppendState wrote.
func DecodeState(text []byte) (State, error) {
	v, _, err := Decode(text)
	if err != nil {
		return nil, fmt.Errorf("decode an aggregate: %w", err)
	}
	rows, ok := v.([]any)
	if !ok {
		return nil, fmt.Errorf("decode an aggregate: %.40q is no list", text)
	}
	state := make(State, len(rows))
	for i, row := range rows {
		if state[i], err = decodeAccumulator(row); err != nil {
			return nil, err
		}
	}
	return state, nil
}

func decodeAccumulator(v any) (accumulator, error) {
	var a accumulator
	row, ok := v.([]any)
	if !ok || len(row) != 7 {
		return a, fmt.Errorf("decode an aggregate: expected 7 values, got %s", describe(v))
	}
	var oks [6]bool
	var low int64
	a.count, oks[0] = row[0].(int64)
	a.high, oks[1] = row[1].(int64)
	low, oks[2] = row[2].(int64)
	a.sum, oks[3] = row[3].(float64)
	a.correction, oks[4] = row[4].(float64)
	a.floats, oks[5] = row[5].(bool)
	for i, ok := range oks {
		if !ok {
			return a, fmt.Errorf("decode an aggregate: value %d is %s", i, describe(row[i]))
		}
	}
	a.low = uint64(low)
	switch row[6].(type) {
	case nil, int64, float64, string:
		a.extreme = row[6]
	case json.Number:
		return a, fmt.Errorf("decode an aggregate: %v is too large", row[6])
	default:
		return a, fmt.Errorf("decode an aggregate: the last value is %s", describe(row[6]))
	}
	return a, nil
}
