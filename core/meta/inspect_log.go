package meta

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"strconv"
	"strings"

	"github.com/hashicorp/raft"

	"github.com/milldam/milldam/core/record"
	"github.com/milldam/milldam/core/vfs"
)

// InspectedEntry is an entry of the Raft log, for people and tools.
type InspectedEntry struct {
	Index     uint64 `json:"index"`
	Term      uint64 `json:"term"`
	Position  int64  `json:"position"`
	Timestamp int64  `json:"timestamp"` // of the append, in milliseconds
	Kind      string `json:"kind"`      // of the command, or of what raft itself wrote: noop, barrier, configuration
	Value     any    `json:"value,omitempty"`
	Damage    string `json:"damage,omitempty"` // the entry is what was written, and means nothing
}

// readSegment reads a segment's file.
func readSegment(fsys vfs.FS, name string) (*segmentScan, error) {
	base, id, ok := segmentName(name)
	if !ok {
		return nil, fmt.Errorf("%s is not the name of a segment of the metadata log", name)
	}
	data, err := vfs.ReadFile(fsys, name)
	if err != nil {
		return nil, err
	}
	return scanSegment(data, base, id), nil
}

const segmentSuffix = ".wal"

// segmentName takes the name of a segment's file apart: <20 digits of its first index>-<16 hex digits of its id>.wal.
func segmentName(name string) (base, id uint64, ok bool) {
	name, ok = strings.CutSuffix(path.Base(name), segmentSuffix)
	first, second, dash := strings.Cut(name, "-")
	base, badBase := strconv.ParseUint(first, 10, 64)
	id, badID := strconv.ParseUint(second, 16, 64)
	return base, id, ok && dash && len(first) == 20 && len(second) == 16 && badBase == nil && badID == nil
}

// isLog tells by its name whether a file is a segment of the Raft log.
func isLog(name string) bool {
	_, _, ok := segmentName(name)
	return ok
}

func inspectEntry(at int64, l *raft.Log) *InspectedEntry {
	e := &InspectedEntry{Index: l.Index, Term: l.Term, Position: at, Timestamp: max(0, l.AppendedAt.UnixMilli())}
	switch l.Type {
	case raft.LogCommand:
		cmd, err := decodeCommand(l.Data)
		if err != nil {
			e.Kind, e.Damage = "command", err.Error()
			return e
		}
		e.Kind, e.Value = inspectCommand(cmd)
	case raft.LogConfiguration:
		servers, err := inspectConfiguration(l.Data)
		if e.Kind = "configuration"; err != nil {
			e.Damage = err.Error()
			return e
		}
		e.Value = servers
	default:
		e.Kind = strings.ToLower(strings.TrimPrefix(l.Type.String(), "Log"))
	}
	return e
}

// inspectConfiguration lists the voters. Raft panics at what it cannot decode.
func inspectConfiguration(data []byte) (servers any, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%w: %v", ErrDamaged, r)
		}
	}()
	return raft.DecodeConfiguration(data).Servers, nil
}

// inspectedTopic is a topic as a command has it, its id as text.
type inspectedTopic struct {
	Topic      string            `json:"topic"`
	ID         string            `json:"id"`
	Internal   bool              `json:"internal,omitempty"`
	Partitions []Partition       `json:"partitions"`
	Config     map[string]string `json:"config,omitempty"`
}

