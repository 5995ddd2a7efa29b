package meta

import (
	"fmt"
	"path"
	"strings"

	"github.com/milldam/milldam/core/vfs"
)

// InspectedSnapshot is what a snapshot of the metadata holds, for people and tools that look into its file.
type InspectedSnapshot struct {
	Index     uint64                      `json:"index"`
	Term      uint64                      `json:"term"`
	ClusterID string                      `json:"clusterId"`
	Topics    []InspectedTopic            `json:"topics"`
	Brokers   []Broker                    `json:"brokers"`
	Features  map[string]int16            `json:"features"`
	Configs   map[int32]map[string]string `json:"configs"` // of brokers; -1 is all
	ACLs      int                         `json:"acls"`
	Scram     int                         `json:"scramCredentials"` // counted only: they are secrets
	Quotas    int                         `json:"quotas"`
	NextPID   int64                       `json:"nextProducerId"`
}

// InspectedTopic is a topic of a snapshot.
type InspectedTopic struct {
	Topic      string            `json:"topic"`
	ID         string            `json:"id"`
	Partitions int               `json:"partitions"`
	Config     map[string]string `json:"config"`
}

// IsSnapshot tells by its name whether a file is a snapshot of the metadata: it has the index and the term, where a producer snapshot has one number.
func IsSnapshot(name string) bool {
	id, ok := strings.CutSuffix(path.Base(name), snapshotSuffix)
	return ok && strings.Contains(id, "-")
}

// InspectSnapshot reads a snapshot. What cannot be read is ErrDamaged.
func InspectSnapshot(fsys vfs.FS, name string) (*InspectedSnapshot, error) {
	store := &snapshotStore{fs: fsys, dir: path.Dir(name)}
	m, body, err := store.read(strings.TrimSuffix(path.Base(name), snapshotSuffix))
	if err != nil {
		return nil, err
	}
	i, err := decodeImage(body)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	out := &InspectedSnapshot{Index: m.Index, Term: m.Term, ClusterID: i.clusterID, Brokers: i.Brokers(), Features: i.features, Configs: i.configs, Scram: len(i.scram), Quotas: len(i.quotas), ACLs: i.acls.Len(), NextPID: int64(i.nextPID)}
	for t := range i.Topics() {
		out.Topics = append(out.Topics, InspectedTopic{t.Name, idText(t.ID), len(t.Partitions), t.Config})
	}
	return out, nil
}
