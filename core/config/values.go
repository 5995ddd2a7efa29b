package config

import (
	"fmt"
	"log/slog"
	"math"
	"strconv"
	"strings"
	"time"
)

// Secret is text that is never printed: every way of formatting or encoding it gives ***. Convert it to string to use it.
type Secret string

const redacted = "***"

// String returns ***.
func (Secret) String() string { return redacted }

// GoString returns ***.
func (Secret) GoString() string { return redacted }

// Format writes *** for every verb.
func (Secret) Format(f fmt.State, _ rune) { fmt.Fprint(f, redacted) }

// MarshalText returns ***.
func (Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// LogValue returns ***.
func (Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// ConfigType names the type.
func (Secret) ConfigType() string { return "a secret" }

// DecodeConfig reads the text.
func (s *Secret) DecodeConfig(n Node) error {
	text, err := n.Text()
	*s = Secret(text)
	return err
}

// Size is a number of bytes: 256MiB, 5MB, 100.
type Size int64

var sizeUnits = []struct {
	suffix string
	bytes  float64
}{
	{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"TiB", 1 << 40},
	{"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"TB", 1e12}, {"B", 1}, {"", 1},
}

// ParseSize reads a Size.
func ParseSize(text string) (Size, error) {
	for _, u := range sizeUnits {
		number, ok := strings.CutSuffix(text, u.suffix)
		if !ok {
			continue
		}
		f, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
		bytes := f * u.bytes
		if err != nil || math.IsNaN(bytes) || bytes < 0 || bytes >= math.MaxInt64 {
			break
		}
		return Size(bytes), nil
	}
	return 0, fmt.Errorf("expected a size such as 256MiB, found %q", text)
}

// String returns the size in the largest unit that divides it.
func (s Size) String() string {
	for i := 3; i >= 0; i-- {
		if unit := Size(sizeUnits[i].bytes); s >= unit && s%unit == 0 {
			return strconv.FormatInt(int64(s/unit), 10) + sizeUnits[i].suffix
		}
	}
	return strconv.FormatInt(int64(s), 10) + "B"
}

// ConfigType names the type.
func (Size) ConfigType() string { return "a size such as 256MiB" }

// DecodeConfig reads the text.
func (s *Size) DecodeConfig(n Node) error { return decodeParsed(n, s, ParseSize) }

// Duration is a span of time: 200ms, 1h30m, 7d.
type Duration time.Duration

// ParseDuration reads a Duration: what Go writes, and days and weeks as d and w.
func ParseDuration(text string) (Duration, error) {
	wrong := fmt.Errorf("expected a duration such as 10m or 7d, found %q", text)
	total, rest := time.Duration(0), text
	for _, u := range []struct {
		unit string
		span time.Duration
	}{{"w", 7 * 24 * time.Hour}, {"d", 24 * time.Hour}} {
		number, after, found := strings.Cut(rest, u.unit)
		if !found {
			continue
		}
		count, err := strconv.ParseFloat(number, 64)
		if err != nil || math.Abs(count) > float64(math.MaxInt64/2)/float64(u.span) {
			return 0, wrong
		}
		total, rest = total+time.Duration(count*float64(u.span)), after
	}
	if rest == "" && text != "" {
		return Duration(total), nil
	}
	d, err := time.ParseDuration(rest)
	if err != nil {
		if _, isNumber := strconv.ParseFloat(rest, 64); isNumber == nil {
			return 0, fmt.Errorf("%q has no unit, write %ss or %sms", text, rest, rest)
		}
		return 0, wrong
	}
	return Duration(total + d), nil
}

// String returns the duration in days when it is a whole number of them, else as Go writes it, without empty parts.
func (d Duration) String() string {
	const day = 24 * time.Hour
	t := time.Duration(d)
	if t != 0 && t%day == 0 {
		return strconv.FormatInt(int64(t/day), 10) + "d"
	}
	s := t.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// Std returns the duration as Go's type.
func (d Duration) Std() time.Duration { return time.Duration(d) }

// ConfigType names the type.
func (Duration) ConfigType() string { return "a duration such as 10m" }

// DecodeConfig reads the text.
func (d *Duration) DecodeConfig(n Node) error { return decodeParsed(n, d, ParseDuration) }

// Rate is a number of events per second: 5000/s, 10/m.
type Rate float64

// ParseRate reads a Rate.
func ParseRate(text string) (Rate, error) {
	number, unit, found := strings.Cut(text, "/")
	seconds, known := map[string]float64{"s": 1, "m": 60, "h": 3600}[unit]
	f, err := strconv.ParseFloat(number, 64)
	if err != nil || !found || !known || f < 0 || math.IsInf(f, 0) || math.IsNaN(f) {
		return 0, fmt.Errorf("expected a rate such as 5000/s, found %q", text)
	}
	return Rate(f / seconds), nil
}

// String returns the rate per second.
func (r Rate) String() string { return strconv.FormatFloat(float64(r), 'g', -1, 64) + "/s" }

// ConfigType names the type.
func (Rate) ConfigType() string { return "a rate such as 5000/s" }

// DecodeConfig reads the text.
func (r *Rate) DecodeConfig(n Node) error { return decodeParsed(n, r, ParseRate) }

// decodeParsed reads a scalar with parse; its error quotes the file's text, not what a reference stands for.
func decodeParsed[T any](n Node, into *T, parse func(string) (T, error)) error {
	text, err := n.Text()
	if err != nil {
		return err
	}
	value, err := parse(text)
	if err != nil {
		if text != n.Raw() {
			return n.Errorf("what %s stands for is not %s", n.Raw(), describeOf(into))
		}
		return n.Errorf("%v", err)
	}
	*into = value
	return nil
}
