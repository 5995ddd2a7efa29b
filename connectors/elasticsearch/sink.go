package elasticsearch

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"github.com/olivere/elastic/v7"

	"github.com/milldam/milldam/connect"
	"github.com/milldam/milldam/connect/expression"
)

// Sink writes records as documents. See the package comment.
type Sink struct {
	config  Config
	urls    []string
	headers http.Header
	client  *elastic.Client
	task    connect.SinkTask
	message *expression.Message

	topics  map[string]string            // ids of topics, by name
	claimed map[string]map[string]string // by index, the topics its mapping is known to name
	body    []byte
}

// New returns the sink of a configuration.
func New(c Config) (connect.Sink, error) {
	return &Sink{config: c, urls: c.URLs, message: expression.NewMessage(expression.NewRuntime(0)),
		topics: map[string]string{}, claimed: map[string]map[string]string{}}, nil
}

// Open connects and asks the server who it is.
func (s *Sink) Open(ctx context.Context, task connect.SinkTask) error {
	s.task = task
	opts := []elastic.ClientOptionFunc{elastic.SetURL(s.urls...), elastic.SetSniff(false), elastic.SetHealthcheck(false)}
	if s.config.Username != "" {
		opts = append(opts, elastic.SetBasicAuth(s.config.Username, string(s.config.Password)))
	}
	if s.config.APIKey != "" {
		s.headers = http.Header{"Authorization": {"ApiKey " + string(s.config.APIKey)}}
	}
	client, err := elastic.NewSimpleClient(opts...)
	if err != nil {
		return connect.Permanent(fmt.Errorf("make a client for %s: %w", s.where(), err))
	}
	s.client = client
	_, err = s.request(ctx, "GET", "/", nil, "")
	return err
}

// Batch is how many documents one bulk request takes.
func (s *Sink) Batch() connect.Batch { return s.config.Batch }

func (s *Sink) versioned() bool {
	return s.config.Versioning != "off" && s.config.Operation != "create"
}

// Write sends the batch as one bulk request, or as several where the server finds it too large.
func (s *Sink) Write(ctx context.Context, b connect.SinkBatch) error {
	var failed []connect.RecordError
	var actions []action
	for i := range b.Records {
		a, skip, err := s.action(&b.Records[i])
		switch {
		case err != nil:
			failed = append(failed, connect.RecordError{Index: i, Outcome: connect.Poison, Err: err})
		case !skip:
			a.record = i
			actions = append(actions, a)
		}
	}
	for _, a := range actions {
		if err := s.claim(ctx, a.index, b.Topic); err != nil {
			return err
		}
	}
	more, err := s.bulk(ctx, actions)
	if err != nil {
		return err
	}
	if failed = append(failed, more...); len(failed) > 0 {
		return &connect.BatchError{Records: failed}
	}
	s.task.Ack(b.TopicPartition, b.Next)
	return nil
}

var errTombstone = errors.New("a record without a value, and on_tombstone is fail")

// action says what is to be done for a record; skip is true when nothing is.
func (s *Sink) action(r *connect.Record) (a action, skip bool, err error) {
	s.message.Reset(*r)
	if r.Value == nil {
		switch s.config.OnTombstone {
		case "ignore":
			return action{}, true, nil
		case "fail":
			return action{}, false, errTombstone
		}
	} else if value := bytes.TrimLeft(r.Value, " \t\r\n"); len(value) == 0 || value[0] != '{' || !json.Valid(value) {
		return action{}, false, fmt.Errorf("the value is no JSON object: %.60q", r.Value)
	}
	a.source = r.Value
	if a.index, err = s.config.Index.Text(s.message, r.Timestamp); err != nil {
		return action{}, false, fmt.Errorf("index: %w", err)
	}
	if a.id, err = s.id(r); err != nil {
		return action{}, false, err
	}
	a.version = r.Offset
	if !s.config.Version.IsZero() {
		v, err := s.config.Version.Eval(s.message)
		if err != nil {
			return action{}, false, fmt.Errorf("version: %w", err)
		}
		switch n := v.(type) {
		case int64:
			a.version = n
		case int:
			a.version = int64(n)
		default:
			return action{}, false, fmt.Errorf("version: %v is no whole number", v)
		}
	}
	return a, false, nil
}

// maxIDBytes is the longest id Elasticsearch takes.
const maxIDBytes = 512

