// Package pipelines declares, checks, tests and runs pipelines: source, steps and sink in YAML.
//
// A document is read by Load, which checks everything that needs no connection: fields, types, expressions, names, loops between pipelines.
// Plan divides a pipeline into hops, each from connector or topics to topic or connector: connectors run on connect/worker, everything
// from topic to topic on the engine of the streams package. A Manager runs a set of pipelines against a cluster, and
// RunTests the tests of a document without one.
//
// Guarantees
//
//   - At least once, from end to end: a source's position and a topic's offsets are stored only after what was made of them is
//     acknowledged. With delivery: exactly-once each hop to a topic is one transaction after the other; a document that asks for it where a
//     hop to a connector cannot hold it is an error. Nothing is dropped silently: a record that cannot be processed goes to the dead-letter topic, and without one
//     it stops its pipeline with an error that names step, file and line.
//   - Records of one partition stay in order.
//   - A Spec is immutable once loaded.
//
// Goroutines: Manager.Start starts one for each pipeline and one for each hop of it; Manager.Close returns after they ended. Each
// pipeline's status is guarded by one lock, under which nothing else is called.
//
// Files: files.go finds files; document.go reads a document into the Spec of spec.go and policy.go; steps_*.go are the steps; load.go checks what lies between
// documents; plan.go makes the hops, delivery.go says what each guarantees; chain.go runs steps that need nothing but the record, topology.go the others as a graph
// of the streams package; manager.go and run.go run hops, status.go says how they fare; testcase.go and tests.go run the section tests;
// reference.go writes the reference page.
package pipelines
