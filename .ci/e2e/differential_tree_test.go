package e2e

import (
	"cmp"
	"fmt"
	"hash/crc32"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// notCompared are response fields that say where and how fast a broker runs.
var notCompared = map[string]bool{
	"Version": true, "UnknownTags": true, "ThrottleMillis": true, "Host": true, "Port": true, "ClusterID": true, "Rack": true,
	"LogDir": true, "TotalBytes": true, "UsableBytes": true, "LastTimestamp": true, "StartTimestamp": true, "ApiKeys": true, "FinalizedFeaturesEpoch": true,
}

// ofBroker stands for a time that the broker set.
const ofBroker = "of the broker"

// inWords stands for a text, which is each broker's own: what an error is says its code.
const inWords = "in words"

// identity are the fields that tell one element of an array from another, in the order they are looked for; arrays have no order.
var identity = []string{"Topic", "TopicID", "Partition", "Group", "MemberID", "TransactionalID", "ResourceType", "ResourceName", "Name", "User", "ProducerID", "Key", "Feature", "ApiKey"}

// flatten writes a response as lines "path = value" with every id replaced by its name.
func (p *diffPeer) flatten(o outcome) map[string]string {
	out := map[string]string{}
	if o.resp == nil {
		out["connection"] = o.err
		return out
	}
	p.flattenValue(out, "", "", reflect.ValueOf(o.resp).Elem())
	return out
}

func (p *diffPeer) flattenValue(out map[string]string, path, field string, v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			out[path] = "null"
			return
		}
		p.flattenValue(out, path, field, v.Elem())
	case reflect.Struct:
		for i := range v.NumField() {
			f := v.Type().Field(i)
			if !notCompared[f.Name] {
				p.flattenValue(out, strings.TrimPrefix(path+"."+f.Name, "."), f.Name, v.Field(i))
			}
		}
	case reflect.Slice:
		p.flattenSlice(out, path, field, v)
	default:
		out[path] = p.leaf(field, v)
	}
}

func (p *diffPeer) flattenSlice(out map[string]string, path, field string, v reflect.Value) {
	if b, ok := v.Interface().([]byte); ok {
		if field == "RecordBatches" {
			p.flattenRecords(out, path, b)
		} else {
			out[path] = fmt.Sprintf("%d bytes %08x", len(b), crc32.ChecksumIEEE(b))
		}
		return
	}
	if v.Type().Elem().Kind() != reflect.Struct {
		values := make([]string, v.Len())
		for i := range values {
			values[i] = p.leaf(field, v.Index(i))
		}
		slices.Sort(values)
		out[path] = strings.Join(values, ",")
		return
	}
	var elements []diffElement
	for i := range v.Len() {
		if parts := v.Index(i).FieldByName("Partitions"); parts.IsValid() && parts.Len() == 0 && !v.Index(i).FieldByName("ErrorCode").IsValid() {
			continue // a topic of which nothing is said
		}
		e := diffElement{id: p.identify(v.Index(i)), lines: map[string]string{}}
		p.flattenValue(e.lines, "", field, v.Index(i))
		elements = append(elements, e)
	}
	slices.SortFunc(elements, func(a, b diffElement) int {
		return cmp.Or(cmp.Compare(a.id, b.id), cmp.Compare(fmt.Sprint(a.lines), fmt.Sprint(b.lines)))
	})
	seen := map[string]int{}
	for _, e := range elements {
		id := e.id
		if n := seen[id]; n > 0 && !e.joins(out, path+"["+id+"].") {
			id = fmt.Sprintf("%s/%d", id, n)
		}
		seen[e.id]++
		for at, value := range e.lines {
			out[path+"["+id+"]."+at] = value
		}
	}
}

// diffElement is an element of an array, flattened.
type diffElement struct {
	id    string
	lines map[string]string
}

// joins tells whether the element says more of what is at a path, and nothing twice: Kafka names a topic again for partitions with an error.
func (e diffElement) joins(out map[string]string, path string) bool {
	more := false
	for at, value := range e.lines {
		said, again := out[path+at]
		partition := strings.HasPrefix(at, "Partitions[")
		if again == partition || again && said != value {
			return false
		}
		more = more || partition
	}
	return more
}

func (p *diffPeer) identify(v reflect.Value) string {
	if f := v.FieldByName("Entity"); f.IsValid() {
		return p.entity(f)
	}
	var parts []string
	for _, name := range identity {
		f := v.FieldByName(name)
		if !f.IsValid() {
			continue
		}
		if f.Kind() == reflect.Pointer {
			if f.IsNil() {
				continue
			}
			f = f.Elem()
		}
		if s := p.leaf(name, f); s != "" && s != "none" {
			parts = append(parts, s)
		}
	}
	return strings.Join(parts, " ")
}

