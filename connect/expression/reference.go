package expression

// Entry describes one name or function for the reference page.
type Entry struct{ Name, Doc string }

// Names lists the names that expressions may use.
func Names() []Entry {
	return []Entry{
		{"value", "The record's value, decoded from JSON. A field is value.name; a missing one is an error, value?.name gives null instead, and value.name ?? 0 a default."},
		{"key", "The record's key as text, null when it has none. After a window: what the records are grouped by."},
		{"headers", "The record's headers as text, by name."},
		{"topic", "The topic the record is from."},
		{"partition", "The partition the record is from."},
		{"offset", "The record's offset."},
		{"timestamp", "The record's time."},
		{"window.start, window.end", "The span of the window; after a window step only."},
		{"table", "The row that a join found, null when there is none; in the fields of a join only."},
	}
}

// Functions lists the functions that are used most; every built-in function of expr is there as well.
func Functions() []Entry {
	return []Entry{
		{"parse_time(text, layout)", "A time from text by a strftime layout; without a layout from RFC 3339 text or epoch milliseconds. UTC, unless the text has an offset (%z)."},
		{"format_time(time, layout)", "Text from a time, in UTC."},
		{"now()", "The time at which the record is processed."},
		{"uuid()", "A random UUID."},
		{"rand()", "A random number from 0 up to, and without, 1."},
		{"randint(low, high)", "A random whole number from low to high, both included."},
		{"oneof(a, b, ...)", "One of its arguments at random."},
		{"int(x), float(x), string(x)", "x as a whole number (cut, not rounded), a number, or text."},
		{"round(x), floor(x), ceil(x), abs(x)", "Numbers."},
		{"upper(s), lower(s), trim(s), split(s, by), join(list, by), replace(s, from, to), repeat(s, n)", "Text."},
		{"s contains t, s startsWith t, s endsWith t, s matches \"pattern\"", "Tests of text."},
		{"len(x), first(list), last(list), filter(list, # > 1), map(list, #.name), any(list, # == 1), all(list, # > 0), sort(list), uniq(list)", "Lists; # is the item at hand."},
		{"toJSON(x), fromJSON(text)", "JSON text."},
	}
}

// Aggregates lists the functions over the records of a window.
func Aggregates() []Entry {
	return []Entry{
		{"count()", "How many records. count(x) counts those for which x is neither null nor false."},
		{"sum(x)", "The sum of x; exact for whole numbers. Null counts for nothing, here and below."},
		{"min(x), max(x)", "The least and the greatest x, numbers or text."},
		{"mean(x)", "The sum of x divided by how many there are."},
	}
}

// Layout lists the letters of time layouts.
func Layout() []Entry {
	return []Entry{
		{"%Y %y", "year, with four and two digits"}, {"%m %b %B", "month: 01, Jan, January"}, {"%d %e", "day: 01, and 1 after a space"},
		{"%j", "day of the year"}, {"%a %A", "day of the week: Mon, Monday"}, {"%H %I %p", "hour: 00 to 23, 01 to 12, AM or PM"},
		{"%M %S", "minute, second"}, {"%L %f", "milliseconds, microseconds"}, {"%F %T", "%Y-%m-%d, %H:%M:%S"},
		{"%s", "seconds since 1970"}, {"%z %Z", "offset (+0000), zone (UTC)"}, {"%%", "a percent sign"},
	}
}
