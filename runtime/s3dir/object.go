package s3dir

import (
	"crypto/md5"
	"errors"
	"io"
	"io/fs"
	"path"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/johannesboyne/gofakes3"
)

// copyBytes is the size of the buffer between a request and its file.
const copyBytes = 256 << 10

// object is the path of a key. Keys that a path cannot hold as they are would come back as others, so they are refused.
func (b *backend) object(bucket, key string) (string, error) {
	if key == "" || path.Clean("/"+key) != "/"+key {
		return "", gofakes3.ErrorMessagef(gofakes3.ErrInvalidArgument, "key %q cannot be a file's path", key)
	}
	return path.Join(b.bucket(bucket), key), nil
}

func (b *backend) HeadObject(bucket, key string) (*gofakes3.Object, error) {
	obj, err := b.GetObject(bucket, key, nil)
	if err != nil {
		return nil, err
	}
	err = obj.Contents.Close()
	obj.Contents = io.NopCloser(strings.NewReader(""))
	return obj, err
}

func (b *backend) GetObject(bucket, key string, wanted *gofakes3.ObjectRangeRequest) (*gofakes3.Object, error) {
	if err := b.needBucket(bucket); err != nil {
		return nil, err
	}
	name, err := b.object(bucket, key)
	if err != nil {
		return nil, err
	}
	b.change.RLock()
	defer b.change.RUnlock()
	info, err := b.fs.Stat(name)
	if missing(err) || err == nil && info.IsDir() {
		return nil, gofakes3.KeyNotFound(key)
	}
	if err != nil {
		return nil, err
	}
	part, err := wanted.Range(info.Size())
	if err != nil {
		return nil, err
	}
	hash, err := b.hash(name, info)
	if err != nil {
		return nil, err
	}
	f, err := b.fs.Open(name)
	if err != nil {
		return nil, err
	}
	start, length := int64(0), info.Size()
	if part != nil {
		start, length = part.Start, part.Length
	}
	return &gofakes3.Object{Name: key, Hash: hash, Size: info.Size(), Range: part,
		Metadata: map[string]string{"Last-Modified": info.ModTime().UTC().Format(time.RFC1123)},
		Contents: contents{io.NewSectionReader(f, start, length), f}}, nil
}

// contents reads a part of an open file and closes it.
type contents struct {
	io.Reader
	io.Closer
}

func (b *backend) PutObject(bucket, key string, _ map[string]string, input io.Reader, size int64, cond *gofakes3.PutConditions) (gofakes3.PutObjectResult, error) {
	var done gofakes3.PutObjectResult
	if err := b.needBucket(bucket); err != nil {
		return done, err
	}
	name, err := b.object(bucket, key)
	if err != nil {
		return done, err
	}
	temp, hash, err := b.upload(input, size)
	if err != nil {
		return done, err
	}
	if err := b.place(temp, bucket, name, hash, size, cond); err != nil {
		if left := b.fs.Remove(temp); left != nil {
			err = errors.Join(err, left) // only then: what answers requests does not look into joined errors
		}
		return done, err
	}
	return done, nil
}

// upload writes input to a file of its own, synced.
func (b *backend) upload(input io.Reader, size int64) (name string, hash []byte, err error) {
	dir := path.Join(b.dir, uploads)
	if err := b.fs.MkdirAll(dir); err != nil {
		return "", nil, err
	}
	b.mu.Lock()
	b.mu.uploads++
	name = path.Join(dir, strconv.Itoa(b.mu.uploads))
	b.mu.Unlock()
	f, err := b.fs.Create(name)
	if err != nil {
		return "", nil, err
	}
	h := md5.New()
	n, err := io.CopyBuffer(io.NewOffsetWriter(f, 0), struct{ io.Reader }{io.TeeReader(input, h)}, make([]byte, copyBytes))
	if err == nil && n != size {
		err = gofakes3.ErrorMessagef(gofakes3.ErrIncompleteBody, "%d bytes came, %d were announced", n, size)
	}
	if err == nil {
		err = f.Sync()
	}
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err != nil {
		if left := b.fs.Remove(name); left != nil {
			err = errors.Join(err, left)
		}
		return "", nil, err
	}
	return name, h.Sum(nil), nil
}

