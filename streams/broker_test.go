package streams

import (
	"os"
	"testing"

	"github.com/milldam/milldam/core/client"
)

func startBroker(t *testing.T) client.Options {
	return client.Options{Brokers: []string{os.Getenv("BROKERS")}}
}
