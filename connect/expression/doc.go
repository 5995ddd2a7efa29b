// Package expression evaluates the expressions and templates of pipelines over records.
//
// An Expression is a line of expr (expr-lang.org) over the names key, value, headers, topic, partition, offset and timestamp of a record; in the
// right place also window (start, end) and table (the joined row). A Template is text with ${{ expression }} and strftime letters such as %Y,
// which stand for the record's time. Both decode themselves from YAML through core/config, so a mistake in one is reported
// at its line and column. An Aggregate is an expression over count, sum, min, max and mean of a window's records.
//
// Guarantees
//
//   - A field that a record does not have is an error that names it and what was probably meant; value?.field and
//     value.field ?? default ask for a missing one on purpose.
//   - A Message decodes the value of its record at most once, and only when an expression uses it; a value that no step changed
//     keeps its bytes, a changed one is encoded once. The fields of a decoded object keep their order.
//   - Whole numbers stay exact (int64; larger ones are carried as they are written), a float stays a float.
//   - Work is bounded: the length of a source, its nodes, the nesting and the number of iterations, and the memory it builds.
//   - uuid, rand, randint, oneof and now take chance and time from the Runtime: the same seed gives the same records.
//
// An Expression, Template or Aggregate is immutable and may be used by many goroutines; a Message belongs to one goroutine. No
// locks, no goroutines.
//
// Files: expression.go compiles and evaluates; check.go rewrites the syntax tree for missing fields and bounds; functions.go,
// bounded.go and time.go are the functions; template.go is Template; aggregate.go and accumulate.go are Aggregate; message.go is
// Message; decode.go and encode.go are JSON; paths.go what of it is read; strftime.go is time layouts.
package expression
