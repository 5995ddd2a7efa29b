package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"path"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	dto "github.com/prometheus/client_model/go"

	"github.com/milldam/milldam/core/broker"
	"github.com/milldam/milldam/core/client"
	"github.com/milldam/milldam/core/meta"
	"github.com/milldam/milldam/core/replica"
	"github.com/milldam/milldam/core/storage"
	"github.com/milldam/milldam/core/wire"
	"github.com/milldam/milldam/pipelines"
	"github.com/milldam/milldam/runtime/admin"
)

// Node is a running node.
type Node struct {
	opts     Options
	instance string

	lock         io.Closer
	controller   *meta.Controller
	replicas     *replica.Manager
	coordinators broker.Coordinators
	broker       *broker.Server
	kafka        net.Listener
	memory       *wire.MemoryListener
	http         *admin.Server
	httpURL      string
	recovery     storage.Recovery
	storage      *storageMetrics
	manager      atomic.Pointer[pipelines.Manager]

	maintaining sync.Mutex // the right to maintain the logs

	ready    atomic.Bool
	served   bool // the endpoints are written
	cancel   context.CancelFunc
	wg       sync.WaitGroup
	stopping sync.Once
	stopErr  error
}

// Start starts a node and returns when it serves.
func Start(ctx context.Context, o Options) (*Node, error) {
	n := &Node{opts: o.withDefaults()}
	if err := n.start(ctx); err != nil {
		return nil, errors.Join(err, n.Close())
	}
	return n, nil
}

func (n *Node) start(ctx context.Context) error {
	began := time.Now()
	o := n.opts
	var err error
	if n.lock, err = openFolder(o.FS, o.Dir, o.Names); err != nil {
		return err
	}
	if err := roomToOpen(o.FS, o.Dir); err != nil {
		return fmt.Errorf("make room in %s: %w", o.Dir, err)
	}
	if n.instance, err = instanceID(o.FS, o.Dir); err != nil {
		return fmt.Errorf("name this instance: %w", err)
	}
	// Ports first: a port in use is told before logs are opened.
	if n.kafka, err = o.listen("the Kafka listener", o.Kafka, DefaultKafka, o.Names.Kafka); err != nil {
		return err
	}
	if o.HTTP != None {
		l, err := o.listen("the HTTP listener", o.HTTP, DefaultHTTP, o.Names.HTTP)
		if err != nil {
			return err
		}
		n.httpURL = "http://" + l.Addr().String()
		n.http = admin.Start(admin.Options{Listener: l, Metrics: n.metrics(), NotReady: n.notReady, Pipelines: func() any { return n.pipelines() }, Version: o.Version})
	}
	if err := n.open(ctx); err != nil {
		return err
	}
	background, cancel := context.WithCancel(context.Background())
	n.cancel = cancel
	n.serve(n.kafka)
	n.memory = wire.NewMemoryListener("embedded:9092")
	n.serve(n.memory)
	n.wg.Add(2)
	go n.maintainLoop(background)
	go n.guardLoop(background)
	if err := writeEndpoints(o.FS, o.Dir, n.Endpoints()); err != nil {
		return fmt.Errorf("write %s: %w", EndpointsFile, err)
	}
	n.served = true
	n.ready.Store(true)
	n.logStart(time.Since(began))
	return nil
}

// open opens metadata, logs, groups and transactions.
func (n *Node) open(ctx context.Context) error {
	o := n.opts
	err := checkMetadata(o.FS, o.Dir)
	if err != nil {
		return err
	}
	if n.controller, err = meta.Open(ctx, meta.Options{FS: o.FS, Dir: path.Join(o.Dir, "meta"), NodeID: o.NodeID, Logger: o.Logger, Static: o.static(n.kafka.Addr())}); err != nil {
		return err
	}
	// No address: each client is answered with the one it dialled.
	if err := n.controller.RegisterBroker(ctx, meta.Broker{ID: o.NodeID}); err != nil {
		return fmt.Errorf("register this broker: %w", err)
	}
	d := divideDescriptors()
	n.replicas, n.recovery, err = replica.Open(ctx, replica.Options{NodeID: o.NodeID, Controller: n.controller, Logger: o.Logger,
		Storage: storage.Options{FS: o.FS, Dir: o.Dir, Flush: o.Flush, Logger: o.Logger, OpenFiles: d.files, MinFreeBytes: o.MinFreeBytes, ReserveBytes: o.ReserveBytes}})
	if err != nil {
		return err
	}
	n.storage = newStorageMetrics(n.replicas.Store().Stats)
	image := n.controller.Image()
	n.coordinators = broker.NewCoordinators(n.controller, n.replicas, broker.GroupsOptions(n.controller, n.replicas, o.Logger), broker.TxnOptions(n.controller, n.replicas, o.Logger))
	n.coordinators.Load(ctx, image)
	n.broker = broker.New(broker.Options{NodeID: o.NodeID, Controller: n.controller, Replicas: n.replicas, Coordinators: n.coordinators, Logger: o.Logger, LogLevel: o.LogLevel, DataDir: o.Dir, Advertised: o.Advertised, MaxConnections: d.connections})
	return nil
}

func (n *Node) serve(l net.Listener) {
	n.wg.Add(1)
	go func() {
		defer n.wg.Done()
		if err := n.broker.Serve(l); err != nil {
			n.opts.Logger.Error("a listener ended", "error", err)
		}
	}()
}

