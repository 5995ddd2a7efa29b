package worker

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/milldam/milldam/connect"
	"github.com/milldam/milldam/core/client"
)

// Headers of a record in a dead-letter topic; those it had come first. They are the names the streams package uses.
const (
	HeaderError     = "milldam.error"
	HeaderOperator  = "milldam.operator"
	HeaderTopic     = "milldam.topic"
	HeaderPartition = "milldam.partition"
	HeaderOffset    = "milldam.offset"
)

// deadLetters writes records that can never be written to where they belong.
type deadLetters struct {
	options  client.Options
	topic    string
	pipeline string
	client   *kgo.Client // made for the first letter
}

// maxLetterBytes is the largest record that is sent to a dead-letter topic, which may be set to take what the topic itself did not.
const maxLetterBytes = 64 << 20

// write makes failed records durable in the dead-letter topic. Without one, the first failure is returned.
func (d *deadLetters) write(ctx context.Context, operator string, records []connect.Record, failed []connect.RecordError) error {
	if len(failed) == 0 {
		return nil
	}
	if d.topic == "" {
		f := failed[0]
		return connect.Permanent(fmt.Errorf("%s: %w; mend the record or the pipeline, or name an errors.dead_letter topic, where such records go", place(records[f.Index]), f.Err))
	}
	if d.client == nil {
		var err error
		if d.client, err = client.New(d.options, kgo.ProducerBatchMaxBytes(maxLetterBytes)); err != nil {
			return fmt.Errorf("make a client: %w", err)
		}
	}
	for _, f := range failed {
		// One by one, so that each makes a batch of its own: together they could be too large where each is not.
		err := d.client.ProduceSync(ctx, d.letter(operator, records[f.Index], f.Err)).FirstErr()
		switch {
		case isRefusedRecord(err):
			return connect.Permanent(fmt.Errorf("%s cannot be written (%w), nor can the dead-letter topic %s take it: %w; raise its max.message.bytes",
				place(records[f.Index]), f.Err, d.topic, err))
		case err != nil:
			return fmt.Errorf("write to the dead-letter topic %s: %w", d.topic, err)
		}
	}
	return nil
}

func (d *deadLetters) close() {
	if d.client != nil {
		d.client.Close()
	}
}

func (d *deadLetters) letter(operator string, r connect.Record, cause error) *kgo.Record {
	headers := make([]kgo.RecordHeader, 0, len(r.Headers)+5)
	for _, h := range r.Headers {
		headers = append(headers, kgo.RecordHeader{Key: h.Key, Value: h.Value})
	}
	headers = append(headers, kgo.RecordHeader{Key: HeaderError, Value: []byte(cause.Error())},
		kgo.RecordHeader{Key: HeaderOperator, Value: []byte(d.pipeline + "/" + operator)})
	if r.Topic != "" {
		headers = append(headers, kgo.RecordHeader{Key: HeaderTopic, Value: []byte(r.Topic)},
			kgo.RecordHeader{Key: HeaderPartition, Value: strconv.AppendInt(nil, int64(r.Partition), 10)},
			kgo.RecordHeader{Key: HeaderOffset, Value: strconv.AppendInt(nil, r.Offset, 10)})
	}
	return &kgo.Record{Topic: d.topic, Key: r.Key, Value: r.Value, Headers: headers, Timestamp: r.Timestamp}
}

// place says which record it is: by its place in a topic, or by what it holds where it comes from a source.
func place(r connect.Record) string {
	if r.Topic != "" {
		return fmt.Sprintf("%s-%d at offset %d", r.Topic, r.Partition, r.Offset)
	}
	return fmt.Sprintf("record %.80q", r.Value)
}

// refusedRecord are the broker's errors that are about one record and stay.
var refusedRecord = []error{kerr.MessageTooLarge, kerr.InvalidRecord, kerr.RecordListTooLarge, kerr.InvalidTimestamp}

func isRefusedRecord(err error) bool {
	for _, refused := range refusedRecord {
		if errors.Is(err, refused) {
			return true
		}
	}
	return false
}
