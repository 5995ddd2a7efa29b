// Package generate makes up records, for tries and for load. The same seed gives the same values, also over a restart: each record has its
// own random numbers, from the seed and its place in the sequence, and the position is that place.
//
// Files: config.go, source.go.
package generate
