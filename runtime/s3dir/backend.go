package s3dir

import (
	"crypto/md5"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/johannesboyne/gofakes3"

	"github.com/milldam/milldam/core/vfs"
)

// uploads is the folder, beside the buckets, where objects are written before they are moved to their place. No bucket name starts with a dot.
const uploads = ".uploads"

// copyBytes is the size of the buffer between a request and its file.
const copyBytes = 256 << 10

// backend keeps buckets and objects as folders and files.
type backend struct {
	fs  vfs.FS
	dir string

	// mu is held while an object is moved to its place or removed, which makes conditions and the check of folders atomic, and for sums.
	mu   sync.Mutex
	next int            // names the next upload
	sums map[string]sum // by path; an entry is checked against the file's size and time before use
}

// sum is the MD5 of a file as it was.
type sum struct {
	size int64
	at   time.Time
	md5  []byte
}

func (b *backend) bucket(name string) string { return path.Join(b.dir, name) }

// object is the path of a key. Keys that a path cannot hold as they are would come back as others, so they are refused.
func (b *backend) object(bucket, key string) (string, error) {
	if key == "" || path.Clean("/"+key) != "/"+key {
		return "", gofakes3.ErrorMessagef(gofakes3.ErrInvalidArgument, "key %q cannot be a file's path", key)
	}
	return path.Join(b.bucket(bucket), key), nil
}

func (b *backend) needBucket(name string) error {
	ok, err := b.BucketExists(name)
	if err == nil && !ok {
		err = gofakes3.BucketNotFound(name)
	}
	return err
}

func (b *backend) ListBuckets() ([]gofakes3.BucketInfo, error) {
	names, err := b.fs.List(b.dir)
	if err != nil {
		return nil, err
	}
	var out []gofakes3.BucketInfo
	for _, name := range names {
		if name == uploads {
			continue
		}
		info, err := b.fs.Stat(b.bucket(name))
		if err != nil {
			return nil, err
		}
		out = append(out, gofakes3.BucketInfo{Name: name, CreationDate: gofakes3.NewContentTime(info.ModTime())})
	}
	return out, nil
}

func (b *backend) BucketExists(name string) (bool, error) {
	info, err := b.fs.Stat(b.bucket(name))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil && info.IsDir(), err
}

func (b *backend) CreateBucket(name string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch exists, err := b.BucketExists(name); {
	case err != nil:
		return err
	case exists:
		return gofakes3.ResourceError(gofakes3.ErrBucketAlreadyExists, name)
	}
	if err := b.fs.MkdirAll(b.bucket(name)); err != nil {
		return err
	}
	return b.fs.SyncDir(b.dir)
}

func (b *backend) DeleteBucket(name string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.needBucket(name); err != nil {
		return err
	}
	keys, err := b.keys(name)
	if err != nil {
		return err
	}
	if len(keys) > 0 {
		return gofakes3.ResourceError(gofakes3.ErrBucketNotEmpty, name)
	}
	return b.removeBucketLocked(name)
}

func (b *backend) ForceDeleteBucket(name string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.needBucket(name); err != nil {
		return err
	}
	return b.removeBucketLocked(name)
}

func (b *backend) removeBucketLocked(name string) error {
	if err := b.fs.RemoveAll(b.bucket(name)); err != nil {
		return err
	}
	return b.fs.SyncDir(b.dir)
}

// keys returns every key of a bucket, sorted.
func (b *backend) keys(bucket string) ([]string, error) {
	var keys []string
	var walk func(dir, prefix string) error
	walk = func(dir, prefix string) error {
		names, err := b.fs.List(dir)
		if err != nil {
			return err
		}
		for _, name := range names {
			info, err := b.fs.Stat(path.Join(dir, name))
			switch {
			case errors.Is(err, fs.ErrNotExist): // removed meanwhile
			case err != nil:
				return err
			case info.IsDir():
				if err := walk(path.Join(dir, name), prefix+name+"/"); err != nil {
					return err
				}
			default:
				keys = append(keys, prefix+name)
			}
		}
		return nil
	}
	err := walk(b.bucket(bucket), "")
	slices.Sort(keys)
	return keys, err
}

