package expression

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// layoutLetters are the letters that may follow % in a time layout.
const layoutLetters = "YmdHMSyjefLsbBaApIFTzZ%"

// FormatTime writes t, in UTC, by a strftime layout.
func FormatTime(t time.Time, layout string) (string, error) {
	t = t.UTC()
	var b strings.Builder
	for i := 0; i < len(layout); i++ {
		if layout[i] != '%' {
			b.WriteByte(layout[i])
			continue
		}
		i++
		if i == len(layout) || !strings.Contains(layoutLetters, layout[i:i+1]) {
			return "", layoutError(layout, i)
		}
		b.WriteString(formatLetter(t, layout[i]))
	}
	return b.String(), nil
}

func layoutError(layout string, i int) error {
	if i >= len(layout) {
		return fmt.Errorf("time layout %q ends with %%, write %%%% for a percent sign", layout)
	}
	return fmt.Errorf("time layout %q has the unknown letter %%%c, known are %%Y %%m %%d %%H %%M %%S %%y %%j %%e %%f %%L %%s %%b %%B %%a %%A %%p %%I %%F %%T %%z %%Z %%%%", layout, layout[i])
}

func formatLetter(t time.Time, letter byte) string {
	switch letter {
	case 'j':
		return fmt.Sprintf("%03d", t.YearDay())
	case 's':
		return strconv.FormatInt(t.Unix(), 10)
	case 'f':
		return fmt.Sprintf("%06d", t.Nanosecond()/1000)
	case 'L':
		return fmt.Sprintf("%03d", t.Nanosecond()/1_000_000)
	case '%':
		return "%"
	case 'Y':
		return fmt.Sprintf("%04d", t.Year())
	}
	return t.Format(goLayouts[letter])
}

var goLayouts = map[byte]string{
	'Y': "2006", 'm': "01", 'd': "02", 'H': "15", 'M': "04", 'S': "05", 'y': "06", 'e': "_2", 'b': "Jan", 'B': "January",
	'a': "Mon", 'A': "Monday", 'p': "PM", 'I': "03", 'F': "2006-01-02", 'T': "15:04:05", 'z': "-0700", 'Z': "MST",
}

// ParseTime reads text by a strftime layout. Without %z the time is UTC; what the layout leaves out is the start of the year 1970.
func ParseTime(text, layout string) (time.Time, error) {
	p := timeParser{text: text, year: 1970, month: 1, day: 1}
	for i := 0; i < len(layout); i++ {
		if layout[i] != '%' {
			if !p.literal(layout[i]) {
				return time.Time{}, fmt.Errorf("%q does not match the time layout %q", text, layout)
			}
			continue
		}
		i++
		if i == len(layout) || !strings.Contains(layoutLetters, layout[i:i+1]) {
			return time.Time{}, layoutError(layout, i)
		}
		if !p.letter(layout[i]) {
			return time.Time{}, fmt.Errorf("%q does not match the time layout %q at %q", text, layout, p.rest())
		}
	}
	if p.rest() != "" {
		return time.Time{}, fmt.Errorf("%q goes on after the time layout %q: %q", text, layout, p.rest())
	}
	return p.time()
}

type timeParser struct {
	text                                    string
	at                                      int
	year, month, day, hour, min, sec, nanos int
	yearDay, zone                           int
	pm, twelve                              bool
	unix                                    *int64
}

func (p *timeParser) rest() string { return p.text[p.at:] }

func (p *timeParser) literal(c byte) bool {
	if p.at < len(p.text) && p.text[p.at] == c {
		p.at++
		return true
	}
	return false
}

// digits reads up to width digits into n, and tells whether the number lies in [low, high].
func (p *timeParser) digits(n *int, width, low, high int) bool {
	end := p.at
	for end < len(p.text) && end-p.at < width && p.text[end] >= '0' && p.text[end] <= '9' {
		end++
	}
	v, err := strconv.Atoi(p.text[p.at:end])
	p.at, *n = end, v
	return err == nil && v >= low && v <= high
}

