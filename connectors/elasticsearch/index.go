package elasticsearch

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"strings"

	"github.com/olivere/elastic/v7"

	"github.com/milldam/milldam/connect"
)

// mappingMeta is where an index says which topics its documents came from: mappings._meta.milldam.topics, topic name to topic id.
// A topic made anew under its old name starts again at offset 0, so documents of the old one would win every comparison of versions
// and the new records would be lost without a word. The id tells the two apart.
type mappingMeta struct {
	Milldam struct {
		Topics map[string]string `json:"topics,omitempty"`
	} `json:"milldam"`
}

// claim makes sure, once for each index and topic, that the index is there and that its documents of topic are of this very topic.
func (s *Sink) claim(ctx context.Context, index, topic string) error {
	id, err := s.topicID(ctx, topic)
	if err != nil {
		return err
	}
	if s.claimed[index][topic] == id {
		return nil
	}
	topics, exists, err := s.topicsOf(ctx, index)
	if err != nil {
		return err
	}
	switch old := topics[topic]; {
	case old == id:
	case old != "":
		return connect.Permanent(fmt.Errorf("index %s on %s holds documents of an earlier topic %q (id %s); the topic that is there now (id %s) starts "+
			"again at offset 0, so its records would lose against them: delete the index, or write to another one, or set versioning: \"off\"",
			index, s.where(), topic, old, id))
	default:
		topics = maps.Clone(topics)
		if topics == nil {
			topics = map[string]string{}
		}
		topics[topic] = id
		if err := s.writeTopics(ctx, index, topics, exists); err != nil {
			return err
		}
	}
	if s.claimed[index] == nil {
		s.claimed[index] = map[string]string{}
	}
	s.claimed[index][topic] = id
	return nil
}

// topicID is the id of topic as hexadecimal text.
func (s *Sink) topicID(ctx context.Context, topic string) (string, error) {
	if id, ok := s.topics[topic]; ok {
		return id, nil
	}
	raw, err := s.task.TopicID(ctx, topic)
	if err != nil {
		return "", fmt.Errorf("look up the id of topic %s: %w", topic, err)
	}
	s.topics[topic] = hex.EncodeToString(raw[:])
	return s.topics[topic], nil
}

// topicsOf reads the topics an index has documents of. An alias or data stream of several indices gives those of all.
func (s *Sink) topicsOf(ctx context.Context, index string) (topics map[string]string, exists bool, err error) {
	body, err := s.request(ctx, "GET", "/"+url.PathEscape(index)+"/_mapping", nil, "")
	var failed *elastic.Error
	if errors.As(err, &failed) && failed.Status == 404 {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	var reply map[string]struct {
		Mappings struct {
			Meta mappingMeta `json:"_meta"`
		} `json:"mappings"`
	}
	if err := json.Unmarshal(body, &reply); err != nil {
		return nil, false, fmt.Errorf("read the mapping of index %s: %w", index, err)
	}
	topics = map[string]string{}
	for _, one := range reply {
		maps.Copy(topics, one.Mappings.Meta.Milldam.Topics)
	}
	return topics, true, nil
}

// writeTopics stores the topics in the index' mapping; it makes the index when there is none.
func (s *Sink) writeTopics(ctx context.Context, index string, topics map[string]string, exists bool) error {
	var meta mappingMeta
	meta.Milldam.Topics = topics
	path, body := "/"+url.PathEscape(index)+"/_mapping", any(map[string]any{"_meta": meta})
	if !exists {
		path, body = "/"+url.PathEscape(index), map[string]any{"mappings": body}
	}
	raw, err := json.Marshal(body)
	if err != nil {
		return err
	}
	_, err = s.request(ctx, "PUT", path, raw, "application/json")
	var failed *elastic.Error
	if !exists && errors.As(err, &failed) && failed.Details != nil && failed.Details.Type == "resource_already_exists_exception" {
		return fmt.Errorf("index %s was made by another at the same time: %w", index, err) // tried again, and then found
	}
	return err
}

// request performs one request and returns its body. Errors say which server did not do what and, as *elastic.Error, why.
func (s *Sink) request(ctx context.Context, method, path string, body []byte, contentType string) ([]byte, error) {
	opts := elastic.PerformRequestOptions{Method: method, ContentType: contentType, Headers: s.headers}
	opts.Path, opts.Params = splitQuery(path)
	if body != nil {
		opts.Body = string(body)
	}
	resp, err := s.client.PerformRequest(ctx, opts)
	if err == nil {
		return resp.Body, nil
	}
	return nil, s.explain(method, path, err)
}

func splitQuery(path string) (string, url.Values) {
	path, query, _ := strings.Cut(path, "?")
	params, err := url.ParseQuery(query)
	if err != nil { // our own constants
		panic(err)
	}
	return path, params
}

// explain wraps the error of a request with what, where and what to do.
func (s *Sink) explain(method, path string, err error) error {
	what := fmt.Sprintf("%s %s on %s", method, path, s.where())
	var failed *elastic.Error
	switch {
	case !errors.As(err, &failed):
		return fmt.Errorf("%s: %w; is Elasticsearch running there? set urls, or the variable it comes from, to its address", what, err)
	case failed.Status == 401 || failed.Status == 403:
		return connect.Permanent(fmt.Errorf("%s was refused (%d): %w; check username and password or api_key, and that they may write there", what, failed.Status, err))
	}
	return fmt.Errorf("%s: %w", what, err)
}

// where lists the servers, without credentials.
func (s *Sink) where() string { return strings.Join(s.urls, ", ") }
