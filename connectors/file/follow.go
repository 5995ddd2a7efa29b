package file

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"slices"
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
	was     *position // behind what was delivered; nil: nothing was
	size    int64     // when it was last looked at
	away    time.Time // since when it was renamed away and did not grow; zero at its place
	renamed bool      // its position is to be stored under its new name
	last    bool      // it goes at its end: nobody writes it any more
}

func newFollower(c SourceConfig, l limits, log *slog.Logger, positions map[string]position) *follower {
	return &follower{config: c, limits: l, log: log, positions: positions, said: map[string]bool{}}
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
			f.positions[b.Partition] = *file.was
			b.Done, b.Total = f.progress()
			return b, true, nil
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
	if err == nil && b.Position != nil {
		was := file.marked
		file.was, file.renamed = &was, false
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
	if file.was == nil {
		return nil
	}
	same, err := file.was.matches(file.file)
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
	before := file.was
	file.was = nil
	file.restart()
	if before != nil {
		if err := f.takeUp(file.path, *before); err != nil {
			f.log.Warn("look for a copy of what was cut", "path", file.path, "error", err)
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

func (f *follower) add(r *reader, from *position) error {
	if len(f.files) >= 2*maxFollowed {
		return errors.Join(fmt.Errorf("more than %d files were renamed away within %s", maxFollowed, goneAfter), r.file.Close())
	}
	file := &followed{reader: r, was: from}
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
