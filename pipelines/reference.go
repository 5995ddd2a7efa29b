package pipelines

import (
	"fmt"
	"strings"

	"github.com/milldam/milldam/connect"
	"github.com/milldam/milldam/connect/expression"
	"github.com/milldam/milldam/core/config"
)

// Reference returns the reference page of pipelines in Markdown: every field of a document and of the registry's connectors.
func Reference(registry *connect.Registry) string {
	var b strings.Builder
	b.WriteString("# Pipelines\n\n<!-- Generated from the code by `make docs`; do not edit. -->\n\n")
	b.WriteString(introduction)
	section(&b, "The document", config.Fields(document{}))
	section(&b, "source.topic", config.Fields(TopicSource{}))
	section(&b, "sink.topic", config.Fields(topicSinkFields{}))
	b.WriteString("## Steps\n\n" + stepsIntroduction)
	section(&b, "window", config.Fields(windowFields{}))
	section(&b, "join", config.Fields(joinFields{}))
	section(&b, "tests", config.Fields(testFields{}))
	b.WriteString("## Expressions\n\n" + expressionsIntroduction)
	entries(&b, "Names", expression.Names())
	entries(&b, "Functions", expression.Functions())
	entries(&b, "Aggregates", expression.Aggregates())
	entries(&b, "Time layouts", expression.Layout())
	b.WriteString("## Connectors\n\n")
	for _, p := range registry.Plugins() {
		fmt.Fprintf(&b, "### %s\n\n%s\n\n", p.Name, p.Doc)
		if p.SourceConfig != nil {
			table(&b, "source."+p.Name, config.Fields(p.SourceConfig()))
		}
		if p.SinkConfig != nil {
			table(&b, "sink."+p.Name, config.Fields(p.SinkConfig()))
		}
	}
	return strings.TrimRight(b.String(), "\n") + "\n"
}

const introduction = "A file holds one pipeline, or several divided by `---`. `milldam pipeline lint FILE` checks it without a connection, " +
	"`milldam pipeline test FILE` runs its tests, `milldam pipeline run FILE` runs it.\n\n" +
	"A field has one kind. An *expression* is code: text in it is quoted. A *template* is text with `${{ expression }}` and `%Y`, the record's " +
	"time. All others are literal. `${env:NAME}`, `${env:NAME:-default}`, `${file:path}` and `${secret:key}` are replaced when the file is loaded, " +
	"in every value; `$${` is a plain `${`.\n\n"

const stepsIntroduction = "Each entry of `steps` is one of:\n\n" +
	"- `where: expression` keeps the records for which it is true.\n" +
	"- `map: { name: expression, ... }` makes a new value of these fields, in this order. A tombstone stays a tombstone.\n" +
	"- `window: {...}` with `aggregate: { name: aggregate, ... }` groups records by a key and by spans of time. Afterwards `value` holds the aggregates, `key` the group, " +
	"and `window.start` and `window.end` the span. A pipeline has one window.\n" +
	"- `join: {...}` adds to each record fields of the row that a compacted topic holds for its key.\n\n" +
	"A pipeline from a connector to a connector, or with a window or a join and a connector as its sink, goes through an internal topic named after it " +
	"(`NAME-input`, `NAME-results`). There `window` is not known to the sink: map what you need of it into the value.\n\n"

const expressionsIntroduction = "Expressions are those of [expr](https://expr-lang.org/docs/language-definition). Times are times, RFC 3339 text or epoch milliseconds. " +
	"Whole numbers stay exact.\n\n"

func section(b *strings.Builder, title string, fields []config.Field) {
	fmt.Fprintf(b, "## %s\n\n", title)
	table(b, "", fields)
}

func table(b *strings.Builder, title string, fields []config.Field) {
	if title != "" {
		fmt.Fprintf(b, "`%s`\n\n", title)
	}
	if len(fields) == 0 {
		b.WriteString("No fields.\n\n")
		return
	}
	b.WriteString(config.MarkdownTable(fields) + "\n")
}

func entries(b *strings.Builder, title string, list []expression.Entry) {
	fmt.Fprintf(b, "### %s\n\n| | |\n|---|---|\n", title)
	for _, e := range list {
		fmt.Fprintf(b, "| `%s` | %s |\n", e.Name, strings.ReplaceAll(e.Doc, "|", `\|`))
	}
	b.WriteByte('\n')
}
