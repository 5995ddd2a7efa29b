package main

import (
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// recordFormat checks a format and replaces its escapes.
func recordFormat(f string) (string, error) {
	f = strings.NewReplacer(`\n`, "\n", `\t`, "\t").Replace(f)
	for i := 0; i < len(f); i++ {
		if f[i] != '%' {
			continue
		}
		if i++; i == len(f) || !strings.ContainsRune("tpoTkvh%", rune(f[i])) {
			return "", codedf(exitUsage, "-f: unknown letter after %% in %q: t p o T k v h %%", f)
		}
	}
	return f, nil
}

func (a *app) recordText(format string, r *kgo.Record) []byte {
	if a.output == "json" {
		return recordJSON(r)
	}
	var out []byte
	for i := 0; i < len(format); i++ {
		if format[i] != '%' {
			out = append(out, format[i])
			continue
		}
		i++
		switch format[i] {
		case 't':
			out = append(out, r.Topic...)
		case 'p':
			out = strconv.AppendInt(out, int64(r.Partition), 10)
		case 'o':
			out = strconv.AppendInt(out, r.Offset, 10)
		case 'T':
			out = r.Timestamp.UTC().AppendFormat(out, time.RFC3339Nano)
		case 'k':
			out = append(out, r.Key...)
		case 'v':
			out = append(out, r.Value...)
		case 'h':
			for j, h := range r.Headers {
				if j > 0 {
					out = append(out, ',')
				}
				out = append(append(append(out, h.Key...), '='), h.Value...)
			}
		case '%':
			out = append(out, '%')
		}
	}
	return out
}

// recordJSON is a record as one line of JSON. Keys and values that are JSON stay so, others are text.
func recordJSON(r *kgo.Record) []byte {
	raw := func(b []byte) any {
		switch {
		case b == nil:
			return nil
		case json.Valid(b):
			return json.RawMessage(b)
		}
		return string(b)
	}
	headers := map[string]string{}
	for _, h := range r.Headers {
		headers[h.Key] = string(h.Value)
	}
	line, err := json.Marshal(struct {
		Topic     string            `json:"topic"`
		Partition int32             `json:"partition"`
		Offset    int64             `json:"offset"`
		Timestamp string            `json:"timestamp"`
		Key       any               `json:"key"`
		Value     any               `json:"value"`
		Headers   map[string]string `json:"headers,omitempty"`
	}{r.Topic, r.Partition, r.Offset, r.Timestamp.UTC().Format(time.RFC3339Nano), textOf(r.Key), raw(r.Value), headers})
	if err != nil { // everything in it marshals
		panic(err)
	}
	return append(line, '\n')
}

func textOf(b []byte) any {
	if b == nil {
		return nil
	}
	return string(b)
}