func (n *Node) logStart(took time.Duration) {
	log, r := n.opts.Logger, n.recovery
	if r.Replayed > 0 || r.TruncatedBytes > 0 {
		log.Info("recovered", "batches_replayed", r.Replayed, "bytes_replayed", r.ReplayedBytes, "bytes_cut", r.TruncatedBytes, "took", r.Took.Round(time.Millisecond))
	}
	durability := "every acknowledgement follows its sync to disk"
	if n.opts.Flush == storage.FlushReplicated {
		durability = "log.flush=replicated: acknowledgements do not wait for the disk; a power failure may lose what was acknowledged"
	}
	log.Info("serving", "kafka", n.Endpoints().Kafka, "http", n.httpURL, "dir", n.opts.Dir, "durability", durability, "logs", r.Logs, "took", took.Round(time.Millisecond))
	for _, key := range slices.Sorted(maps.Keys(n.opts.Static)) {
		if meta.ConfigDocumentation(key) == meta.NoEffect {
			log.Warn("a key of the configuration file is kept and described, and has no effect here", "key", key)
		}
	}
	if n.opts.Insecure {
		log.Warn("listeners.insecure: whoever reaches these addresses can read and delete everything")
	}
}

// maintainLoop looks after retention, compaction and the offsets of groups that are gone.
func (n *Node) maintainLoop(ctx context.Context) {
	defer n.wg.Done()
	tick := time.NewTicker(n.opts.MaintainEvery)
	defer tick.Stop()
	offsets := time.NewTicker(time.Duration(n.controller.BrokerInt(n.controller.Image(), "offsets.retention.check.interval.ms")) * time.Millisecond)
	defer offsets.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			n.maintain(ctx, now)
		case now := <-offsets.C:
			n.coordinators.Groups.Expire(now)
		}
	}
}

// maintain applies retention and compaction.
func (n *Node) maintain(ctx context.Context, now time.Time) {
	n.maintaining.Lock()
	defer n.maintaining.Unlock()
	if err := n.replicas.Store().Maintain(ctx, now); err != nil && ctx.Err() == nil {
		n.opts.Logger.Error("logs could not be maintained", "error", err)
	}
}

func (n *Node) metrics() prometheus.Gatherer {
	r := prometheus.NewRegistry()
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), newPipelineMetrics(n.pipelines))
	return prometheus.GathererFunc(func() ([]*dto.MetricFamily, error) {
		if n.ready.Load() {
			for _, c := range append(n.broker.Collectors(), n.storage) {
				if err := r.Register(c); err != nil {
					var already prometheus.AlreadyRegisteredError
					if !errors.As(err, &already) {
						return nil, err
					}
				}
			}
		}
		return r.Gather()
	})
}

// notReady lists why the node does not serve.
func (n *Node) notReady() []string {
	if !n.ready.Load() {
		return []string{"it is starting, or stopping"}
	}
	if err := n.replicas.Store().Err(); err != nil {
		return []string{err.Error()}
	}
	return nil
}

// pipelines tells how the pipelines fare that run here.
func (n *Node) pipelines() []pipelines.Status {
	m := n.manager.Load()
	if m == nil {
		return []pipelines.Status{}
	}
	return m.Status()
}

// Endpoints are the node's addresses.
func (n *Node) Endpoints() Endpoints {
	return Endpoints{Kafka: n.kafka.Addr().String(), HTTP: n.httpURL}
}

// Recovery tells what opening the logs found and did.
func (n *Node) Recovery() storage.Recovery { return n.recovery }

// Client says how workers in this process reach the broker: in memory.
func (n *Node) Client() client.Options {
	return client.Options{Brokers: []string{n.memory.Addr().String()}, Dial: n.memory.Dial}
}

// InstanceID is the data folder's own name, which workers join groups with.
func (n *Node) InstanceID() string { return n.instance }

// RunPipelines runs specs until the node is closed. It may be called once.
func (n *Node) RunPipelines(specs []*pipelines.Spec) (*pipelines.Manager, error) {
	m, err := pipelines.NewManager(specs, pipelines.Options{Client: n.Client(), InstanceID: n.instance, Logger: n.opts.Logger})
	if err != nil {
		return nil, err
	}
	n.manager.Store(m)
	m.Start()
	return m, nil
}

// drainTimeout is how long requests in flight may take to be answered when a node stops.
const drainTimeout = 2 * time.Second

// Close stops everything in the opposite order of its start, with what is in flight answered where that takes no longer than drainTimeout. Idempotent.
func (n *Node) Close() error {
	n.stopping.Do(func() { n.stopErr = n.stop() })
	return n.stopErr
}

func (n *Node) stop() error {
	n.ready.Store(false)
	var err error
	if m := n.manager.Load(); m != nil {
		err = errors.Join(err, m.Close())
	}
	ctx, cancel := context.WithTimeout(context.Background(), drainTimeout)
	defer cancel()
	if n.cancel != nil {
		n.cancel()
	}
	if n.coordinators.Groups != nil {
		err = errors.Join(err, n.coordinators.Close()) // answers those who wait for a rebalance
	}
	if n.broker != nil {
		if drained := n.broker.Drain(ctx); drained != nil && !errors.Is(drained, context.DeadlineExceeded) {
			err = errors.Join(err, drained)
		}
		err = errors.Join(err, n.broker.Close())
	} else if n.kafka != nil {
		err = errors.Join(err, n.kafka.Close())
	}
	n.wg.Wait()
	if n.served {
		err = errors.Join(err, removeEndpoints(n.opts.FS, n.opts.Dir))
	}
	if n.http != nil {
		err = errors.Join(err, n.http.Close(ctx))
	}
	if n.replicas != nil {
		err = errors.Join(err, n.replicas.Close())
	}
	if n.controller != nil {
		err = errors.Join(err, n.controller.Close())
	}
	if n.lock != nil {
		err = errors.Join(err, n.lock.Close())
	}
	return err
}