func (p *timeParser) letter(c byte) bool {
	switch c {
	case 'Y':
		return p.digits(&p.year, 4, 0, 9999)
	case 'y':
		ok := p.digits(&p.year, 2, 0, 99)
		p.year += 1900
		if p.year < 1969 {
			p.year += 100
		}
		return ok
	case 'm':
		return p.digits(&p.month, 2, 1, 12)
	case 'd':
		return p.digits(&p.day, 2, 1, 31)
	case 'e':
		p.literal(' ')
		return p.digits(&p.day, 2, 1, 31)
	case 'H':
		return p.digits(&p.hour, 2, 0, 23)
	case 'I':
		p.twelve = true
		return p.digits(&p.hour, 2, 1, 12)
	case 'M':
		return p.digits(&p.min, 2, 0, 59)
	case 'S':
		return p.digits(&p.sec, 2, 0, 60)
	case 'j':
		return p.digits(&p.yearDay, 3, 1, 366)
	case 'F':
		return p.letter('Y') && p.literal('-') && p.letter('m') && p.literal('-') && p.letter('d')
	case 'T':
		return p.letter('H') && p.literal(':') && p.letter('M') && p.literal(':') && p.letter('S')
	case 'f':
		return p.fraction(9)
	case 'L':
		return p.fraction(3)
	case 's':
		return p.epoch()
	case 'p':
		return p.half()
	case 'z', 'Z':
		return p.offset()
	case 'b', 'B':
		return p.name(&p.month, monthNames)
	case 'a', 'A':
		var ignored int // the date decides
		return p.name(&ignored, dayNames)
	}
	return p.literal('%')
}

var (
	monthNames = []string{"January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December"}
	dayNames   = []string{"Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"}
)

func (p *timeParser) name(n *int, names []string) bool {
	i := slices.IndexFunc(names, func(name string) bool {
		return len(p.rest()) >= 3 && strings.EqualFold(p.rest()[:3], name[:3])
	})
	if i < 0 {
		return false
	}
	width := 3
	if full := len(names[i]); len(p.rest()) >= full && strings.EqualFold(p.rest()[:full], names[i]) {
		width = full
	}
	p.at, *n = p.at+width, i+1
	return true
}

func (p *timeParser) fraction(width int) bool {
	start := p.at
	if !p.digits(&p.nanos, width, 0, 999_999_999) {
		return false
	}
	for range 9 - (p.at - start) {
		p.nanos *= 10
	}
	return true
}

func (p *timeParser) epoch() bool {
	end := p.at
	for end < len(p.text) && (p.text[end] == '-' && end == p.at || p.text[end] >= '0' && p.text[end] <= '9') {
		end++
	}
	v, err := strconv.ParseInt(p.text[p.at:end], 10, 64)
	p.at, p.unix = end, &v
	return err == nil
}

func (p *timeParser) half() bool {
	if len(p.rest()) < 2 {
		return false
	}
	word := strings.ToUpper(p.rest()[:2])
	p.at, p.pm = p.at+2, word == "PM"
	return word == "AM" || word == "PM"
}

// offset reads Z, UTC, GMT, +hhmm or +hh:mm.
func (p *timeParser) offset() bool {
	for _, word := range []string{"Z", "UTC", "GMT"} {
		if strings.HasPrefix(p.rest(), word) {
			p.at += len(word)
			return true
		}
	}
	sign := 1
	if p.literal('-') {
		sign = -1
	} else if !p.literal('+') {
		return false
	}
	var hours, minutes int
	ok := p.digits(&hours, 2, 0, 14)
	p.literal(':')
	ok = p.digits(&minutes, 2, 0, 59) && ok
	p.zone = sign * (hours*60 + minutes)
	return ok
}

func (p *timeParser) time() (time.Time, error) {
	if p.unix != nil {
		return time.Unix(*p.unix, int64(p.nanos)).UTC(), nil
	}
	if p.twelve {
		p.hour %= 12
		if p.pm {
			p.hour += 12
		}
	}
	if p.yearDay > 0 {
		p.month, p.day = 1, 1
	}
	t := time.Date(p.year, time.Month(p.month), p.day, p.hour, p.min, p.sec, p.nanos, time.UTC)
	if t.Day() != p.day && p.yearDay == 0 && p.sec < 60 {
		return time.Time{}, fmt.Errorf("%q is no day of the calendar", p.text)
	}
	if p.yearDay > 0 {
		t = t.AddDate(0, 0, p.yearDay-1)
	}
	return t.Add(-time.Duration(p.zone) * time.Minute), nil
}
