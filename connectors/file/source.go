package file

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/milldam/milldam/connect"
)

const (
	// batchRecords and batchBytes bound one batch; whichever comes first.
	batchRecords = 2000
	batchBytes   = 1 << 20
	// lookInterval is how often files that are followed are looked at when they have nothing new.
	lookInterval = 250 * time.Millisecond
	// maxOpenFiles bounds how many files are followed at once.
	maxOpenFiles = 1000
)

// Source reads files. See the package comment.
type Source struct {
	config SourceConfig
	task   connect.SourceTask
	known  map[string]position // by name, as stored
	files  []*tailed
	read   int64 // bytes of files that are closed
	turn   int
}

// NewSource returns the source of a configuration.
func NewSource(c SourceConfig) (connect.Source, error) {
	return &Source{config: c, known: map[string]position{}}, nil
}

// Open opens the files that are there.
func (s *Source) Open(_ context.Context, task connect.SourceTask) error {
	s.task = task
	for name, text := range task.Positions {
		p, err := parsePosition(text)
		if err != nil {
			return connect.Permanent(fmt.Errorf("%s: %w", name, err))
		}
		s.known[name] = p
	}
	if err := s.look(); err != nil {
		return err
	}
	if len(s.files) == 0 && s.config.Read == "once" {
		return connect.Permanent(fmt.Errorf("no file matches %s: correct source.file.path, which is relative to the folder where milldam was started", s.config.Path))
	}
	return nil
}

// look opens files that match and are not open yet.
func (s *Source) look() error {
	names, err := filepath.Glob(s.config.Path)
	if err != nil {
		return connect.Permanent(fmt.Errorf("source.file.path %q: %w", s.config.Path, err))
	}
	for _, name := range names {
		if name, err = filepath.Abs(name); err != nil {
			return err
		}
		if s.isOpen(name) {
			continue
		}
		if len(s.files) == maxOpenFiles {
			return connect.Permanent(fmt.Errorf("more than %d files match %s: narrow source.file.path", maxOpenFiles, s.config.Path))
		}
		t, err := openFile(name, s.config.Format == "csv", s.positions(name))
		if errors.Is(err, fs.ErrNotExist) {
			continue // removed since
		}
		if err != nil {
			return connect.Permanent(fmt.Errorf("%w: let the user that runs milldam read it, or correct source.file.path", err))
		}
		if old, known := s.known[name]; known && t.offset == 0 && old.Offset > 0 {
			s.task.Logger.Warn("the file is not the one that was read before, so it is read from its beginning", "file", name)
		}
		s.files = append(s.files, t)
	}
	return nil
}

// isOpen tells whether the file is open, under this name or under that which it had before it was renamed.
func (s *Source) isOpen(name string) bool {
	info, err := os.Stat(name)
	return slices.ContainsFunc(s.files, func(t *tailed) bool { return t.name == name || err == nil && t.is(info) })
}

// positions lists the stored position of name first, then those of other names, one of which it may have had before it was renamed.
func (s *Source) positions(name string) []position {
	var all []position
	if p, ok := s.known[name]; ok {
		all = append(all, p)
	}
	for other, p := range s.known {
		if other != name && p.Offset > 0 && p.Head > 0 {
			all = append(all, p)
		}
	}
	return all
}

// Read returns the next records of one file; io.EOF when all files are read once.
func (s *Source) Read(ctx context.Context) (connect.SourceBatch, error) {
	for {
		for range s.files {
			s.turn %= len(s.files)
			b, ended, err := s.batch(s.files[s.turn])
			if err != nil {
				return connect.SourceBatch{}, err
			}
			if ended {
				if err := s.leave(s.turn); err != nil {
					return connect.SourceBatch{}, err
				}
			} else if s.config.Read == "tail" {
				s.turn++
			}
			if len(b.Records) > 0 {
				return b, nil
			}
		}
		if s.config.Read == "once" {
			if len(s.files) == 0 {
				return connect.SourceBatch{}, io.EOF
			}
			continue
		}
		if err := s.wait(ctx); err != nil {
			return connect.SourceBatch{}, err
		}
	}
}

// leave closes a file that is read.
func (s *Source) leave(i int) error {
	t := s.files[i]
	s.read += t.offset
	s.files = slices.Delete(s.files, i, i+1)
	return t.file.Close()
}

// wait passes the time until files are looked at again, and opens those that are new.
func (s *Source) wait(ctx context.Context) error {
	timer := time.NewTimer(lookInterval)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
	}
	return s.look()
}

// batch reads what there is of one file; ended tells that nothing will come any more.
func (s *Source) batch(t *tailed) (b connect.SourceBatch, ended bool, err error) {
	once := s.config.Read == "once"
	size := 0
	for len(b.Records) < batchRecords && size < batchBytes {
		value, err := t.next(once || t.last)
		if errors.Is(err, io.EOF) {
			if ended, err = s.finished(t); err != nil {
				return b, false, err
			}
			break
		}
		if err != nil {
			if len(b.Records) > 0 {
				break // what was read goes first; the error comes again
			}
			return b, false, connect.Permanent(fmt.Errorf("%s: %w", t.name, err))
		}
		size += len(value)
		b.Records = append(b.Records, connect.Record{Value: value})
	}
	if len(b.Records) == 0 {
		return b, ended, nil
	}
	p, err := t.position()
	if err != nil {
		return connect.SourceBatch{}, false, err
	}
	s.known[t.name] = p
	b.Partition = t.name
	if b.Position, err = json.Marshal(p); err != nil {
		return connect.SourceBatch{}, false, err
	}
	b.Done = s.read
	for _, f := range s.files {
		b.Done += f.offset
		b.Total += f.size()
	}
	b.Total += s.read
	return b, ended, nil
}

// finished tells at a file's end whether nothing will come any more.
func (s *Source) finished(t *tailed) (bool, error) {
	if s.config.Read == "once" || t.last {
		return true, nil
	}
	replaced, err := t.replaced()
	if err != nil || !replaced {
		return false, err
	}
	// What was written to it before it was replaced is read to its last byte, be it the end of a line or not.
	t.last = true
	s.task.Logger.Info("another file has the name now; the one before is read to its end", "file", t.name)
	return false, nil
}

// Close closes the files.
func (s *Source) Close() error {
	var err error
	for _, t := range s.files {
		err = errors.Join(err, t.file.Close())
	}
	s.files = nil
	return err
}