// entity names whom a quota is for, by the last name of each type.
func (p *diffPeer) entity(parts reflect.Value) string {
	names := map[string]string{}
	for i := range parts.Len() {
		out := map[string]string{}
		p.flattenValue(out, "", "", parts.Index(i))
		names[out["Type"]] = out["Name"]
	}
	return fmt.Sprint(names) // in the order of the types
}

func (p *diffPeer) leaf(field string, v reflect.Value) string {
	switch value := v.Interface().(type) {
	case [16]byte:
		return p.topicSymbol(value)
	case string:
		if (field == "ErrorMessage" || field == "Documentation") && value != "" {
			return inWords
		}
		if s := p.symbols[value]; s != "" {
			return s
		}
		return value
	case int16:
		if field == "ErrorCode" {
			return errorName(value)
		}
	case int64:
		if (field == "Timestamp" || field == "LogAppendTime") && value > time.Now().Add(-30*time.Minute).UnixMilli() {
			return ofBroker // records that clients stamp are older
		}
		if s := p.pids[value]; s != "" && strings.Contains(field, "ProducerID") {
			return s
		}
	case int32:
		if field == "SessionID" && value != 0 {
			return "a session"
		}
	}
	return fmt.Sprint(v.Interface())
}

func (p *diffPeer) topicSymbol(id [16]byte) string {
	if s := p.topics[id]; s != "" {
		return s
	}
	if id == [16]byte{} {
		return "none"
	}
	return "an unknown topic id"
}

func errorName(code int16) string {
	if code == 0 {
		return "NONE"
	}
	if err := kerr.TypedErrorForCode(code); err != nil {
		return err.Message
	}
	return fmt.Sprint("error ", code)
}

// flattenRecords writes one line a whole batch; a broker may cut the last one short.
func (p *diffPeer) flattenRecords(out map[string]string, path string, b []byte) {
	for n := 0; ; n++ {
		one, rest, _ := p.describeBatch(b)
		if one == "" {
			return
		}
		out[fmt.Sprintf("%s[%d]", path, n)] = one
		b = rest
	}
}

// describeBatch describes the first batch of b, and returns what is behind it and the offset behind its last record; nothing when it is not whole.
func (p *diffPeer) describeBatch(b []byte) (one string, rest []byte, next int64) {
	var batch kmsg.RecordBatch
	if len(b) < 12 || batch.ReadFrom(b) != nil || batch.Length < 49 || len(b) < int(batch.Length)+12 {
		return "", nil, 0
	}
	producer := cmp.Or(p.pids[batch.ProducerID], fmt.Sprint(batch.ProducerID))
	body := batch.Records
	if len(body) > int(batch.Length)-49 {
		body = body[:batch.Length-49]
	}
	stamps := fmt.Sprintf("%d..%d", batch.FirstTimestamp, batch.MaxTimestamp)
	if batch.Attributes&(1<<3|1<<5) != 0 {
		stamps = ofBroker // LogAppendTime, or a marker
	}
	if batch.Attributes&(1<<5) != 0 && len(body) > 6 {
		body = body[:6] // the rest holds the coordinator's epoch
	}
	one = fmt.Sprintf("offset %d+%d epoch %d attributes %#x producer %s epoch %d sequence %d count %d stamps %s body %08x", batch.FirstOffset, batch.LastOffsetDelta,
		batch.PartitionLeaderEpoch, batch.Attributes, producer, batch.ProducerEpoch, batch.FirstSequence, batch.NumRecords, stamps, crc32.ChecksumIEEE(body))
	return one, b[batch.Length+12:], batch.FirstOffset + int64(batch.LastOffsetDelta) + 1
}

// difference is one path at which two answers differ.
type difference struct{ path, kafka, milldam string }

// compare lists where two answers differ; an element of an array that only one of them has is one difference.
func compare(kafka, milldam map[string]string) []difference {
	found := map[string]difference{}
	for path, want := range kafka {
		if got, ok := milldam[path]; !ok {
			element := missingElement(path, milldam)
			found[element] = difference{element, "has it", "(absent)"}
		} else if got != want {
			found[path] = difference{path, want, got}
		}
	}
	for path := range milldam {
		if _, ok := kafka[path]; !ok {
			element := missingElement(path, kafka)
			found[element] = difference{element, "(absent)", "has it"}
		}
	}
	diffs := slices.Collect(maps.Values(found))
	slices.SortFunc(diffs, func(a, b difference) int { return cmp.Compare(a.path, b.path) })
	return diffs
}

// missingElement is the outermost array element on a path that the other answer has nothing of, or the path.
func missingElement(path string, other map[string]string) string {
	for i := range path {
		if path[i] != ']' {
			continue
		}
		element := path[:i+1]
		known := false
		for p := range other {
			known = known || strings.HasPrefix(p, element)
		}
		if !known {
			return element
		}
	}
	return path
}

// cutLast cuts s around the last sep.
func cutLast(s string, sep byte) (before, after string, found bool) {
	if i := strings.LastIndexByte(s, sep); i >= 0 {
		return s[:i], s[i+1:], true
	}
	return s, "", false
}
