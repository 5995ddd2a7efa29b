// Package compose stands in for the module of that name when the tests of confluent-kafka-go are built: they use it only when no broker is given to them, and it would
// bring all of Docker's modules with it.
package compose

// LocalDockerCompose is a cluster that is never started.
type LocalDockerCompose struct{}

// ExecError is what came of a command.
type ExecError struct{ Error error }

// NewLocalDockerCompose panics.
func NewLocalDockerCompose([]string, string) *LocalDockerCompose {
	panic("the tests were given a broker")
}

// WithCommand panics.
func (*LocalDockerCompose) WithCommand([]string) *LocalDockerCompose {
	panic("the tests were given a broker")
}

// Invoke panics.
func (*LocalDockerCompose) Invoke() ExecError { panic("the tests were given a broker") }

// Down panics.
func (*LocalDockerCompose) Down() ExecError { panic("the tests were given a broker") }
