// Package connect is the contract of connectors: how a Source reads another system into records, how a Sink writes records to one, and
// how failures are told apart. The package worker runs them; they know nothing of Kafka, retries, offsets or metrics.
//
// A connector is a folder below connectors: config.go with the configuration that core/config decodes, sink.go or source.go, a test that runs the
// conformance suite of connecttest, and one line in connectors/all.go.
//
// Files: connect.go is the contract, batch.go how large a sink's batches are, registry.go finds connectors by name.
package connect
