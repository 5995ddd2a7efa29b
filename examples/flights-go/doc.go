// Package main is the windowed result of the flights demo as a Go program: the flights of each airport and day, how many and how
// late, joined with the airport's name and state. It reads the topics flights and airports and writes delays-daily, which must
// exist:
//
//	go run ./examples/flights-go 127.0.0.1:9092
//
// Files: main.go.
package main
