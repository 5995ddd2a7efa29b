package vfs

import (
	"errors"
	"fmt"
	"io"
	"path"
)

// ReadFile returns the whole content of name.
func ReadFile(fs FS, name string) ([]byte, error) {
	f, err := fs.Open(name)
	if err != nil {
		return nil, err
	}
	size, err := f.Size()
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	data := make([]byte, size)
	n, err := f.ReadAt(data, 0)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return data[:n], errors.Join(err, f.Close())
}

// WriteFileAtomic makes name hold data, durably: a crash leaves the old content or the new one. It writes beside name, syncs,
// renames and syncs the directory.
func WriteFileAtomic(fs FS, name string, data []byte) error {
	temp := name + ".tmp"
	f, err := fs.Create(temp)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(data, 0)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("write %s: %w", temp, err)
	}
	if err := fs.Rename(temp, name); err != nil {
		return err
	}
	return fs.SyncDir(path.Dir(name))
}

// WriteFile makes name hold data. Nothing of it is durable before SyncFile and SyncDir of its directory.
func WriteFile(fs FS, name string, data []byte) error {
	f, err := fs.Create(name)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(data, 0)
	return errors.Join(err, f.Close())
}

// SyncFile makes the content of name durable.
func SyncFile(fs FS, name string) error {
	f, err := fs.OpenReadWrite(name)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// Exists tells whether name is there.
func Exists(fs FS, name string) (bool, error) {
	_, err := fs.Stat(name)
	if errors.Is(err, ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}
