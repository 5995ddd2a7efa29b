package elasticsearch

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/milldam/milldam/connect"
)

// action is one line of a bulk request, and its document.
type action struct {
	record  int // index in the batch
	index   string
	id      string
	version int64
	source  []byte // a JSON object; nil deletes
}

// appendBulk appends the action to a bulk body: its header line, and its document on one line.
func (s *Sink) appendBulk(body []byte, a action) ([]byte, error) {
	verb := s.config.Operation
	if a.source == nil {
		verb = "delete"
	}
	body = append(append(body, `{"`...), verb...)
	body = append(body, `":{"_index":`...)
	body = appendJSONString(body, a.index)
	body = append(body, `,"_id":`...)
	body = appendJSONString(body, a.id)
	if s.versioned() {
		body = append(body, `,"version":`...)
		body = strconv.AppendInt(body, a.version, 10)
		body = append(append(append(body, `,"version_type":"`...), s.config.Versioning...), '"')
	}
	body = append(body, "}}\n"...)
	if a.source == nil {
		return body, nil
	}
	if bytes.IndexByte(a.source, '\n') < 0 {
		return append(append(body, a.source...), '\n'), nil
	}
	var line bytes.Buffer
	if err := json.Compact(&line, a.source); err != nil {
		return nil, fmt.Errorf("compact the document: %w", err)
	}
	return append(append(body, line.Bytes()...), '\n'), nil
}

// appendJSONString appends s in quotes; plain ASCII, which nearly all ids are, without a detour.
func appendJSONString(dst []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < 0x20 || c >= 0x7f || c == '"' || c == '\\' {
			quoted, err := json.Marshal(s)
			if err != nil { // a string always marshals
				panic(err)
			}
			return append(dst, quoted...)
		}
	}
	return append(append(append(dst, '"'), s...), '"')
}

// reply is what filterPath leaves of a bulk response.
type reply struct {
	Errors bool                  `json:"errors"`
	Items  []map[string]itemDone `json:"items"`
}

// itemDone is the outcome of one action.
type itemDone struct {
	Status int        `json:"status"`
	Error  *itemError `json:"error"`
}

// itemError is why an action failed.
type itemError struct {
	Type   string `json:"type"`
	Reason string `json:"reason"`
	Cause  *struct {
		Type   string `json:"type"`
		Reason string `json:"reason"`
	} `json:"caused_by"`
}

// filterPath keeps the bulk response small: reading whole ones costs more than making the request.
const filterPath = "errors,items.*.status,items.*.error.type,items.*.error.reason,items.*.error.caused_by.type,items.*.error.caused_by.reason"

// allWell is how a filtered response starts in which no action failed.
var allWell = []byte(`{"errors":false`)

func (e *itemError) Error() string {
	if e == nil {
		return "no reason given"
	}
	text := e.Type + ": " + e.Reason
	if e.Cause != nil {
		text += " (" + e.Cause.Type + ": " + e.Cause.Reason + ")"
	}
	return text
}

// fault is what an item's status and error mean for the record.
type fault int

const (
	stored   fault = iota
	conflict       // a document with this or a later version is there
	refused
)

// classify decides what becomes of a record from the status and the error type of its item. Types are compared whole: a message may
// say anything.
func classify(done itemDone) (fault, connect.Outcome) {
	kind := ""
	if done.Error != nil {
		kind = done.Error.Type
	}
	switch {
	case done.Status < 300, done.Error == nil && done.Status == 404: // a delete of what is not there
		return stored, 0
	case done.Status == 409:
		return conflict, 0
	case done.Status == 408, done.Status == 429, done.Status >= 500,
		kind == "es_rejected_execution_exception", kind == "rejected_execution_exception",
		kind == "cluster_block_exception": // a full disk makes indices read-only until there is room again
		return refused, connect.Retry
	case done.Status == 401, done.Status == 403, done.Status == 404:
		return refused, connect.Block
	}
	return refused, connect.Poison
}
