package s3dir

import (
	"errors"
	"io/fs"
	"path"
	"slices"
	"sync"
	"time"

	"github.com/johannesboyne/gofakes3"

	"github.com/milldam/milldam/core/vfs"
)

// uploads is the folder, beside the buckets, where objects are written before they are moved to their place. No bucket name starts with a dot.
const uploads = ".uploads"

// backend keeps buckets and objects as folders and files.
type backend struct {
	fs  vfs.FS
	dir string

	// change is held while names change and for reading while a file is looked up, which makes conditions and the check of folders atomic.
	// It comes before mu.
	change sync.RWMutex

	mu struct {
		sync.Mutex
		uploads int            // names the next upload
		sums    map[string]sum // by path; an entry is checked against the file's size and time before use
	}
}

func newBackend(files vfs.FS, dir string) *backend {
	b := &backend{fs: files, dir: dir}
	b.mu.sums = map[string]sum{}
	return b
}

// sum is the MD5 of a file as it was.
type sum struct {
	size int64
	at   time.Time
	md5  []byte
}

func (b *backend) bucket(name string) string { return path.Join(b.dir, name) }

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

// BucketExists is false for names that no bucket has, such as `..`, which would lead out of the folder.
func (b *backend) BucketExists(name string) (bool, error) {
	if gofakes3.ValidateBucketName(name) != nil {
		return false, nil
	}
	info, err := b.fs.Stat(b.bucket(name))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil && info.IsDir(), err
}

func (b *backend) CreateBucket(name string) error {
	if err := gofakes3.ValidateBucketName(name); err != nil {
		return err
	}
	b.change.Lock()
	defer b.change.Unlock()
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
	b.change.Lock()
	defer b.change.Unlock()
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
	b.change.Lock()
	defer b.change.Unlock()
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
		if missing(err) { // removed meanwhile
			return nil
		}
		if err != nil {
			return err
		}
		for _, name := range names {
			info, err := b.fs.Stat(path.Join(dir, name))
			switch {
			case missing(err):
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
	if missing(err) { // removed meanwhile
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
