package stdout

import (
	"bytes"
	"encoding/json"
	"time"

	"github.com/milldam/milldam/connect"
)

// line is a record as the format json prints it. Value is JSON where the record's is, else text.
type line struct {
	Topic     string            `json:"topic"`
	Partition int32             `json:"partition"`
	Offset    int64             `json:"offset"`
	Timestamp time.Time         `json:"timestamp"`
	Key       *string           `json:"key"`
	Value     any               `json:"value"`
	Headers   map[string]string `json:"headers,omitempty"`
}

// appendLine appends a record with its line end. A record without a value is an empty line, or one that ends behind the key.
func (s *Sink) appendLine(text []byte, r *connect.Record) ([]byte, error) {
	switch s.config.Format {
	case "json":
		object, err := json.Marshal(asLine(r))
		if err != nil {
			return nil, err
		}
		text = append(text, object...)
	case "key-value":
		text = appendValue(append(append(text, r.Key...), '\t'), r.Value)
	default:
		text = appendValue(text, r.Value)
	}
	return append(text, '\n'), nil
}

// appendValue appends a value; JSON that spans lines is put on one.
func appendValue(text, value []byte) []byte {
	if bytes.IndexByte(value, '\n') >= 0 {
		var out bytes.Buffer
		if json.Compact(&out, value) == nil { // any other text is printed as it is
			value = out.Bytes()
		}
	}
	return append(text, value...)
}

func asLine(r *connect.Record) line {
	l := line{Topic: r.Topic, Partition: r.Partition, Offset: r.Offset, Timestamp: r.Timestamp.UTC()}
	if r.Key != nil {
		key := string(r.Key)
		l.Key = &key
	}
	switch {
	case r.Value == nil:
	case json.Valid(r.Value):
		l.Value = json.RawMessage(r.Value)
	default:
		l.Value = string(r.Value)
	}
	for _, h := range r.Headers {
		if l.Headers == nil {
			l.Headers = map[string]string{}
		}
		l.Headers[h.Key] = string(h.Value)
	}
	return l
}
