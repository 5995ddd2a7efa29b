package file

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/milldam/milldam/connect"
)

const (
	// pollInterval is how often followed files, and the folders they lie in, are looked at.
	pollInterval = 250 * time.Millisecond
	// goneAfter is how long a file that was renamed away is followed without growing: its writer may hold it open for a while.
	goneAfter = 30 * time.Second
	// maxFollowed bounds the files that are open at once.
	maxFollowed = 500
)

// follower follows files that grow. A file is the one behind its open handle, whatever it is called by now.
type follower struct {
	config    SourceConfig
	limits    limits
	log       *slog.Logger
	positions map[string]position // by path, of what was delivered last
	displaced map[string]position // while the source opens: positions of files that are no longer at their paths
	files     []*followed
	turn      int // of files, whose turn it is to deliver
	scanned   time.Time
	trouble   error           // the last scan's, told when no other file has anything to deliver
	said      map[string]bool // paths that were told to be missing
}

// followed is a file that is followed.
type followed struct {
	*reader
	size    int64     // when it was last looked at
	away    time.Time // since when it was renamed away and did not grow; zero at its place
	renamed bool      // its position is to be stored under its new name
	last    bool      // it goes at its end: nobody writes it any more
}

func newFollower(c SourceConfig, l limits, log *slog.Logger, positions map[string]position) *follower {
	return &follower{config: c, limits: l, log: log, positions: positions, said: map[string]bool{}}
}

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

// next returns a batch if one is there; files take turns.
func (f *follower) next() (b connect.SourceBatch, ready bool, err error) {
	if time.Since(f.scanned) >= pollInterval {
		if err := f.scan(); err != nil {
			return b, false, err
		}
	}
	for range len(f.files) {
		f.turn %= len(f.files)
		file := f.files[f.turn]
		f.turn++
		b, err := file.next()
		switch {
		case errors.Is(err, errShorter):
			f.changed(file)
		case err != nil:
			return b, false, err
		case b.Position != nil:
			f.positions[b.Partition], err = parsePosition(b.Position)
			b.Done, b.Total = f.progress()
			return b, true, err
		case file.last:
			if err := f.drop(file); err != nil {
				return b, false, err
			}
			f.scanned = time.Time{} // another file may have been waiting for the name
			return f.next()
		}
	}
	err, f.trouble = f.trouble, nil
	return b, false, err
}

// next returns the file's next batch, without a position when there is none. One without records only renames the position.
func (file *followed) next() (connect.SourceBatch, error) {
	b, err := file.batch(file.last)
	if err == nil && b.Position == nil && file.renamed {
		b.Position, err = file.mark()
	}
	if b.Position != nil {
		file.renamed = false
	}
	return b, err
}

func (f *follower) progress() (done, total int64) {
	for _, file := range f.files {
		done += file.offset
		total += max(file.size, file.offset)
	}
	return done, total
}

// scan looks at what is followed and at what the patterns stand for by now. Its own error is for the owner to mend.
func (f *follower) scan() error {
	f.scanned, f.trouble = time.Now(), nil
	var troubles []error
	for _, file := range slices.Clone(f.files) { // a cut file may add its copy
		if err := f.look(file); err != nil {
			troubles = append(troubles, err)
		}
	}
	paths, err := f.expand()
	if err != nil {
		return err
	}
	for _, path := range paths {
		switch err := f.discover(path); {
		case errors.Is(err, connect.ErrPermanent):
			return err
		case err != nil:
			troubles = append(troubles, err)
		}
	}
	f.trouble = errors.Join(troubles...)
	return nil
}

// expand returns the files that the patterns stand for now, perhaps none.
func (f *follower) expand() ([]string, error) {
	var paths []string
	for _, pattern := range f.config.Path {
		found, err := expand([]string{pattern})
		if err != nil {
			f.sayOnce(pattern, "waiting for a file to appear")
			continue
		}
		for _, path := range found {
			if !slices.Contains(paths, path) {
				paths = append(paths, path)
			}
		}
	}
	if len(paths) > maxFollowed {
		return nil, connect.Permanent(fmt.Errorf("source.file.path stands for %d files, more than the %d that are followed at once; narrow the pattern", len(paths), maxFollowed))
	}
	return paths, nil
}

