package meta

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"path"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"github.com/milldam/milldam/core/record"
	"github.com/milldam/milldam/core/vfs"
)

// Options configure Open.
type Options struct {
	FS     vfs.FS
	Dir    string
	NodeID int32
	Logger *slog.Logger
	Static map[string]string // broker keys of the configuration file

	segmentBytes int // of the Raft log; 0 is walSegmentBytes
}

// Folders below Options.Dir.
const (
	raftDir      = "raft"
	snapshotsDir = "snapshots"
)

const (
	// electionTimeout passes before a voter that was not asked makes itself the leader. Once it leads, raft looks that often whether it still does.
	electionTimeout = 200 * time.Millisecond
	// applyTimeout bounds the wait for a place in raft's queue, not for the write.
	applyTimeout = 10 * time.Second
	// walSegmentBytes is small, since metadata is.
	walSegmentBytes = 4 << 20
	// snapshotEvery is the number of commands after which the log is replaced by a snapshot.
	snapshotEvery    = 8192
	snapshotInterval = 2 * time.Minute
	trailingLogs     = 1024
)

// Controller keeps the image and changes it through raft.
type Controller struct {
	opts   Options
	raft   *raft.Raft
	log    *checkedLog
	image  atomic.Pointer[Image]
	led    bool // it was opened
	closed sync.Once

	failing sync.Once
	failed  chan struct{} // closed when the metadata cannot be written any more
	failure error         // set before failed is closed

	// deciding is held from a decision until it is applied, so that each is made on the image it will change.
	deciding sync.Mutex

	watch struct {
		sync.Mutex
		fns []func(old, new *Image)
	}
}

// Open starts raft in opts.Dir, on an empty folder with a new cluster of one voter. It returns once the log is applied and this node leads.
func Open(ctx context.Context, opts Options) (*Controller, error) {
	c := &Controller{opts: opts, failed: make(chan struct{})}
	id := strconv.Itoa(int(opts.NodeID))
	c.opts.Static = map[string]string{"node.id": id, "broker.id": id}
	maps.Copy(c.opts.Static, opts.Static)
	if c.opts.Logger == nil {
		c.opts.Logger = slog.New(slog.DiscardHandler)
	}
	c.image.Store(emptyImage())
	if err := c.start(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("open the cluster metadata in %s: %w", opts.Dir, err), c.Close())
	}
	return c, nil
}

func (c *Controller) start(ctx context.Context) error {
	walDir, snapshotDir := path.Join(c.opts.Dir, raftDir), path.Join(c.opts.Dir, snapshotsDir)
	for _, dir := range []string{c.opts.Dir, walDir, snapshotDir} {
		if err := c.opts.FS.MkdirAll(dir); err != nil {
			return err
		}
	}
	if err := errors.Join(c.opts.FS.SyncDir(path.Dir(path.Clean(c.opts.Dir))), c.opts.FS.SyncDir(c.opts.Dir)); err != nil {
		return err
	}
	logger := raftLogger{c.opts.Logger}
	var err error
	stable := &stableStore{fs: c.opts.FS, onFail: c.fail}
	if c.log, err = openRaftLog(c.opts.FS, c.opts.Dir, cmp.Or(c.opts.segmentBytes, walSegmentBytes), stable, logger); err != nil {
		return err
	}
	config := raft.DefaultConfig()
	config.LocalID = raft.ServerID(strconv.Itoa(int(c.opts.NodeID)))
	config.Logger = logger
	config.HeartbeatTimeout, config.ElectionTimeout, config.LeaderLeaseTimeout = electionTimeout, electionTimeout, electionTimeout
	config.SnapshotThreshold, config.SnapshotInterval, config.TrailingLogs = snapshotEvery, snapshotInterval, trailingLogs
	leading := make(chan bool, 1)
	config.NotifyCh = leading
	snapshots := &snapshotStore{fs: c.opts.FS, dir: snapshotDir}
	damaged, err := snapshots.damaged()
	if err != nil {
		return err
	}
	address, transport := raft.NewInmemTransport(raft.ServerAddress("node-" + string(config.LocalID)))
	first, last := c.log.bounds()
	if err := checkSnapshots(snapshots, first, last); err != nil {
		return errors.Join(err, damaged)
	}
	if err := c.bootstrap(config, snapshots, transport, address); err != nil {
		return err
	}
	config.NoLegacyTelemetry = true
	if err := c.startRaft(config, snapshots, transport); err != nil {
		return errors.Join(err, damaged)
	}
	if damaged != nil {
		c.opts.Logger.Warn("a damaged snapshot of the metadata was left out: the log, or an older one, had what was in it", "error", damaged)
	}
	stable.running.Store(true)
	if err := stand(config, address, transport); err != nil {
		c.opts.Logger.Debug("raft was not asked to lead at once, and will later", "error", err)
	}
	if err := c.lead(ctx, leading); err != nil {
		return err
	}
	c.led = true
	return c.log.syncEnd()
}

