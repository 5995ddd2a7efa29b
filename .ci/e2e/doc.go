// Package e2e runs the real binary against real client libraries, Apache Kafka's tools, S3 servers and Elasticsearch.
//
// The package lies below a folder whose name starts with a dot, so ./... leaves it out: `make test` runs its short form (go test
// -short), `make e2e` all of it. What a test needs and is not there is named when it is skipped; `.ci/setup` installs all of it.
//
// A client is anything that can produce, consume, join a group and look up offsets by time: franz-go (this test binary, started
// again), kcat, Apache Kafka's tools, and the Python scripts in testdata, all with one command line, so that one set of tests
// runs with each of them.
//
// Other projects' own suites run as they come, and testdata/skips.txt names each of their tests that cannot run here, with the reason. Apache Kafka's
// tools run against a node and against Apache Kafka, and TestDifferential asks both the same calls; what differs stands in docs/reference/protocol.md.
package e2e
