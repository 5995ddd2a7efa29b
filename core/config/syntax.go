package config

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	goyaml "github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/parser"
)

// maxReparseBytes bounds the text that is parsed a second time for the place of a syntax error.
const maxReparseBytes = 256 << 10

// syntaxError places an error of the YAML parser. yaml.v3 often names the wrong line or none, so the text is parsed once more by a
// parser that knows the place; what yaml.v3 said is used when that one has no complaint.
func syntaxError(file string, lines []string, text []byte, err error) *Error {
	e := &Error{Position: Position{File: file, Line: 1, Column: 1}, width: 1}
	e.Message = "not valid YAML: " + strings.TrimPrefix(err.Error(), "yaml: ")
	if m := lineOfError.FindStringSubmatch(err.Error()); m != nil {
		e.Line, _ = strconv.Atoi(m[1]) // the pattern holds digits only, and a number too large stays 0
		e.Line = max(1, min(e.Line, len(lines)))
		e.Message = "not valid YAML: " + m[2]
	}
	// The second parser takes quadratic time for what the first refused as too deep.
	if len(text) <= maxReparseBytes && !strings.Contains(err.Error(), "max depth") {
		if line, column, message, ok := reparse(text); ok {
			e.Line, e.Column, e.Message = line, column, "not valid YAML: "+message
		} else if line, column, ok := questionMark(lines, e.Line); ok {
			e.Line, e.Column, e.Message = line, column, "not valid YAML: a ? inside of { } or [ ]"
		}
	}
	if e.Line <= len(lines) {
		e.source = lines[e.Line-1]
	}
	e.Hint = syntaxHint(e.source)
	return e
}

var lineOfError = regexp.MustCompile(`^yaml: line (\d+): (.*)`)

// reparse returns the place of the first syntax error by the second parser. That parser may panic on text that is no YAML; the first
// one's error is then good enough.
func reparse(text []byte) (line, column int, message string, ok bool) {
	defer func() {
		if recover() != nil {
			ok = false
		}
	}()
	_, err := parser.ParseBytes(text, 0)
	var placed goyaml.Error
	if !errors.As(err, &placed) || placed.GetToken() == nil || placed.GetToken().Position == nil {
		return 0, 0, "", false
	}
	p := placed.GetToken().Position
	return p.Line, p.Column, placed.GetMessage(), p.Line > 0 && p.Column > 0
}

// questionMark finds a bare ? in a flow collection near a line: the first parser takes it for the start of a key, and names the line where
// the collection's block began; the second one accepts it.
func questionMark(lines []string, near int) (line, column int, ok bool) {
	const searched = 20
	for i := max(near, 1); i <= min(near+searched, len(lines)); i++ {
		if m := bareQuestion.FindStringIndex(lines[i-1]); m != nil {
			return i, utf8.RuneCountInString(lines[i-1][:m[1]]), true
		}
	}
	return 0, 0, false
}

var (
	bareQuestion  = regexp.MustCompile(`[\{\[][^"'#]*\?`)
	bareReference = regexp.MustCompile(`[\{\[,:]\s*\$\{[^}]*\}`)
	barePercent   = regexp.MustCompile(`:\s+%`)
)

// syntaxHint names the mistakes that are made most with pipelines.
func syntaxHint(source string) string {
	switch {
	case strings.HasPrefix(strings.TrimLeft(source, " "), "\t"):
		return "YAML is indented by spaces, not by tabs"
	case bareReference.MatchString(source):
		return fmt.Sprintf("quote it: %q", strings.TrimLeft(bareReference.FindString(source), "{[,: "))
	case bareQuestion.MatchString(source):
		return `put quotes around an expression that holds one of ? { } [ ] : # or a comma`
	case barePercent.MatchString(source):
		return `a value that starts with % must be quoted: "%Y"`
	}
	return "check the indent and the quotes here and on the line above"
}