func (b *backend) ListBucket(name string, prefix *gofakes3.Prefix, page gofakes3.ListBucketPage) (*gofakes3.ObjectList, error) {
	if err := b.needBucket(name); err != nil {
		return nil, err
	}
	keys, err := b.keys(name)
	if err != nil {
		return nil, err
	}
	if prefix == nil {
		prefix = &gofakes3.Prefix{}
	}
	list := gofakes3.NewObjectList()
	last, folders := "", map[string]bool{}
	for _, key := range keys {
		var match gofakes3.PrefixMatch
		if page.HasMarker && key <= page.Marker || !prefix.Match(key, &match) {
			continue
		}
		if match.CommonPrefix && folders[match.MatchedPart] {
			last = key
			continue
		}
		if page.MaxKeys > 0 && int64(len(list.Contents)+len(list.CommonPrefixes)) >= page.MaxKeys {
			list.IsTruncated, list.NextMarker = true, last
			break
		}
		last = key
		if match.CommonPrefix {
			folders[match.MatchedPart] = true
			list.AddPrefix(match.MatchedPart)
			continue
		}
		if err := b.addContent(list, name, key); err != nil {
			return nil, err
		}
	}
	return list, nil
}

func (b *backend) addContent(list *gofakes3.ObjectList, bucket, key string) error {
	name := path.Join(b.bucket(bucket), key)
	info, err := b.fs.Stat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	hash, err := b.hash(name, info)
	if err != nil {
		return err
	}
	list.Add(&gofakes3.Content{Key: key, LastModified: gofakes3.NewContentTime(info.ModTime()),
		ETag: gofakes3.FormatETag(hash), Size: info.Size(), StorageClass: gofakes3.StorageStandard})
	return nil
}

// hash returns the MD5 of the file, from memory when it is the file that was summed.
func (b *backend) hash(name string, info fs.FileInfo) ([]byte, error) {
	b.mu.Lock()
	known, ok := b.sums[name]
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
	b.sums[name] = sum{size: info.Size(), at: info.ModTime(), md5: h.Sum(nil)}
	return b.sums[name].md5, nil
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
	info, err := b.fs.Stat(name)
	if errors.Is(err, fs.ErrNotExist) || err == nil && info.IsDir() {
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
		return done, errors.Join(err, b.fs.Remove(temp))
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
	b.next++
	name = path.Join(dir, fmt.Sprintf("%d", b.next))
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
	if err = errors.Join(err, f.Close()); err != nil {
		return "", nil, errors.Join(err, b.fs.Remove(name))
	}
	return name, h.Sum(nil), nil
}

// place moves an upload to its key, when cond allows, and makes that durable.
func (b *backend) place(temp, bucket, name string, hash []byte, size int64, cond *gofakes3.PutConditions) error {
	if cond != nil {
		if err := b.check(name, cond); err != nil {
			return err
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if info, err := b.fs.Stat(name); err == nil {
		if info.IsDir() {
			return gofakes3.ErrorMessagef(gofakes3.ErrInvalidArgument, "%s is the folder of other keys", path.Base(name))
		}
		if cond != nil && cond.IfNoneMatch != nil { // made between check and the lock
			return gofakes3.ErrorMessage(gofakes3.ErrPreconditionFailed, "The object already exists")
		}
	}
	if err := b.fs.MkdirAll(path.Dir(name)); err != nil {
		return err
	}
	if err := b.fs.Rename(temp, name); err != nil {
		return err
	}
	delete(b.sums, name)
	for dir := path.Dir(name); ; dir = path.Dir(dir) {
		if err := b.fs.SyncDir(dir); err != nil {
			return err
		}
		if dir == b.bucket(bucket) {
			break
		}
	}
	info, err := b.fs.Stat(name)
	if err == nil {
		b.sums[name] = sum{size: size, at: info.ModTime(), md5: hash}
	}
	return err
}

func (b *backend) check(name string, cond *gofakes3.PutConditions) error {
	var current gofakes3.ConditionalObjectInfo
	info, err := b.fs.Stat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
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
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.fs.Remove(name); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
		return done, err
	}
	delete(b.sums, name)
	return done, b.fs.SyncDir(path.Dir(name))
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
