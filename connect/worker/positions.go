package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/milldam/milldam/connect"
	"github.com/milldam/milldam/core/client"
)

// PositionsTopic is the compacted topic where the positions of sources lie. A record's key is a positionKey, its value a positionValue.
const PositionsTopic = "__source_positions"

type positionKey struct {
	Pipeline  string `json:"pipeline"`
	Partition string `json:"partition"` // of the source
}

type positionValue struct {
	Version  int    `json:"version"`
	Position []byte `json:"position"`
}

// positionVersion is the version of positionValue that is written.
const positionVersion = 1

// createPositions makes the topic where it is not there.
func createPositions(ctx context.Context, cl *kgo.Client) error {
	policy := "compact"
	r, err := kadm.NewClient(cl).CreateTopic(ctx, 1, -1, map[string]*string{"cleanup.policy": &policy}, PositionsTopic)
	if err == nil {
		err = r.Err
	}
	if err != nil && !errors.Is(err, kerr.TopicAlreadyExists) {
		return fmt.Errorf("create topic %s: %w", PositionsTopic, err)
	}
	return nil
}

// loadPositions reads the positions of a pipeline's source, by source partition.
//
// It reads what is not committed too, and finds out by the markers: a reader of committed records would have to wait for the transactions of
// other pipelines, whose tasks may be dead, and may come back only after this one.
func loadPositions(ctx context.Context, o client.Options, pipeline string) (map[string][]byte, error) {
	cl, err := client.New(o, kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{PositionsTopic: {0: kgo.NewOffset().AtStart()}}), kgo.KeepControlRecords())
	if err != nil {
		return nil, connect.Permanent(fmt.Errorf("make a client: %w", err))
	}
	defer cl.Close()
	ends, err := kadm.NewClient(cl).ListEndOffsets(ctx, PositionsTopic)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		return nil, fmt.Errorf("look up the end of %s: %w", PositionsTopic, err)
	}
	end, _ := ends.Lookup(PositionsTopic, 0)
	positions := committedPositions{pipeline: pipeline, positions: map[string][]byte{}, open: map[int64][]*kgo.Record{}}
	for read := int64(0); read < end.Offset; {
		fetches := cl.PollFetches(ctx)
		if err := fetches.Err0(); err != nil {
			return nil, fmt.Errorf("read %s: %w", PositionsTopic, err)
		}
		for r := range fetches.RecordsAll() {
			read = r.Offset + 1
			if err := positions.take(r); err != nil {
				return nil, err
			}
		}
	}
	return positions.positions, nil
}

// committedPositions are the positions of a pipeline in the records taken so far, and those whose transaction has not ended.
type committedPositions struct {
	pipeline  string
	positions map[string][]byte
	open      map[int64][]*kgo.Record // by producer id
}

func (p *committedPositions) take(r *kgo.Record) error {
	switch {
	case r.Attrs.IsControl():
		open := p.open[r.ProducerID]
		delete(p.open, r.ProducerID)
		if !isCommit(r) {
			return nil
		}
		for _, r := range open {
			if err := addPosition(p.positions, p.pipeline, r); err != nil {
				return err
			}
		}
		return nil
	case r.Attrs.IsTransactional():
		p.open[r.ProducerID] = append(p.open[r.ProducerID], r)
		return nil
	}
	return addPosition(p.positions, p.pipeline, r)
}

// isCommit tells whether the marker of a transaction's end says that it is committed.
func isCommit(marker *kgo.Record) bool {
	var key kmsg.ControlRecordKey
	return key.ReadFrom(marker.Key) == nil && key.Type == kmsg.ControlRecordKeyTypeCommit
}

func addPosition(positions map[string][]byte, pipeline string, r *kgo.Record) error {
	where := func(err error) error {
		return connect.Permanent(fmt.Errorf("%s-%d at offset %d is no source position: %w; delete the record's key, and the source begins anew", r.Topic, r.Partition, r.Offset, err))
	}
	var key positionKey
	if err := json.Unmarshal(r.Key, &key); err != nil {
		return where(err)
	}
	if key.Pipeline != pipeline {
		return nil
	}
	if r.Value == nil {
		delete(positions, key.Partition)
		return nil
	}
	var value positionValue
	if err := json.Unmarshal(r.Value, &value); err != nil {
		return where(err)
	}
	if value.Version != positionVersion {
		return where(fmt.Errorf("it has version %d, known is %d", value.Version, positionVersion))
	}
	positions[key.Partition] = value.Position
	return nil
}

func positionRecord(pipeline, partition string, position []byte) (*kgo.Record, error) {
	key, err := json.Marshal(positionKey{pipeline, partition})
	if err != nil {
		return nil, err
	}
	value, err := json.Marshal(positionValue{positionVersion, position})
	if err != nil {
		return nil, err
	}
	return &kgo.Record{Topic: PositionsTopic, Partition: 0, Key: key, Value: value}, nil
}