func (f *follower) sayOnce(path, what string) {
	if !f.said[path] {
		f.said[path] = true
		f.log.Info(what, "path", path)
	}
}

// look sees whether a file was cut, rewritten or renamed.
func (f *follower) look(file *followed) error {
	info, err := file.file.Stat()
	if err != nil {
		return fmt.Errorf("look at %s: %w", file.path, err)
	}
	if info.Size() != file.size {
		if err := f.resized(file, info.Size()); err != nil {
			return err
		}
	}
	if !file.away.IsZero() {
		file.last = time.Since(file.away) >= goneAfter
	}
	if at, err := os.Stat(file.path); err == nil && os.SameFile(at, file.info) {
		return nil
	}
	f.turn = 0 // those that came first hold what was written first
	name := f.findName(file)
	if name == "" {
		file.last = true // nothing leads to it but the open handle
		return nil
	}
	file.path, file.renamed = name, file.offset > 0
	if file.away.IsZero() {
		file.away = time.Now()
	}
	return nil
}

// resized sees whether a file of another size than before still begins with what was read of it.
func (f *follower) resized(file *followed, size int64) error {
	file.size = size
	if !file.away.IsZero() {
		file.away = time.Now()
	}
	before, known := f.positions[file.path]
	if !known {
		return nil
	}
	same, err := before.matches(file.file)
	if err != nil {
		return fmt.Errorf("read %s again: %w", file.path, err)
	}
	if !same {
		f.changed(file)
	}
	return nil
}

// changed begins a file anew that was cut or rewritten. Where it was copied before it was cut, the copy is read to its end.
func (f *follower) changed(file *followed) {
	f.log.Warn("the file was cut or rewritten: it is read from its start", "path", file.path)
	before, known := f.positions[file.path]
	delete(f.positions, file.path)
	file.restart()
	if known {
		if err := f.takeUp(file.path, before); err != nil {
			f.log.Warn("look for a copy of what was cut", "path", file.path, "error", err)
		}
	}
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

// discover follows the file at path unless it is followed already.
func (f *follower) discover(path string) error {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		f.sayOnce(path, "waiting for the file to appear")
		return nil
	}
	if err != nil {
		return fmt.Errorf("look for a file to follow: %w", err)
	}
	for _, file := range f.files {
		switch {
		case os.SameFile(info, file.info):
			file.away, file.last = time.Time{}, false // it is wanted by its new name too
			return nil
		case file.path == path:
			return nil // the one before it goes, or gets another name, first: the position is stored by name
		}
	}
	r, err := openReader(path, f.config.Format, f.limits)
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("%w; let the user that runs milldam read it, or correct source.file.path", err)
	}
	if err != nil {
		return err
	}
	delete(f.said, path)
	return f.add(r, f.known(r))
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

func (f *follower) add(r *reader, from *position) error {
	if len(f.files) >= 2*maxFollowed {
		return errors.Join(fmt.Errorf("more than %d files were renamed away within %s", maxFollowed, goneAfter), r.file.Close())
	}
	file := &followed{reader: r}
	if from == nil {
		if _, before := f.positions[r.path]; before {
			f.log.Info("another file has the name now: it is read from its start", "path", r.path)
			delete(f.positions, r.path)
		}
	} else {
		if err := r.resume(*from); err != nil {
			return errors.Join(err, r.file.Close())
		}
		file.renamed = f.positions[r.path] != *from
	}
	f.files = append(f.files, file)
	return nil
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

// drop closes a file that is read to its end.
func (f *follower) drop(file *followed) error {
	i := slices.Index(f.files, file)
	f.files = slices.Delete(f.files, i, i+1)
	if f.turn > i {
		f.turn--
	}
	return file.file.Close()
}

func (f *follower) close() error {
	var errs []error
	for _, file := range f.files {
		errs = append(errs, file.file.Close())
	}
	f.files = nil
	return errors.Join(errs...)
}
