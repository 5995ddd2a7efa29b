package s3

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"golang.org/x/sync/errgroup"

	"github.com/milldam/milldam/connect"
	"github.com/milldam/milldam/connect/expression"
	"github.com/milldam/milldam/connect/format"
)

// Sink writes records to objects. See the package comment.
type Sink struct {
	config  Config
	client  *s3.Client
	task    connect.SinkTask
	message *expression.Message

	open   map[objectKey]*object
	closed []*object // not uploaded yet
	parts  map[connect.TopicPartition]*progress
}

// progress is how far a partition was read and acknowledged.
type progress struct {
	next, acked int64
	// settled is the end of the last batch that Write took without an error. Behind it there may be records that the worker has not
	// dead-lettered yet, so no upload acknowledges more.
	settled int64
	newest  time.Time             // of its records, for late ones
	failed  []connect.RecordError // of the last batch, until they are reported
}

// New returns the sink of a configuration.
func New(c Config) (connect.Sink, error) {
	return &Sink{config: c, message: expression.NewMessage(expression.NewRuntime(0)),
		open: map[objectKey]*object{}, parts: map[connect.TopicPartition]*progress{}}, nil
}

// Open connects and looks for the bucket.
func (s *Sink) Open(ctx context.Context, task connect.SinkTask) error {
	s.task = task
	var err error
	if s.client, err = newClient(ctx, s.config); err != nil {
		return err
	}
	return s.checkBucket(ctx)
}

// Write adds the batch to open objects and uploads those that are full.
func (s *Sink) Write(ctx context.Context, b connect.SinkBatch) error {
	p := s.parts[b.TopicPartition]
	if p == nil {
		p = &progress{}
		s.parts[b.TopicPartition] = p
	}
	if p.next < b.Next { // else it is tried again, after an upload failed, and its records are in objects already
		p.next, p.failed = b.Next, nil
		for i := range b.Records {
			if err := s.add(p, &b.Records[i]); err != nil {
				p.failed = append(p.failed, connect.RecordError{Index: i, Outcome: connect.Poison, Err: err})
			}
		}
	}
	err := s.upload(ctx, func(o *object) bool { return o.full(s.config.Rotate) })
	if err == nil && len(p.failed) > 0 {
		err = &connect.BatchError{Records: p.failed}
		p.failed = nil // the worker takes care of them, and calls again
		return err
	}
	if err == nil {
		p.settled = p.next
		s.ack(b.TopicPartition)
	}
	return err
}

var errTombstone = errors.New("a record without a value, and on_tombstone is fail")

// add puts one record into its object. Its error is about the record.
func (s *Sink) add(p *progress, r *connect.Record) error {
	if r.Value == nil {
		if s.config.OnTombstone == "fail" {
			return errTombstone
		}
		return nil
	}
	folder, err := s.folder(p, r)
	if err != nil {
		return err
	}
	key := objectKey{connect.TopicPartition{Topic: r.Topic, Partition: r.Partition}, folder}
	o := s.open[key]
	if o == nil {
		o = &object{objectKey: key, first: r.Offset, opened: time.Now(), rows: s.newEncoder()}
	}
	if err := o.rows.Append(r.Value); err != nil {
		return err
	}
	s.open[key] = o
	return nil
}

// folder is the path of the record's object.
func (s *Sink) folder(p *progress, r *connect.Record) (string, error) {
	s.message.Reset(*r)
	at := r.Timestamp
	if !s.config.Time.IsZero() {
		var err error
		if at, err = s.config.Time.Time(s.message); err != nil {
			return "", fmt.Errorf("time: %w", err)
		}
	}
	template := &s.config.Path
	if late := s.config.Late; late != nil {
		if at.Before(p.newest.Add(-time.Duration(late.Allow))) {
			template = &late.Path
		}
		if at.After(p.newest) {
			p.newest = at
		}
	}
	folder, err := template.Text(s.message, at)
	if err != nil {
		return "", fmt.Errorf("path: %w", err)
	}
	clean := strings.TrimPrefix(path.Clean("/"+folder), "/")
	switch {
	case clean == "", slices.Contains(strings.Split(folder, "/"), ".."), !utf8.ValidString(folder), strings.ContainsFunc(folder, unicode.IsControl):
		return "", fmt.Errorf("path: %.60q is no folder for an object", folder)
	case len(clean) > maxFolderBytes:
		return "", fmt.Errorf("path: %.60q… has %d bytes, and an object's name holds %d at most", folder, len(clean), maxFolderBytes)
	}
	return clean, nil
}

