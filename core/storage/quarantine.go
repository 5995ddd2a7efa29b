package storage

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/milldam/milldam/core/record"
	"github.com/milldam/milldam/core/vfs"
)

// quarantine moves a directory that belongs to no known topic out of the way; nothing unknown is ever deleted.
func (s *Store) quarantine(name string) error {
	o := s.opts
	to := path.Join(o.Dir, quarantineDir, name+"."+strconv.FormatInt(time.Now().UnixNano(), 10))
	if err := o.FS.MkdirAll(path.Dir(to)); err != nil {
		return err
	}
	if err := o.FS.Rename(path.Join(o.Dir, logsDir, name), to); err != nil {
		return err
	}
	s.opts.Logger.Warn("a directory of no known topic was moved away; delete it when nobody misses it", "directory", name, "to", to)
	return errors.Join(o.FS.SyncDir(path.Dir(to)), o.FS.SyncDir(path.Join(o.Dir, logsDir)), o.FS.SyncDir(o.Dir))
}

func (r *recovery) quarantine(name string) error {
	if err := r.store.quarantine(name); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.out.Quarantined = append(r.out.Quarantined, name)
	return nil
}

// quarantineOther moves a directory away that has l's name and is of another topic.
func (s *Store) quarantineOther(l *Log) error {
	data, err := vfs.ReadFile(s.opts.FS, path.Join(l.dir, metadataFile))
	if errors.Is(err, fs.ErrNotExist) {
		if there, err := vfs.Exists(s.opts.FS, l.dir); !there || err != nil {
			return err
		}
	} else if err != nil {
		return err
	}
	if id, err := decodeMetadata(data); err == nil && id == l.id {
		return nil
	}
	return s.quarantine(path.Base(l.dir))
}

// encodeMetadata writes Kafka's partition.metadata, whose topic id is base64 as in Kafka's tools.
func encodeMetadata(id record.TopicID) []byte {
	return fmt.Appendf(nil, "version: 0\ntopic_id: %s", base64.RawURLEncoding.EncodeToString(id[:]))
}

func decodeMetadata(data []byte) (id record.TopicID, err error) {
	for line := range strings.Lines(string(data)) {
		text, ok := strings.CutPrefix(strings.TrimSpace(line), "topic_id: ")
		if !ok {
			continue
		}
		raw, err := base64.RawURLEncoding.DecodeString(text)
		if err == nil && len(raw) == len(id) {
			copy(id[:], raw)
			return id, nil
		}
	}
	return id, errors.New("damaged partition.metadata")
}
