// Package client is how our own workers and the command line reach a Kafka cluster, ours or another: franz-go with a dialer that can be
// injected, so that workers inside the binary reach its broker without a network. Files: client.go.
package client
