package storage

import (
	"errors"
	"testing"

	"github.com/milldam/milldam/core/vfs"
)

// openingFS calls opened when a file was opened and nobody knows yet.
type openingFS struct {
	vfs.FS
	opened func()
}

func (o *openingFS) OpenReadWrite(name string) (vfs.File, error) {
	f, err := o.FS.OpenReadWrite(name)
	if opened := o.opened; opened != nil {
		o.opened = nil
		opened()
	}
	return f, err
}

// TestFileThatIsReplacedWhileItIsOpenedIsNotKept: who asks later gets the one that has the name now.
func TestFileThatIsReplacedWhileItIsOpenedIsNotKept(t *testing.T) {
	fs := &openingFS{FS: vfs.NewMem()}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(vfs.WriteFileAtomic(fs, "f", []byte("old")))
	must(vfs.WriteFileAtomic(fs, "g", []byte("new")))
	c := newFileCache(fs, 10)
	fs.opened = func() { must(errors.Join(fs.Rename("g", "f"), c.forget("f"))) }
	for _, want := range []string{"old", "new", "new"} {
		f, err := c.get("f", false)
		must(err)
		data := make([]byte, 3)
		_, err = f.ReadAt(data, 0)
		must(errors.Join(err, f.release()))
		if string(data) != want {
			t.Errorf("read %q, want %q", data, want)
		}
	}
	must(c.close())
}
