// Package e2e runs the real binary against real client libraries, Apache Kafka's tools, S3 servers and Elasticsearch.
//
// The package lies below a folder whose name starts with a dot, so ./... leaves it out: `make test` runs its short form (go test
// -short), `make e2e` all of it. What a test needs and is not there is named when it is skipped; `.ci/setup` installs all of it.
//
// A client is anything that can produce, consume, join a group and look up offsets by time: franz-go (this test binary, started
// again), kcat, Apache Kafka's tools, the Python and JavaScript in testdata, and testdata/kafkago, all with one command line, so that one set of
// tests runs with each of them. What applications do with transactions, commits and administration is told in the client's own language by
// testdata/*_scenarios.*, which print what they got and what they want.
//
// Other projects' own suites (franz-go, sarama, confluent-kafka-go) run as they come, from copies of their modules at the versions named here, and
// testdata/skips.txt names each of their tests that cannot run here, with the reason. testdata/kafkago and testdata/nocompose are modules of their own, so
// that what they need is not needed by Milldam.
//
// Apache Kafka's tools and Java programs (testdata/java) run against a node and against Apache Kafka, and TestDifferential asks both the same calls;
// what differs stands in docs/reference/protocol.md, and which clients run unchanged in docs/reference/clients.md.
package e2e