// stand asks raft to lead without waiting for a leader first. There is one voter: nobody else could be it.
func stand(config *raft.Config, address raft.ServerAddress, transport *raft.InmemTransport) error {
	_, asking := raft.NewInmemTransport("")
	asking.Connect(address, transport)
	now := raft.TimeoutNowRequest{RPCHeader: raft.RPCHeader{ProtocolVersion: config.ProtocolVersion}}
	return asking.TimeoutNow(config.LocalID, address, &now, &raft.TimeoutNowResponse{})
}

// startRaft starts raft; its panics about a disk that cannot be written become errors.
func (c *Controller) startRaft(config *raft.Config, snapshots raft.SnapshotStore, transport raft.Transport) (err error) {
	defer func() {
		if r := recover(); r != nil {
			cause, ok := r.(error)
			if !ok {
				cause = fmt.Errorf("%v", r)
			}
			err = fmt.Errorf("start raft: %w", cause)
		}
	}()
	c.raft, err = raft.NewRaft(config, (*fsm)(c), c.log, c.log, snapshots, transport)
	return err
}

// fail notes that the metadata cannot be written, or followed, any more. The first failure stays.
func (c *Controller) fail(err error) {
	c.failing.Do(func() {
		c.opts.Logger.Error("cluster metadata is offline", "dir", c.opts.Dir, "error", err)
		c.failure = fmt.Errorf("cluster metadata is offline since: %w; it serves again after a restart", err)
		close(c.failed)
	})
}

// bootstrap founds a cluster of this one voter, unless there is one.
func (c *Controller) bootstrap(config *raft.Config, snapshots *snapshotStore, transport raft.Transport, address raft.ServerAddress) error {
	last, err := c.log.LastIndex()
	if err != nil {
		return err
	}
	if last > 0 {
		return nil
	}
	// A crash in an earlier bootstrap may have left a term without a log, with which raft would wait for others forever. Without a log nobody
	// has voted, so the term means nothing.
	if err := c.log.SetUint64([]byte(raftTermKey), 0); err != nil {
		return err
	}
	one := raft.Configuration{Servers: []raft.Server{{ID: config.LocalID, Address: address}}}
	return raft.BootstrapCluster(config, c.log, c.log, snapshots, transport, one)
}

// raftTermKey is where raft keeps its current term.
const raftTermKey = "CurrentTerm"

// lead waits until this node leads and has applied its log, and founds the cluster if it is new.
func (c *Controller) lead(ctx context.Context, leading <-chan bool) error {
	for c.raft.State() != raft.Leader {
		select {
		case <-leading:
		case <-c.failed:
			return c.failure
		case <-ctx.Done():
			return fmt.Errorf("wait for leadership of the metadata: %w", ctx.Err())
		}
	}
	barrier := make(chan error, 1)
	go func() { barrier <- c.raft.Barrier(applyTimeout).Error() }()
	select {
	case err := <-barrier:
		if err != nil {
			return err
		}
	case <-c.failed:
		return c.failure
	}
	return c.found(ctx)
}

// found gives a new cluster its id and its features. A folder from before there were features gets them too.
func (c *Controller) found(ctx context.Context) error {
	c.deciding.Lock()
	defer c.deciding.Unlock()
	if c.Image().clusterID == "" {
		var id [16]byte
		if _, err := rand.Read(id[:]); err != nil {
			return err
		}
		if err := c.write(ctx, setCluster{ID: idText(id)}); err != nil {
			return err
		}
	}
	if c.Image().featuresEpoch == 0 {
		return c.write(ctx, setFeatures{Levels: defaultFeatures()})
	}
	return checkFinalized(c.Image().features)
}

// Image returns the current image.
func (c *Controller) Image() *Image { return c.image.Load() }

// Subscribe calls fn with every new image, in order, before the change that made it returns to who asked for it. The first call is with the current one
// as new and nil as old, before Subscribe returns. fn must not block, and must not change metadata.
func (c *Controller) Subscribe(fn func(old, new *Image)) {
	c.watch.Lock()
	defer c.watch.Unlock()
	c.watch.fns = append(c.watch.fns, fn)
	fn(nil, c.Image())
}

// write puts a command into the log and returns once it is durable and applied. The caller holds deciding.
func (c *Controller) write(ctx context.Context, cmd command) error {
	data, err := encodeCommand(cmd)
	if err != nil {
		return err
	}
	done := c.raft.Apply(data, applyTimeout)
	result := make(chan error, 1)
	go func() { result <- done.Error() }()
	select {
	case err = <-result:
	case <-c.failed:
		return c.failure
	case <-ctx.Done():
		select { // it may be applied still: deciding stays held until that is known
		case <-result:
		case <-c.failed:
		}
		return ctx.Err()
	}
	if errors.Is(err, raft.ErrRaftShutdown) {
		return ErrClosed
	}
	return err
}