// place moves an upload to its key, when cond allows, and makes that durable.
func (b *backend) place(temp, bucket, name string, hash []byte, size int64, cond *gofakes3.PutConditions) error {
	b.change.Lock()
	defer b.change.Unlock()
	if info, err := b.fs.Stat(name); err == nil && info.IsDir() {
		return gofakes3.ErrorMessagef(gofakes3.ErrInvalidArgument, "%s is the folder of other keys", path.Base(name))
	}
	if cond != nil {
		if err := b.check(name, cond); err != nil {
			return err
		}
	}
	switch err := b.fs.MkdirAll(path.Dir(name)); {
	case errors.Is(err, syscall.ENOTDIR):
		return gofakes3.ErrorMessagef(gofakes3.ErrInvalidArgument, "a part of the key of %s is itself a key, and no folder", path.Base(name))
	case err != nil:
		return err
	}
	if err := b.fs.Rename(temp, name); err != nil {
		return err
	}
	b.forget(name)
	for dir := path.Dir(name); ; dir = path.Dir(dir) {
		if err := b.fs.SyncDir(dir); err != nil {
			return err
		}
		if dir == b.bucket(bucket) {
			break
		}
	}
	info, err := b.fs.Stat(name)
	if err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.mu.sums[name] = sum{size: size, at: info.ModTime(), md5: hash}
	return nil
}

func (b *backend) check(name string, cond *gofakes3.PutConditions) error {
	var current gofakes3.ConditionalObjectInfo
	info, err := b.fs.Stat(name)
	switch {
	case missing(err):
	case err != nil:
		return err
	default:
		current.Exists = true
		if current.Hash, err = b.hash(name, info); err != nil {
			return err
		}
	}
	return gofakes3.CheckPutConditions(cond, &current)
}

func (b *backend) DeleteObject(bucket, key string) (gofakes3.ObjectDeleteResult, error) {
	var done gofakes3.ObjectDeleteResult
	if err := b.needBucket(bucket); err != nil {
		return done, err
	}
	name, err := b.object(bucket, key)
	if err != nil {
		return done, err
	}
	b.change.Lock()
	defer b.change.Unlock()
	info, err := b.fs.Stat(name)
	if missing(err) || err == nil && info.IsDir() {
		return done, nil // as S3 has it: what is not there is removed
	}
	if err == nil {
		err = b.fs.Remove(name)
	}
	if err != nil {
		return done, err
	}
	b.forget(name)
	return done, b.prune(bucket, path.Dir(name))
}

// prune removes dir and the folders above it that hold nothing more: an empty folder would keep its name from being a key.
func (b *backend) prune(bucket, dir string) error {
	for ; dir != b.bucket(bucket); dir = path.Dir(dir) {
		names, err := b.fs.List(dir)
		if err == nil && len(names) > 0 {
			break
		}
		if err == nil {
			err = b.fs.Remove(dir)
		}
		if err != nil {
			return err
		}
	}
	return b.fs.SyncDir(dir)
}

// missing tells whether err says that a file is not there, or could not be because a part of its path is a file.
func missing(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR)
}

func (b *backend) DeleteMulti(bucket string, keys ...string) (gofakes3.MultiDeleteResult, error) {
	var result gofakes3.MultiDeleteResult
	for _, key := range keys {
		if _, err := b.DeleteObject(bucket, key); err != nil {
			result.Error = append(result.Error, gofakes3.ErrorResultFromError(err))
			continue
		}
		result.Deleted = append(result.Deleted, gofakes3.ObjectID{Key: key})
	}
	return result, nil
}

func (b *backend) CopyObject(srcBucket, srcKey, dstBucket, dstKey string, meta map[string]string) (gofakes3.CopyObjectResult, error) {
	return gofakes3.CopyObject(b, srcBucket, srcKey, dstBucket, dstKey, meta)
}

// hash returns the MD5 of the file, from memory when it is the file that was summed.
func (b *backend) hash(name string, info fs.FileInfo) ([]byte, error) {
	b.mu.Lock()
	known, ok := b.mu.sums[name]
	b.mu.Unlock()
	if ok && known.size == info.Size() && known.at.Equal(info.ModTime()) {
		return known.md5, nil
	}
	f, err := b.fs.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	h := md5.New()
	if _, err := io.Copy(h, io.NewSectionReader(f, 0, info.Size())); err != nil {
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.mu.sums[name] = sum{size: info.Size(), at: info.ModTime(), md5: h.Sum(nil)}
	return b.mu.sums[name].md5, nil
}

func (b *backend) forget(name string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.mu.sums, name)
}
