package config

import (
	"fmt"
	"strings"
	"unicode"
)

// maxSourceColumns is how much of a source line is shown; a longer one is cut around the error.
const maxSourceColumns = 160

// Render prints every error with its source line, a caret and the hint, and ends with their number.
func (e Errors) Render() string {
	var b strings.Builder
	for _, err := range e {
		err.render(&b)
	}
	if len(e) == 1 {
		b.WriteString("1 error.\n")
	} else {
		fmt.Fprintf(&b, "%d errors.\n", len(e))
	}
	return b.String()
}

func (e *Error) render(b *strings.Builder) {
	b.WriteString(clean(e.Error()))
	b.WriteByte('\n')
	if strings.TrimSpace(e.source) == "" {
		if e.Hint != "" {
			fmt.Fprintf(b, "   | %s\n", clean(e.Hint))
		}
		return
	}
	line, column := cut([]rune(clean(e.source)), e.Column-1)
	width := max(1, min(e.width, len(line)-column))
	number := fmt.Sprintf("%2d", e.Line)
	fmt.Fprintf(b, "%s | %s\n", number, string(line))
	fmt.Fprintf(b, "%s | %s%s", strings.Repeat(" ", len(number)), strings.Repeat(" ", column), strings.Repeat("^", width))
	if e.Hint != "" {
		b.WriteByte(' ')
		b.WriteString(clean(e.Hint))
	}
	b.WriteByte('\n')
}

// cut returns the part of line that is shown and the column of the error in it.
func cut(line []rune, column int) ([]rune, int) {
	column = max(0, min(column, len(line)))
	start := 0
	if column > maxSourceColumns/2 && len(line) > maxSourceColumns {
		start = column - maxSourceColumns/2
	}
	return line[start:min(len(line), start+maxSourceColumns)], column - start
}

// clean replaces characters that would move the cursor or colour the terminal.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\t':
			return ' '
		case r == '\n':
			return r
		case !unicode.IsPrint(r):
			return '\uFFFD'
		}
		return r
	}, s)
}
