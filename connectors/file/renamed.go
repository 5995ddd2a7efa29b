package file

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// begin opens what is there, and takes up files that were renamed while nobody followed them.
func (f *follower) begin() error {
	stored := maps.Clone(f.positions)
	f.displaced = map[string]position{}
	defer func() { f.displaced = nil }()
	for path, p := range stored {
		inPlace, err := f.inPlace(path, p)
		if err != nil {
			return err
		}
		if !inPlace {
			f.displaced[path] = p
		}
	}
	if err := f.scan(); err != nil {
		return err
	}
	for _, path := range slices.Sorted(maps.Keys(stored)) {
		var err error
		if _, displaced := f.displaced[path]; displaced {
			err = f.takeUp(path, stored[path])
		} else {
			_, err = f.takeUpAt(path, stored[path]) // it was renamed before, and is in no pattern
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// inPlace tells whether the file of a position is still at its path.
func (f *follower) inPlace(path string, p position) (bool, error) {
	r, err := openReader(path, f.config.Format, f.limits)
	if err != nil {
		return false, nil // the scan tells about it where it matters
	}
	return p.isOf(r), r.file.Close()
}

// known returns the position to go on from in a file: the one of its name, or while the source opens that of another file of its
// folder, which was renamed.
func (f *follower) known(r *reader) *position {
	if p, ok := f.positions[r.path]; ok && p.isOf(r) {
		return &p
	}
	var best *position
	for path, p := range f.displaced {
		if filepath.Dir(path) == filepath.Dir(r.path) && p.Offset > 0 && (best == nil || p.Offset > best.Offset) && p.isOf(r) {
			best = &p
		}
	}
	return best
}

// isOf tells whether p is a position in the reader's file. One that cannot be read is taken for another file: reading it will tell.
func (p position) isOf(r *reader) bool {
	same, err := p.matches(r.file)
	return err == nil && same
}

// takeUp follows the file that position p was in, when it was renamed or copied away from path and there is more in it.
func (f *follower) takeUp(path string, p position) error {
	if p.Offset == 0 || slices.ContainsFunc(f.files, func(file *followed) bool { return file.offset >= p.Offset && p.isOf(file.reader) }) {
		return nil
	}
	stem := strings.TrimSuffix(filepath.Base(path), filepath.Ext(path))
	var failed error
	f.siblings(path, func(name string, _ os.FileInfo) bool {
		if !strings.HasPrefix(filepath.Base(name), stem) {
			return false
		}
		var taken bool
		taken, failed = f.takeUpAt(name, p)
		return taken || failed != nil
	})
	return failed
}

// takeUpAt follows the file at path as one that was renamed, if p is a position in it, it is not followed, and there is more in it.
func (f *follower) takeUpAt(path string, p position) (taken bool, err error) {
	r, err := openReader(path, f.config.Format, f.limits)
	if err != nil {
		return false, nil // it is only one of those it might be
	}
	if r.info.Size() <= p.Offset || slices.ContainsFunc(f.files, func(file *followed) bool { return os.SameFile(r.info, file.info) }) || !p.isOf(r) {
		return false, r.file.Close()
	}
	if err := f.add(r, &p); err != nil {
		return false, err
	}
	last := len(f.files) - 1
	file := f.files[last]
	file.away = time.Now()
	f.files, f.turn = slices.Insert(f.files[:last:last], 0, file), 0
	return true, nil
}

// findName returns what a file that left its path is called now in the same folder.
func (f *follower) findName(file *followed) string {
	found := ""
	f.siblings(file.path, func(path string, info os.FileInfo) bool {
		if os.SameFile(info, file.info) {
			found = path
		}
		return found != ""
	})
	return found
}

// siblings calls visit for the regular files in the folder of path until it returns true.
func (f *follower) siblings(path string, visit func(string, os.FileInfo) bool) {
	dir := filepath.Dir(path)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return // a folder that cannot be listed has no other names to tell
	}
	for _, e := range entries {
		if !e.Type().IsRegular() {
			continue
		}
		if info, err := e.Info(); err == nil && visit(filepath.Join(dir, e.Name()), info) {
			return
		}
	}
}
