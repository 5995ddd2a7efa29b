package streams

import (
	"errors"
	"log/slog"
	"os"
	"testing"
	"time"

	"github.com/milldam/milldam/core/broker"
	"github.com/milldam/milldam/core/client"
	"github.com/milldam/milldam/core/meta"
	"github.com/milldam/milldam/core/replica"
	"github.com/milldam/milldam/core/storage"
	"github.com/milldam/milldam/core/vfs"
	"github.com/milldam/milldam/core/wire"
)

// startBroker returns how to reach a broker: the one that MILLDAM_TEST_BROKERS names, which may be Apache Kafka, or one of our own in memory.
func startBroker(t testing.TB) client.Options {
	t.Helper()
	if brokers := os.Getenv("MILLDAM_TEST_BROKERS"); brokers != "" {
		return client.Options{Brokers: []string{brokers}}
	}
	fs := vfs.NewMem()
	controller, err := meta.Open(t.Context(), meta.Options{FS: fs, Dir: "data/meta", NodeID: 1})
	if err == nil {
		err = controller.RegisterBroker(t.Context(), meta.Broker{ID: 1})
	}
	if err != nil {
		t.Fatal(err)
	}
	replicas, _, err := replica.Open(t.Context(), replica.Options{NodeID: 1, Controller: controller, Storage: storage.Options{FS: fs, Dir: "data"}})
	if err != nil {
		t.Fatal(err)
	}
	logger := slog.New(slog.DiscardHandler)
	groups := broker.GroupsOptions(controller, replicas, logger)
	groups.InitialRebalanceDelay = 0
	txns := broker.TxnOptions(controller, replicas, logger)
	txns.AbortEvery = 200 * time.Millisecond
	coordinators := broker.NewCoordinators(controller, replicas, groups, txns)
	coordinators.Load(t.Context(), controller.Image())
	server := broker.New(broker.Options{NodeID: 1, Controller: controller, Replicas: replicas, Coordinators: coordinators})
	memory := wire.NewMemoryListener("embedded:9092")
	served := make(chan error, 1)
	go func() { served <- server.Serve(memory) }()
	t.Cleanup(func() {
		if err := errors.Join(coordinators.Close(), server.Close(), <-served, replicas.Close(), controller.Close()); err != nil {
			t.Error(err)
		}
	})
	return client.Options{Brokers: []string{memory.Addr().String()}, Dial: memory.Dial}
}
