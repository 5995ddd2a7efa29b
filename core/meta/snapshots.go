package meta

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"path"
	"slices"
	"strings"

	"github.com/hashicorp/raft"

	"github.com/milldam/milldam/core/vfs"
)

// keptSnapshots is how many snapshots stay: the newest, and one before it.
const keptSnapshots = 2

const (
	snapshotMagic  = "milldamS"
	snapshotSuffix = ".snapshot"
)

// snapshotStore keeps raft's snapshots as one file each: magic 8, checksum 4 of the rest, length of the description 4, the
// description as JSON, the image. A file is there whole or not at all.
type snapshotStore struct {
	fs  vfs.FS
	dir string
}

// Create implements raft.SnapshotStore.
func (s *snapshotStore) Create(version raft.SnapshotVersion, index, term uint64, configuration raft.Configuration, configurationIndex uint64, _ raft.Transport) (raft.SnapshotSink, error) {
	return &snapshotSink{store: s, meta: raft.SnapshotMeta{Version: version, ID: fmt.Sprintf("%020d-%020d", index, term), Index: index, Term: term,
		Configuration: configuration, ConfigurationIndex: configurationIndex}}, nil
}

// names returns the snapshot files, newest first.
func (s *snapshotStore) names() ([]string, error) {
	all, err := s.fs.List(s.dir)
	if err != nil {
		return nil, err
	}
	names := slices.DeleteFunc(all, func(n string) bool { return !strings.HasSuffix(n, snapshotSuffix) })
	slices.Reverse(names)
	return names, nil
}

// List implements raft.SnapshotStore. Damaged snapshots are left out: an older one, with the log, may still do.
func (s *snapshotStore) List() ([]*raft.SnapshotMeta, error) {
	names, err := s.names()
	if err != nil {
		return nil, err
	}
	var list []*raft.SnapshotMeta
	for _, name := range names {
		m, _, err := s.read(strings.TrimSuffix(name, snapshotSuffix))
		if errors.Is(err, ErrDamaged) {
			continue
		}
		if err != nil {
			return nil, err
		}
		list = append(list, m)
	}
	return list, nil
}

// damaged tells what List leaves out, as one error; nil when all are whole.
func (s *snapshotStore) damaged() (damaged, err error) {
	names, err := s.names()
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		_, body, err := s.read(strings.TrimSuffix(name, snapshotSuffix))
		if err == nil && (len(body) == 0 || body[0] != commandVersion) {
			err = damagedFile(path.Join(s.dir, name), "it has a version that this milldam does not know")
		}
		if err != nil && !errors.Is(err, ErrDamaged) {
			return nil, err
		}
		damaged = errors.Join(damaged, err)
	}
	return damaged, nil
}

// checkSnapshots tells whether a snapshot and a log of the entries first to last together have everything: the log begins where a snapshot ends, or before.
func checkSnapshots(s *snapshotStore, first, last uint64) error {
	list, err := s.List()
	if err != nil {
		return err
	}
	newest := uint64(0)
	if len(list) > 0 {
		newest = list[0].Index
	}
	switch {
	case last > 0 && first > newest+1:
		return damagedFile(s.dir, "a snapshot of entry %d or later is missing: the log begins behind it, and the newest one that can be read is of entry %d", first-1, newest)
	case last < newest:
		return damagedFile(s.dir, "the log ends with entry %d, in front of the snapshot of entry %d", last, newest)
	}
	return nil
}

// Open implements raft.SnapshotStore.
func (s *snapshotStore) Open(id string) (*raft.SnapshotMeta, io.ReadCloser, error) {
	m, body, err := s.read(id)
	if err != nil {
		return nil, nil, err
	}
	return m, io.NopCloser(bytes.NewReader(body)), nil
}

func (s *snapshotStore) read(id string) (*raft.SnapshotMeta, []byte, error) {
	name := path.Join(s.dir, id+snapshotSuffix)
	data, err := vfs.ReadFile(s.fs, name)
	if err != nil {
		return nil, nil, err
	}
	const head = len(snapshotMagic) + 4 + 4
	if len(data) < head || string(data[:len(snapshotMagic)]) != snapshotMagic ||
		binary.BigEndian.Uint32(data[len(snapshotMagic):]) != crc32.Checksum(data[len(snapshotMagic)+4:], castagnoli) {
		return nil, nil, damagedFile(name, "its checksum does not hold")
	}
	length := int(binary.BigEndian.Uint32(data[len(snapshotMagic)+4:]))
	if data = data[head:]; length > len(data) {
		return nil, nil, damagedFile(name, "its description is cut off")
	}
	var m raft.SnapshotMeta
	if err := json.Unmarshal(data[:length], &m); err != nil {
		return nil, nil, damagedFile(name, "%w", err)
	}
	m.Size = int64(len(data) - length)
	return &m, data[length:], nil
}

// snapshotSink collects a snapshot and puts it in its place when it is closed.
type snapshotSink struct {
	store    *snapshotStore
	meta     raft.SnapshotMeta
	body     bytes.Buffer
	canceled bool
}

// ID implements raft.SnapshotSink.
func (s *snapshotSink) ID() string { return s.meta.ID }

// Write implements raft.SnapshotSink.
func (s *snapshotSink) Write(p []byte) (int, error) { return s.body.Write(p) }

// Cancel implements raft.SnapshotSink.
func (s *snapshotSink) Cancel() error {
	s.canceled = true
	return nil
}

// Close implements raft.SnapshotSink: it makes the snapshot durable, and removes those that are not kept.
func (s *snapshotSink) Close() error {
	if s.canceled {
		return nil
	}
	description, err := json.Marshal(s.meta)
	if err != nil {
		return err
	}
	rest := binary.BigEndian.AppendUint32(nil, uint32(len(description)))
	rest = append(append(rest, description...), s.body.Bytes()...)
	data := binary.BigEndian.AppendUint32([]byte(snapshotMagic), crc32.Checksum(rest, castagnoli))
	if err := vfs.WriteFileAtomic(s.store.fs, path.Join(s.store.dir, s.meta.ID+snapshotSuffix), append(data, rest...)); err != nil {
		return fmt.Errorf("write a snapshot of the metadata: %w", err)
	}
	names, err := s.store.names()
	if err != nil {
		return err
	}
	for _, old := range names[min(keptSnapshots, len(names)):] {
		if err := s.store.fs.Remove(path.Join(s.store.dir, old)); err != nil {
			return err
		}
	}
	return nil
}
