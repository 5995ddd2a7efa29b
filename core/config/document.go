package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"gopkg.in/yaml.v3"
)

// Limits of what is read: far above what people write, far below what hurts.
const (
	MaxFileBytes = 4 << 20
	maxDepth     = 64      // nesting of values
	maxNodes     = 200_000 // values of a document, aliases expanded
)

// Document is one YAML document of a file.
type Document struct {
	file  string
	root  *yaml.Node
	lines []string
}

// Options say how a document is decoded. The zero value resolves no references.
type Options struct {
	References References
	// Origins, when not nil, receives where the value of each scalar field came from, by path.
	Origins map[string]Origin
}

// Origin is where a value came from.
type Origin struct {
	Position
	From string // "file", "default", or the reference, as in "env:LAKE_BUCKET"
}

// Parse reads the YAML documents of a file; empty ones are left out. With a syntax error it returns the documents before it.
func Parse(file string, text []byte) ([]*Document, Errors) {
	if len(text) > MaxFileBytes {
		return nil, Errors{{Position: Position{file, 1, 1}, Message: fmt.Sprintf("the file has %d bytes, more than the limit of %d", len(text), MaxFileBytes)}}
	}
	lines := strings.Split(strings.ReplaceAll(string(text), "\r\n", "\n"), "\n")
	dec := yaml.NewDecoder(bytes.NewReader(text))
	var docs []*Document
	for {
		root := new(yaml.Node)
		err := decodeYAML(dec, root)
		if errors.Is(err, io.EOF) {
			return docs, nil
		}
		if err != nil {
			return docs, Errors{syntaxError(file, lines, text, err)}
		}
		if len(root.Content) == 0 || isNull(root.Content[0]) {
			continue
		}
		docs = append(docs, &Document{file: file, root: root.Content[0], lines: lines})
	}
}

// decodeYAML reads the next document; a panic of the parser becomes an error, since the text may come from anywhere.
func decodeYAML(dec *yaml.Decoder, into *yaml.Node) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("the YAML parser gave up: %v", r)
		}
	}()
	return dec.Decode(into)
}

// Load parses a file that must hold one document at most and decodes it into the struct that into points to. An empty file
// gives the defaults.
func Load(file string, text []byte, into any, opts Options) Errors {
	docs, errs := Parse(file, text)
	if len(errs) > 0 {
		return errs
	}
	switch len(docs) {
	case 0:
		return Empty(file).Decode(into, opts)
	case 1:
		return docs[0].Decode(into, opts)
	}
	return Errors{docs[1].Node(opts).Errorf("a second document starts here, this file holds one").WithHint("remove the line --- and what follows")}
}

// Empty returns a document without a field, for the defaults of a struct.
func Empty(file string) *Document {
	return &Document{file: file, root: &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map", Line: 1, Column: 1}}
}

// File returns the name the document was parsed with.
func (d *Document) File() string { return d.file }

// Node returns the root value.
func (d *Document) Node(opts Options) Node {
	return (&decoder{doc: d, opts: opts}).node(d.root, nil, "", 0)
}

// Decode fills the struct that into points to and returns everything that is wrong.
func (d *Document) Decode(into any, opts Options) Errors { return d.Node(opts).Decode(into).Sort() }

// line returns the text of a line, counted from 1.
func (d *Document) line(n int) string {
	if n < 1 || n > len(d.lines) {
		return ""
	}
	return d.lines[n-1]
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.Tag == "!!null" }