func (s *Sink) id(r *connect.Record) (string, error) {
	if s.config.ID.IsZero() {
		return r.Topic + "-" + strconv.Itoa(int(r.Partition)) + "-" + strconv.FormatInt(r.Offset, 10), nil
	}
	id, ok, err := s.config.ID.Text(s.message)
	switch {
	case err != nil:
		return "", fmt.Errorf("id: %w", err)
	case !ok || id == "" || len(id) > maxIDBytes:
		return "", fmt.Errorf("id: %d bytes, where 1 to %d are allowed", len(id), maxIDBytes)
	}
	return id, nil
}

// bulk performs the actions and returns the records that failed. A request the server finds too large is sent in halves.
func (s *Sink) bulk(ctx context.Context, actions []action) ([]connect.RecordError, error) {
	if len(actions) == 0 {
		return nil, nil
	}
	var err error
	s.body = s.body[:0]
	for _, a := range actions {
		if s.body, err = s.appendBulk(s.body, a); err != nil {
			return nil, err
		}
	}
	answer, err := s.request(ctx, "POST", "/_bulk?filter_path="+filterPath, s.body, "application/x-ndjson")
	var refused *elastic.Error
	if errors.As(err, &refused) && refused.Status == http.StatusRequestEntityTooLarge {
		return s.halves(ctx, actions, err)
	}
	if err != nil {
		return nil, err
	}
	return s.outcomes(actions, answer)
}

// outcomes reads the answer to a bulk request of actions: the records that were not written. An answer that does not tell of each action is an error, and
// the request is sent again.
func (s *Sink) outcomes(actions []action, answer []byte) ([]connect.RecordError, error) {
	if bytes.HasPrefix(answer, allWell) {
		return nil, nil
	}
	var r reply
	if err := json.Unmarshal(answer, &r); err != nil {
		return nil, fmt.Errorf("read the answer of %s to a bulk request: %w", s.where(), err)
	}
	if len(r.Items) != len(actions) {
		return nil, fmt.Errorf("%s answered %d items to a bulk request of %d: is it Elasticsearch?", s.where(), len(r.Items), len(actions))
	}
	for i, item := range r.Items {
		if len(item) != 1 {
			return nil, fmt.Errorf("%s says %d things of document %s in its answer to a bulk request: is it Elasticsearch?", s.where(), len(item), actions[i].id)
		}
		for _, done := range item {
			if done.Status < 200 || done.Status > 599 {
				return nil, fmt.Errorf("%s gives document %s status %d in its answer to a bulk request: is it Elasticsearch?", s.where(), actions[i].id, done.Status)
			}
		}
	}
	return s.failures(actions, r.Items), nil
}

func (s *Sink) halves(ctx context.Context, actions []action, tooLarge error) ([]connect.RecordError, error) {
	if len(actions) == 1 {
		return []connect.RecordError{{Index: actions[0].record, Outcome: connect.Poison, Err: tooLarge}}, nil
	}
	half := len(actions) / 2
	first, err := s.bulk(ctx, actions[:half])
	if err != nil {
		return nil, err
	}
	second, err := s.bulk(ctx, actions[half:])
	return append(first, second...), err
}

// failures turns the items of an answer into the records that were not written.
func (s *Sink) failures(actions []action, items []map[string]itemDone) []connect.RecordError {
	var failed []connect.RecordError
	conflicts := 0
	for i, item := range items {
		for _, done := range item { // one entry, named after the operation
			switch f, outcome := classify(done); f {
			case conflict:
				conflicts++
			case refused:
				a := actions[i]
				failed = append(failed, connect.RecordError{Index: a.record, Outcome: outcome,
					Err: fmt.Errorf("document %s of index %s on %s: status %d, %w", a.id, a.index, s.where(), done.Status, done.Error)})
			}
		}
	}
	if conflicts > 0 {
		s.task.Logger.Debug("documents with this or a later version were there already", "conflicts", conflicts)
	}
	return failed
}

// Flush has nothing to do: what Write took is written.
func (s *Sink) Flush(context.Context, connect.FlushReason) error { return nil }

// Buffered is 0: Write keeps nothing.
func (s *Sink) Buffered() int64 { return 0 }

// Revoke has nothing to forget.
func (s *Sink) Revoke([]connect.TopicPartition) {}

// Close ends idle connections.
func (s *Sink) Close() error {
	if s.client != nil {
		s.client.Stop()
	}
	return nil
}
