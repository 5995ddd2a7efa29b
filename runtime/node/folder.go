package node

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strconv"
	"strings"

	"github.com/milldam/milldam/core/vfs"
)

// formatVersion is the version of the data folder's layout. Version 1 was of development builds, and its write-ahead log cannot be read any more.
const formatVersion = 2

// openFolder makes the data folder where it is missing, takes its lock and checks its format.
func openFolder(fsys vfs.FS, dir string, names Names) (lock io.Closer, err error) {
	if err := fsys.MkdirAll(dir); err != nil {
		return nil, fmt.Errorf("make the data folder %s: %w; choose another one with %s", dir, err, names.Dir)
	}
	lock, err = fsys.Lock(path.Join(dir, "lock"))
	var held *vfs.LockedError
	switch {
	case errors.As(err, &held):
		return nil, fmt.Errorf("the data folder %s is in use by process %d: stop that one, or choose another folder with %s", dir, held.PID, names.Dir)
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("the data folder %s cannot be written: %w; give this user the right to, or choose another folder with %s", dir, err, names.Dir)
	case err != nil:
		return nil, fmt.Errorf("lock the data folder %s: %w", dir, err)
	}
	if err := checkFormat(fsys, dir); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return lock, nil
}

func checkFormat(fsys vfs.FS, dir string) error {
	name := path.Join(dir, "format")
	data, err := vfs.ReadFile(fsys, name)
	if errors.Is(err, fs.ErrNotExist) {
		return vfs.WriteFileAtomic(fsys, name, []byte(strconv.Itoa(formatVersion)+"\n"))
	}
	if err != nil {
		return fmt.Errorf("read %s: %w", name, err)
	}
	version, err := strconv.Atoi(strings.TrimSpace(string(data)))
	if err != nil {
		return fmt.Errorf("%s holds %q, no version: is %s a data folder of milldam?", name, strings.TrimSpace(string(data)), dir)
	}
	if version > formatVersion {
		return fmt.Errorf("the data folder %s has format %d, this milldam knows %d: run the newer one that wrote it", dir, version, formatVersion)
	}
	if version < formatVersion {
		return fmt.Errorf("the data folder %s has format %d of a development build, this milldam knows %d: choose another folder with --dir, or remove this one", dir, version, formatVersion)
	}
	return nil
}

// checkMetadata keeps a new cluster from being founded beside the partitions of another: it would know none of their topics, move them all to quarantine, and take what only the write-ahead log
// has of them for that of removed topics. The metadata is the first thing a start writes.
func checkMetadata(fsys vfs.FS, dir string) error {
	there, err := vfs.Exists(fsys, path.Join(dir, "meta"))
	if there || err != nil {
		return err // whether it is whole is told when it is opened
	}
	logs, err := vfs.Exists(fsys, path.Join(dir, "wal"))
	if err == nil && logs {
		err = fmt.Errorf("the cluster metadata %s is missing, and %s has partitions: restore it from a backup of the same moment, or the whole folder", path.Join(dir, "meta"), dir)
	}
	return err
}

// instanceID returns the folder's random name.
func instanceID(fsys vfs.FS, dir string) (string, error) {
	name := path.Join(dir, "instance-id")
	data, err := vfs.ReadFile(fsys, name)
	if err == nil {
		return strings.TrimSpace(string(data)), nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	var b [8]byte
	if _, err := rand.Read(b[:]); err != nil {
		return "", err
	}
	id := hex.EncodeToString(b[:])
	return id, vfs.WriteFileAtomic(fsys, name, []byte(id+"\n"))
}

// Endpoints are the addresses of a running node, as in <dir>/endpoints.json.
type Endpoints struct {
	Kafka string `json:"kafka"`          // host:port
	HTTP  string `json:"http,omitempty"` // URL
	PID   int    `json:"pid"`
}

// EndpointsFile is the name of the file in the data folder.
const EndpointsFile = "endpoints.json"

func writeEndpoints(fsys vfs.FS, dir string, e Endpoints) error {
	e.PID = os.Getpid()
	data, err := json.MarshalIndent(e, "", "  ")
	if err != nil {
		return err
	}
	return vfs.WriteFileAtomic(fsys, path.Join(dir, EndpointsFile), append(data, '\n'))
}

// removeEndpoints is what a stop does: nobody is to look for a process that has ended. A folder that somebody removed has none.
func removeEndpoints(fsys vfs.FS, dir string) error {
	if err := fsys.Remove(path.Join(dir, EndpointsFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
