package coordinator

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/milldam/milldam/core/record"
)

// Inspected is what a record of a topic of the coordinators says, for people and tools that look into its files.
type Inspected struct {
	Kind  string `json:"kind"`
	Key   any    `json:"key"`
	Value any    `json:"value"` // nil: what the key names is gone
}

// Kinds of records.
const (
	kindOffset  = "offset"
	kindGroup   = "group"
	kindTxn     = "transactional id"
	kindUnknown = "unknown"
)

// Fields of keys and values, in the words of Kafka's tools.
type (
	inspectedKey struct {
		Group           string `json:"group,omitempty"`
		Topic           string `json:"topic,omitempty"`
		Partition       *int32 `json:"partition,omitempty"`
		Member          string `json:"member,omitempty"`
		Regex           string `json:"regex,omitempty"`
		TransactionalID string `json:"transactionalId,omitempty"`
		Version         *int16 `json:"version,omitempty"` // of a kind that is not known
	}
	inspectedOffset struct {
		Offset      int64  `json:"offset"`
		LeaderEpoch int32  `json:"leaderEpoch"`
		Metadata    string `json:"metadata"`
		Committed   int64  `json:"committed"`
		TopicID     string `json:"topicId,omitempty"`
	}
	inspectedGroup struct {
		ProtocolType string            `json:"protocolType"`
		Generation   int32             `json:"generation"`
		Protocol     *string           `json:"protocol"`
		Leader       *string           `json:"leader"`
		StateTime    int64             `json:"stateTime"`
		Members      []inspectedMember `json:"members"`
	}
	inspectedMember struct {
		Member       string             `json:"member"`
		Instance     *string            `json:"instance,omitempty"`
		Client       string             `json:"client"`
		Host         string             `json:"host"`
		Rack         *string            `json:"rack,omitempty"`
		SessionMs    int32              `json:"sessionMs,omitempty"`
		RebalanceMs  int32              `json:"rebalanceMs"`
		Subscription []string           `json:"subscription"`
		Regex        string             `json:"regex,omitempty"`
		Assignor     *string            `json:"assignor,omitempty"`
		Protocols    []string           `json:"protocols,omitempty"` // of a member of the classic protocol in a consumer group
		Assignment   map[string][]int32 `json:"assignment,omitempty"`
	}
	inspectedEpoch struct {
		Epoch        int32  `json:"epoch"`
		MetadataHash *int64 `json:"metadataHash,omitempty"`
		Time         *int64 `json:"time,omitempty"`
	}
	inspectedAssignment struct {
		State         string             `json:"state,omitempty"`
		Epoch         *int32             `json:"epoch,omitempty"`
		PreviousEpoch *int32             `json:"previousEpoch,omitempty"`
		Assignment    map[string][]int32 `json:"assignment"` // by topic id
		Revoking      map[string][]int32 `json:"revoking,omitempty"`
	}
	inspectedRegex struct {
		Topics  []string `json:"topics"`
		Version int64    `json:"version"`
		Time    int64    `json:"time"`
	}
	inspectedTxn struct {
		ProducerID         int64              `json:"producerId"`
		ProducerEpoch      int16              `json:"producerEpoch"`
		PreviousProducerID int64              `json:"previousProducerId"`
		NextProducerID     int64              `json:"nextProducerId"`
		State              string             `json:"state"`
		TimeoutMs          int32              `json:"timeoutMs"`
		Partitions         map[string][]int32 `json:"partitions"`
		Started            int64              `json:"started"`
		Updated            int64              `json:"updated"`
		ClientVersion      int16              `json:"clientVersion"`
	}
)

var errOffsetsRecord = errors.New("damaged record of the offsets topic")

// InspectOffsetsRecord says what a record of the offsets topic means. A record of a kind that is known here, and that cannot be read, is an error.
func InspectOffsetsRecord(key, value []byte) (Inspected, error) {
	if len(key) < 2 {
		return Inspected{}, fmt.Errorf("%w: a key of %d bytes", errOffsetsRecord, len(key))
	}
	version := int16(binary.BigEndian.Uint16(key))
	e, ok := decode(key, value)
	switch {
	case ok && e.isOffset:
		return inspectOffset(e), nil
	case ok && e.fact != nil:
		return inspectFact(e.group, e.fact), nil
	case ok:
		return inspectGroup(e), nil
	case version >= 0 && version <= groupKeyVersion, keyNames[version] > 0:
		return Inspected{}, fmt.Errorf("%w: a key of version %d with its value cannot be read", errOffsetsRecord, version)
	}
	return Inspected{Kind: kindUnknown, Key: inspectedKey{Version: &version}}, nil
}

// InspectTxnRecord says what a record of the transaction topic means. A record of a kind that is known here, and that cannot be read, is an error.
func InspectTxnRecord(key, value []byte) (Inspected, error) {
	e, ok, err := decodeTxn(key, value)
	if err != nil {
		return Inspected{}, err
	}
	if !ok {
		version := int16(binary.BigEndian.Uint16(key))
		return Inspected{Kind: kindUnknown, Key: inspectedKey{Version: &version, TransactionalID: e.id}}, nil
	}
	out := Inspected{Kind: kindTxn, Key: inspectedKey{TransactionalID: e.id}}
	if v := e.value; v != nil {
		list := map[string][]int32{}
		for _, p := range v.partitions {
			list[p.Topic] = append(list[p.Topic], p.Partition)
		}
		out.Value = inspectedTxn{int64(v.producerID), int16(v.epoch), int64(v.previousProducerID), int64(v.nextProducerID), v.state.String(), v.timeoutMs, list,
			v.startedMs, v.updatedMs, v.version}
	}
	return out, nil
}