// inspectCommand gives a command's kind and fields. Secrets are left out.
func inspectCommand(c command) (kind string, value any) {
	type values = map[string]any
	switch c := c.(type) {
	case setCluster:
		return "cluster", values{"clusterId": c.ID}
	case setBroker:
		return "broker", c.Broker
	case setTopic:
		return "topic", inspectedTopic{c.Topic.Name, idText(c.Topic.ID), c.Topic.Internal, c.Topic.Partitions, c.Topic.Config}
	case removeTopic:
		return "remove topic", values{"id": idText(c.ID)}
	case setTopicConfig:
		return "topic config", values{"id": idText(c.ID), "config": c.Config}
	case setBrokerConfig:
		return "broker config", values{"broker": c.Broker, "config": shownConfig(c.Config)}
	case takeProducerIDs:
		return "producer ids", values{"next": c.Next}
	case setFeatures:
		return "features", c.Levels
	case addACLs:
		return "add acls", c.ACLs
	case removeACLs:
		return "remove acls", c.ACLs
	case alterScram:
		return "scram", shownScram(c.Rows)
	case setQuota:
		return "quota", c.Quota
	case setResourceConfig:
		return "resource config", values{"type": c.Resource.Type, "name": c.Resource.Name, "config": c.Config}
	}
	return fmt.Sprintf("%T", c), nil
}

// shownConfig is a broker's config without what only the broker may know.
func shownConfig(config map[string]string) map[string]string {
	shown := maps.Clone(config)
	for key := range shown {
		if sensitive(key) {
			shown[key] = "***"
		}
	}
	return shown
}

// shownCredential is a credential without its secrets.
type shownCredential struct {
	User       string         `json:"user"`
	Mechanism  ScramMechanism `json:"mechanism"`
	Iterations int32          `json:"iterations,omitempty"`
	Removed    bool           `json:"removed,omitempty"`
}

func shownScram(rows []scramRow) []shownCredential {
	shown := make([]shownCredential, len(rows))
	for i, r := range rows {
		shown[i] = shownCredential{User: r.User, Mechanism: r.Mechanism, Removed: r.Credential == nil}
		if r.Credential != nil {
			shown[i].Iterations = r.Credential.Iterations
		}
	}
	return shown
}

// TopicNames reads which topics there are from the files of a metadata folder, and changes nothing: the newest snapshot that is whole, and the log behind it.
func TopicNames(fsys vfs.FS, dir string) (map[record.TopicID]string, error) {
	i, err := readImage(fsys, dir)
	if err != nil {
		return nil, err
	}
	names := map[record.TopicID]string{}
	for t := range i.Topics() {
		names[t.ID] = t.Name
	}
	return names, nil
}

// readImage makes the image that the files hold. Of a node that runs, or was killed, the end of the log may be torn: there it ends.
func readImage(fsys vfs.FS, dir string) (*Image, error) {
	image, applied, err := newestImage(fsys, path.Join(dir, snapshotsDir))
	if err != nil {
		return nil, err
	}
	names, err := segmentsOf(fsys, path.Join(dir, raftDir))
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		s, err := readSegment(fsys, path.Join(dir, raftDir, name))
		if err != nil {
			return nil, err
		}
		if s.cutTorn(); s.next() > s.base && s.base > applied+1 {
			return nil, fmt.Errorf("%w: %s begins with entry %d, and entry %d is nowhere", ErrDamaged, path.Join(dir, raftDir, name), s.base, applied+1)
		}
		err = s.each(applied+1, func(_ int64, l *raft.Log) error {
			applied = l.Index
			if l.Type != raft.LogCommand {
				return nil
			}
			cmd, err := decodeCommand(l.Data)
			if err == nil {
				image = image.apply(cmd)
			}
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path.Join(dir, raftDir, name), err)
		}
	}
	return image, nil
}

// newestImage reads the newest snapshot that is whole, and up to which entry it goes.
func newestImage(fsys vfs.FS, dir string) (*Image, uint64, error) {
	store := &snapshotStore{fs: fsys, dir: dir}
	list, err := store.List()
	if errors.Is(err, fs.ErrNotExist) { // a crash came before it was made
		err = nil
	}
	if err != nil || len(list) == 0 {
		return emptyImage(), 0, err
	}
	_, body, err := store.read(list[0].ID)
	if err != nil {
		return nil, 0, err
	}
	i, err := decodeImage(body)
	return i, list[0].Index, err
}
