package pipelines

import (
	"fmt"
	"io/fs"
	"path"
	"strings"

	"github.com/milldam/milldam/core/config"
)

// File is the text of a file of pipelines.
type File struct {
	Name string // as errors show it
	Text []byte
}

// maxFiles bounds how many files one folder may hold, so that a wrong folder does not become an endless search.
const maxFiles = 1000

// ReadFiles reads the pipeline files (*.yaml, *.yml) of a folder and of those below it, in alphabetical order; hidden ones are left out. prefix stands before their
// names in errors.
func ReadFiles(fsys fs.FS, prefix string) ([]File, error) {
	var files []File
	err := fs.WalkDir(fsys, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if name != "." && strings.HasPrefix(d.Name(), ".") {
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		if ext := path.Ext(name); d.IsDir() || ext != ".yaml" && ext != ".yml" {
			return nil
		}
		if len(files) == maxFiles {
			return fmt.Errorf("%s holds more than %d pipeline files", path.Join(prefix, "."), maxFiles)
		}
		text, err := readLimited(fsys, name)
		if err != nil {
			return err
		}
		files = append(files, File{Name: path.Join(prefix, name), Text: text})
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read pipelines: %w", err)
	}
	return files, nil
}

func readLimited(fsys fs.FS, name string) ([]byte, error) {
	info, err := fs.Stat(fsys, name)
	if err != nil {
		return nil, err
	}
	if info.Size() > config.MaxFileBytes {
		return nil, fmt.Errorf("%s has %d bytes, more than the limit of %d", name, info.Size(), config.MaxFileBytes)
	}
	return fs.ReadFile(fsys, name)
}
