// Package streams is a typed DSL for processing records of topics.
package streams
