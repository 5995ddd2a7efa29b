package streams

import (
	"os"
	"testing"

	"github.com/milldam/milldam/core/client"
)

// startBroker returns how to reach the broker named by the environment.
func startBroker(t *testing.T) client.Options {
	t.Helper()
	brokers := os.Getenv("MILLDAM_TEST_BROKERS")
	if brokers == "" {
		t.Skip("MILLDAM_TEST_BROKERS names no broker")
	}
	return client.Options{Brokers: []string{brokers}}
}