// CreateTopic adds a topic; dryRun only checks. Errors: ErrTopicExists, ErrInvalidTopic, ErrInvalidPartitions, ErrInvalidReplicationFactor,
// ErrInvalidAssignment, ErrInvalidConfig.
func (c *Controller) CreateTopic(ctx context.Context, t NewTopic, dryRun bool) (*Topic, error) {
	var id record.TopicID
	if _, err := rand.Read(id[:]); err != nil {
		return nil, err
	}
	c.deciding.Lock()
	defer c.deciding.Unlock()
	i := c.Image()
	d := defaults{partitions: atoi32(c.BrokerValue(i, "num.partitions"), 1), replicas: int16(atoi32(c.BrokerValue(i, "default.replication.factor"), 1))}
	cmd, err := decideTopic(i, t, id, d)
	if err != nil || dryRun {
		return &cmd.Topic, err
	}
	if err := c.write(ctx, cmd); err != nil {
		return nil, err
	}
	return &cmd.Topic, nil
}

// DeleteTopic removes a topic. ErrUnknownTopic.
func (c *Controller) DeleteTopic(ctx context.Context, id record.TopicID) error {
	c.deciding.Lock()
	defer c.deciding.Unlock()
	if c.Image().TopicByID(id) == nil {
		return fmt.Errorf("%w: id %s", ErrUnknownTopic, idText(id))
	}
	return c.write(ctx, removeTopic{ID: id})
}

// CreatePartitions raises the number of partitions of a topic to total; assignment, when not nil, places the new ones. ErrUnknownTopic,
// ErrInvalidPartitions, ErrInvalidAssignment.
func (c *Controller) CreatePartitions(ctx context.Context, name string, total int32, assignment [][]int32, dryRun bool) error {
	c.deciding.Lock()
	defer c.deciding.Unlock()
	cmd, err := decidePartitions(c.Image(), name, total, assignment)
	if err != nil || dryRun {
		return err
	}
	return c.write(ctx, cmd)
}

// RegisterBroker adds a broker, or replaces what is known of it, with a new epoch.
func (c *Controller) RegisterBroker(ctx context.Context, b Broker) error {
	c.deciding.Lock()
	defer c.deciding.Unlock()
	b.Epoch = c.Image().brokerSeq + 1
	return c.write(ctx, setBroker{b})
}

// AllocateProducerIDs returns the first of a block of count producer ids that nobody else gets.
func (c *Controller) AllocateProducerIDs(ctx context.Context, count int32) (first record.ProducerID, err error) {
	c.deciding.Lock()
	defer c.deciding.Unlock()
	first = c.Image().nextPID
	return first, c.write(ctx, takeProducerIDs{Next: first + record.ProducerID(count)})
}

// Close stops raft. Idempotent.
func (c *Controller) Close() error {
	var err error
	c.closed.Do(func() {
		if c.raft != nil {
			err = c.raft.Shutdown().Error()
		}
		if c.led {
			if err := c.log.syncEnd(); err != nil { // then the one of the start stays
				c.opts.Logger.Warn("the end of the metadata log could not be noted", "dir", c.opts.Dir, "error", err)
			}
		}
		if c.log != nil {
			err = errors.Join(err, c.log.Close())
		}
	})
	return err
}

// fsm is raft's view of the controller: commands in, images out.
type fsm Controller

// Apply implements raft.FSM.
func (f *fsm) Apply(entry *raft.Log) any {
	cmd, err := decodeCommand(entry.Data)
	if err != nil {
		// The entry was agreed on: going on without it would make this node differ from the others. As in stableStore, raft waits from here on.
		(*Controller)(f).fail(fmt.Errorf("metadata log entry %d: %w", entry.Index, err))
		runtime.Goexit()
	}
	f.publish(f.image.Load().apply(cmd))
	return nil
}

func (f *fsm) publish(next *Image) {
	f.watch.Lock()
	defer f.watch.Unlock()
	old := f.image.Swap(next)
	for _, fn := range f.watch.fns {
		fn(old, next)
	}
}

// Snapshot implements raft.FSM. The image does not change, so it is written without stopping anything.
func (f *fsm) Snapshot() (raft.FSMSnapshot, error) { return imageSnapshot{f.image.Load()}, nil }

// Restore implements raft.FSM.
func (f *fsm) Restore(r io.ReadCloser) error {
	data, err := io.ReadAll(r)
	if err = errors.Join(err, r.Close()); err != nil {
		return err
	}
	i, err := decodeImage(data)
	if err != nil {
		return err
	}
	f.publish(i)
	return nil
}

type imageSnapshot struct{ image *Image }

// Persist implements raft.FSMSnapshot.
func (s imageSnapshot) Persist(sink raft.SnapshotSink) error {
	data, err := s.image.encode()
	if err == nil {
		_, err = sink.Write(data)
	}
	if err != nil {
		return errors.Join(err, sink.Cancel())
	}
	return sink.Close()
}

// Release implements raft.FSMSnapshot.
func (imageSnapshot) Release() {}
