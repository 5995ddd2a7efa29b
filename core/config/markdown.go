package config

import (
	"fmt"
	"strings"
)

// MarkdownTable is the fields of a section as a table of a reference page; sections within it follow with their path.
func MarkdownTable(fields []Field) string {
	var b strings.Builder
	b.WriteString("| Field | Value | Default | |\n|---|---|---|---|\n")
	markdownRows(&b, "", fields)
	return b.String()
}

func markdownRows(b *strings.Builder, prefix string, fields []Field) {
	for _, f := range fields {
		kind := f.Type
		if len(f.Enum) > 0 {
			kind = strings.Join(f.Enum, ", ")
		}
		value := ""
		switch {
		case f.Required:
			value = "required"
		case f.Default != "":
			value = "`" + f.Default + "`"
		}
		fmt.Fprintf(b, "| `%s%s` | %s | %s | %s |\n", prefix, f.Name, kind, value, strings.ReplaceAll(f.Doc, "|", `\|`))
		inner := prefix + f.Name + "."
		if f.List {
			inner = prefix + f.Name + "[]."
		}
		if f.Map {
			inner = prefix + f.Name + ".*."
		}
		markdownRows(b, inner, f.Fields)
	}
}