// Flush uploads what reason asks for.
func (s *Sink) Flush(ctx context.Context, reason connect.FlushReason) error {
	switch reason {
	case connect.FlushPressure:
		var largest *object
		for _, o := range s.open {
			if largest == nil || o.bytes() > largest.bytes() {
				largest = o
			}
		}
		return s.upload(ctx, func(o *object) bool { return o == largest })
	case connect.FlushAll:
		return s.upload(ctx, func(*object) bool { return true })
	}
	now := time.Now()
	return s.upload(ctx, func(o *object) bool {
		return o.full(s.config.Rotate) || now.Sub(o.opened) >= time.Duration(s.config.Rotate.Age)
	})
}

// upload closes the objects that due picks, uploads them and those of earlier calls that failed, and acknowledges what that made durable.
// The first error is returned when all that were under way have ended; what is not uploaded stays for the next call.
func (s *Sink) upload(ctx context.Context, due func(*object) bool) error {
	for key, o := range s.open {
		if due(o) {
			delete(s.open, key)
			s.closed = append(s.closed, o)
		}
	}
	if len(s.closed) == 0 {
		return nil
	}
	slices.SortFunc(s.closed, func(a, b *object) int { return cmp.Or(cmp.Compare(a.first, b.first), cmp.Compare(a.path, b.path)) })
	done := make([]bool, len(s.closed))
	var group errgroup.Group
	group.SetLimit(s.config.Uploads)
	for i, o := range s.closed {
		group.Go(func() error {
			err := s.uploadOne(ctx, o)
			done[i] = err == nil
			return err
		})
	}
	err := group.Wait()
	touched := map[connect.TopicPartition]bool{}
	var left []*object
	for i, o := range s.closed {
		if done[i] {
			touched[o.part] = true
		} else {
			left = append(left, o)
		}
	}
	s.closed = left
	for part := range touched {
		s.ack(part)
	}
	return err
}

func (s *Sink) uploadOne(ctx context.Context, o *object) error {
	key := o.key(s.extension())
	if o.body == nil {
		body, err := o.rows.Encode()
		if err != nil {
			return fmt.Errorf("encode %s: %w", key, err)
		}
		o.body, o.bodyRows, o.rows = body, o.rows.Rows(), nil
	}
	began := time.Now()
	if err := s.put(ctx, key, o.body); err != nil {
		return err
	}
	s.task.Logger.Debug("uploaded", "key", key, "rows", o.bodyRows, "bytes", len(o.body), "took", time.Since(began))
	return nil
}

// ack reports a partition durable up to its first record that is in no uploaded object.
func (s *Sink) ack(part connect.TopicPartition) {
	p := s.parts[part]
	if p == nil {
		return
	}
	durable := p.settled
	for _, o := range s.held() {
		if o.part == part {
			durable = min(durable, o.first)
		}
	}
	if durable > p.acked {
		p.acked = durable
		s.task.Ack(part, durable)
	}
}

// held lists the objects that are not uploaded, in no order.
func (s *Sink) held() []*object { return slices.AppendSeq(slices.Clone(s.closed), maps.Values(s.open)) }

// Buffered is the size of the objects that are not uploaded.
func (s *Sink) Buffered() int64 {
	var sum int64
	for _, o := range s.held() {
		sum += o.bytes()
	}
	return sum
}

// Revoke forgets the objects of partitions that another task has now.
func (s *Sink) Revoke(parts []connect.TopicPartition) {
	for key := range s.open {
		if slices.Contains(parts, key.part) {
			delete(s.open, key)
		}
	}
	s.closed = slices.DeleteFunc(s.closed, func(o *object) bool { return slices.Contains(parts, o.part) })
	for _, part := range parts {
		delete(s.parts, part)
	}
}

// Close forgets what is open; it is read again by the next task.
func (s *Sink) Close() error { return nil }

func (s *Sink) newEncoder() encoder {
	if p := s.config.Format.Parquet; p != nil {
		return format.NewColumns(p.Compression)
	}
	return &lines{gzip: s.gzip()}
}

func (s *Sink) gzip() bool {
	return s.config.Format.NDJSON != nil && s.config.Format.NDJSON.Compression == "gzip"
}

func (s *Sink) extension() string {
	switch {
	case s.config.Format.Parquet != nil:
		return "parquet"
	case s.gzip():
		return "ndjson.gz"
	}
	return "ndjson"
}

func (s *Sink) contentType() string {
	if s.config.Format.Parquet != nil {
		return "application/vnd.apache.parquet"
	}
	return "application/x-ndjson"
}
