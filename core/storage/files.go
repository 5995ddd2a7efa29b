package storage

import (
	"container/list"
	"sync"

	"github.com/milldam/milldam/core/vfs"
)

// fileCache keeps up to limit files open, the ones used last. An idle partition so holds no descriptor.
type fileCache struct {
	fs    vfs.FS
	limit int
	mu    struct {
		sync.Mutex
		open map[string]*list.Element // of *openFile
		used *list.List               // front is the one used last
		// forgotten counts the calls of forget: a file that was opened before one may be another than its name's now, and is not kept.
		forgotten int64
	}
}

// openFile is an open file with the number of its users, the cache being one. The last to release it closes it.
type openFile struct {
	vfs.File
	cache *fileCache
	name  string
	refs  int // guarded by cache.mu
}

func newFileCache(fs vfs.FS, limit int) *fileCache {
	c := &fileCache{fs: fs, limit: limit}
	c.mu.open, c.mu.used = map[string]*list.Element{}, list.New()
	return c
}

// get returns the file, opened for reading and writing; with create it is made when it is missing. The caller releases it.
func (c *fileCache) get(name string, create bool) (*openFile, error) {
	f, forgotten := c.cached(name)
	if f != nil {
		return f, nil
	}
	file, err := c.fs.OpenReadWrite(name)
	if err != nil && create {
		file, err = c.fs.Create(name)
	}
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	if c.mu.forgotten != forgotten {
		c.mu.Unlock()
		return &openFile{File: file, cache: c, name: name, refs: 1}, nil
	}
	if e := c.mu.open[name]; e != nil { // another opened it meanwhile
		f := e.Value.(*openFile)
		f.refs++
		c.mu.Unlock()
		return f, file.Close()
	}
	f = &openFile{File: file, cache: c, name: name, refs: 2}
	c.mu.open[name] = c.mu.used.PushFront(f)
	var old *openFile
	if c.mu.used.Len() > c.limit {
		old = c.dropLocked(c.mu.used.Back())
	}
	c.mu.Unlock()
	return f, old.close()
}

func (c *fileCache) cached(name string) (f *openFile, forgotten int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.mu.open[name]
	if e == nil {
		return nil, c.mu.forgotten
	}
	c.mu.used.MoveToFront(e)
	f = e.Value.(*openFile)
	f.refs++
	return f, c.mu.forgotten
}

// dropLocked takes an entry out of the cache and returns the file if it is to be closed now.
func (c *fileCache) dropLocked(e *list.Element) *openFile {
	f := c.mu.used.Remove(e).(*openFile)
	delete(c.mu.open, f.name)
	return f.releaseLocked()
}

func (f *openFile) releaseLocked() *openFile {
	if f.refs--; f.refs == 0 {
		return f
	}
	return nil
}

// close closes the file; f may be nil.
func (f *openFile) close() error {
	if f == nil {
		return nil
	}
	return f.File.Close()
}

// release gives back what get returned.
func (f *openFile) release() error {
	f.cache.mu.Lock()
	last := f.releaseLocked()
	f.cache.mu.Unlock()
	return last.close()
}

// forget drops a file that was removed or replaced; readers that have it go on with the old content.
func (c *fileCache) forget(name string) error {
	c.mu.Lock()
	c.mu.forgotten++
	var last *openFile
	if e := c.mu.open[name]; e != nil {
		last = c.dropLocked(e)
	}
	c.mu.Unlock()
	return last.close()
}

// close drops all files.
func (c *fileCache) close() error {
	c.mu.Lock()
	var names []string
	for name := range c.mu.open {
		names = append(names, name)
	}
	c.mu.Unlock()
	var first error
	for _, name := range names {
		if err := c.forget(name); err != nil && first == nil {
			first = err
		}
	}
	return first
}
