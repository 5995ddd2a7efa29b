// Package config turns YAML into Go structs and tells its author everything that is wrong with it, at once.
//
// Guarantees
//
//   - Decoding is strict: an unknown field, a field set twice, a missing required field and a value of the wrong kind are
//     errors. Every error has the file, line and column it belongs to, the path of the field, and where possible what was meant.
//   - All errors of a document are reported together, in the order of the file. A syntax error hides only what follows it.
//   - References (${env:X}, ${env:X:-default}, ${file:path}, ${secret:key}) are resolved in parsed scalars, never in the
//     text: a value from outside cannot add YAML. Errors quote the reference, never what it stands for.
//   - Hostile input ends in an error: a file is at most MaxFileBytes long, values nest at most maxDepth deep, and aliases
//     expand to at most maxNodes values.
//
// Struct tags: `yaml:"name"` names a field (`yaml:",inline"` lifts the fields of an embedded struct), `doc` says what it is for,
// `default` is what an absent field gets, in YAML, `required:"true"` refuses an absent one, `enum:"a,b"` lists the allowed
// words, `type` is what the reference page calls the type when its own name does not say it. A type that implements Decoder reads itself from its Node (expressions and templates do); one with a method Validate() error
// is checked after it was decoded without error, and names the field at fault with Fieldf.
//
// Nothing here starts goroutines or holds locks; a Document may be decoded by several goroutines at once. The environment and
// files are read only through References.
//
// Files: document.go parses text into documents; syntax.go places syntax errors; node.go is the view of a value that Decoder
// gets; decode.go fills structs and scalar.go leaves; references.go resolves ${...}; values.go has Secret, Size, Duration and
// Rate; kafka.go gives Kafka's values units; errors.go and render.go are the errors and how they are printed; suggest.go finds what was meant; fields.go lists
// the fields of a struct for reference docs.
package config