func idText(id record.TopicID) string { return base64.RawURLEncoding.EncodeToString(id[:]) }

func inspectOffset(e entry) Inspected {
	out := Inspected{Kind: kindOffset, Key: inspectedKey{Group: e.group, Topic: e.key.topic, Partition: &e.key.partition}}
	if o := e.offset; o != nil {
		v := inspectedOffset{Offset: o.offset, LeaderEpoch: o.leaderEpoch, Metadata: o.metadata, Committed: o.committed}
		if o.topic != (record.TopicID{}) {
			v.TopicID = idText(o.topic)
		}
		out.Value = v
	}
	return out
}

// inspectGroup is of a group of the classic type.
func inspectGroup(e entry) Inspected {
	out := Inspected{Kind: kindGroup, Key: inspectedKey{Group: e.group}}
	if e.metadata == nil {
		return out
	}
	g := e.metadata
	v := inspectedGroup{g.ProtocolType, g.Generation, g.Protocol, g.Leader, g.CurrentStateTimestamp, []inspectedMember{}}
	for _, m := range g.Members {
		member := inspectedMember{Member: m.MemberID, Instance: m.InstanceID, Client: m.ClientID, Host: m.ClientHost, SessionMs: m.SessionTimeoutMillis, RebalanceMs: m.RebalanceTimeoutMillis}
		if g.ProtocolType == "consumer" { // else only the clients know what the bytes mean
			var assignment kmsg.ConsumerMemberAssignment
			if s, ok := subscriptionOf(m.Subscription); ok {
				member.Subscription = s.Topics
			}
			if assignment.ReadFrom(m.Assignment) == nil {
				member.Assignment = map[string][]int32{}
				for _, t := range assignment.Topics {
					member.Assignment[t.Topic] = t.Partitions
				}
			}
		}
		v.Members = append(v.Members, member)
	}
	out.Value = v
	return out
}

// inspectFact is of a group of the consumer type.
func inspectFact(group string, what fact) Inspected {
	key := inspectedKey{Group: group}
	switch f := what.(type) {
	case groupGone:
		return Inspected{"consumer group epoch", key, nil}
	case groupEpoch:
		return Inspected{"consumer group epoch", key, inspectedEpoch{Epoch: f.epoch, MetadataHash: &f.hash}}
	case targetGone:
		return Inspected{"target epoch", key, nil}
	case targetEpoch:
		return Inspected{"target epoch", key, inspectedEpoch{Epoch: f.epoch, Time: &f.at}}
	case memberFact:
		key.Member = f.id
		if f.metadata == nil {
			return Inspected{"member", key, nil}
		}
		return Inspected{"member", key, inspectMember(f.id, f.metadata)}
	case targetFact:
		key.Member = f.id
		if f.have == nil {
			return Inspected{"target of member", key, nil}
		}
		return Inspected{"target of member", key, inspectedAssignment{Assignment: byIDText(f.have)}}
	case currentFact:
		key.Member = f.id
		if f.now == nil {
			return Inspected{"assignment of member", key, nil}
		}
		return Inspected{"assignment of member", key, inspectedAssignment{memberStateNames[f.now.state], &f.now.epoch, &f.now.previous, byIDText(f.now.assigned.plain()), byIDText(f.now.revoking.plain())}}
	case regexFact:
		key.Regex = f.regex
		if f.resolved == nil {
			return Inspected{"regular expression", key, nil}
		}
		return Inspected{"regular expression", key, inspectedRegex{f.resolved.topics, f.resolved.version, f.resolved.at}}
	}
	return Inspected{Kind: kindUnknown, Key: key}
}

var memberStateNames = map[memberState]string{memberStable: "Stable", memberUnrevoked: "UnrevokedPartitions", memberUnreleased: "UnreleasedPartitions"}

func inspectMember(id string, m *memberMetadata) inspectedMember {
	v := inspectedMember{Member: id, Instance: m.instance, Client: m.client.ID, Host: m.client.Host, Rack: m.rack, RebalanceMs: m.rebalanceMs, Subscription: m.topics, Regex: m.regex,
		Assignor: m.assignor}
	if m.classic != nil {
		v.SessionMs = m.classic.sessionMs
		for _, p := range m.classic.protocols {
			v.Protocols = append(v.Protocols, p.Name)
		}
	}
	return v
}

// plain leaves the epochs out.
func (o owned) plain() partitions {
	p := partitions{}
	for id, list := range o {
		p[id] = slices.Sorted(maps.Keys(list))
	}
	return p
}

func byIDText(p partitions) map[string][]int32 {
	out := map[string][]int32{}
	for id, list := range p {
		out[idText(id)] = list
	}
	return out
}
