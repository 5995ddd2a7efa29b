// Package generate is the source that makes up records, for tries and for load.
//
// The same seed gives the same values, also over a restart: each record has its own random numbers, from the seed and its place in the
// sequence, and the position, {"version":1,"count":RECORDS}, is that place. Only now() follows the clock. Records come in small batches so that
// the rate holds within a few hundredths of a second; when those before were taken slowly, at most maxBehind is made up for.
//
// The worker's goroutine calls everything but Close, which may come from any. No other goroutines, no locks.
//
// Files: config.go the configuration; source.go the source and its pace; value.go values.
package generate
