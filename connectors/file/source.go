package file

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/milldam/milldam/connect"
)

// Source reads files. See the package comment.
type Source struct {
	config    SourceConfig
	limits    limits
	task      connect.SourceTask
	positions map[string]position // by path, of what was delivered last

	paths []string // read: once
	sizes []int64  // of paths, when the source was opened
	open  *reader  // of paths[0]
	done  int64    // bytes of files that are read to their end
	total int64

	follow *follower // read: tail

	turn   chan struct{} // held by Open, Read and the end of Close; a channel, since it is held while files are read
	closed chan struct{}
	once   sync.Once
}

// NewSource returns the source of a configuration.
func NewSource(c SourceConfig) (connect.Source, error) { return newSource(c), nil }

func newSource(c SourceConfig) *Source {
	return &Source{config: c, limits: limits{chunkBytes: chunkBytes, batchRecords: batchRecords, lineBytes: int(c.MaxLine)},
		turn: make(chan struct{}, 1), closed: make(chan struct{})}
}

// Open finds the files and checks that they can be read.
func (s *Source) Open(_ context.Context, task connect.SourceTask) error {
	s.turn <- struct{}{}
	defer func() { <-s.turn }()
	s.task = task
	var err error
	if s.positions, err = parsePositions(task.Positions); err != nil {
		return err
	}
	if s.config.Read == "tail" {
		s.follow = newFollower(s.config, s.limits, task.Logger, s.positions)
		return s.follow.begin()
	}
	if s.paths, err = expand(s.config.Path); err != nil {
		return err
	}
	for _, path := range s.paths {
		size, err := s.check(path)
		if err != nil {
			return explainOpen(path, err)
		}
		s.sizes = append(s.sizes, size)
		s.total += size
	}
	return nil
}

// check opens a file to see that it can be, and returns its size.
func (s *Source) check(path string) (int64, error) {
	r, err := openReader(path, s.config.Format, s.limits)
	if err != nil {
		return 0, err
	}
	return r.info.Size(), r.file.Close()
}

// expand returns the absolute paths that patterns stand for, sorted within each, every file once. A name that is there is no pattern.
func expand(patterns []string) ([]string, error) {
	var paths []string
	for _, pattern := range patterns {
		found := []string{pattern}
		if _, err := os.Stat(pattern); err != nil && strings.ContainsAny(pattern, "*?[") {
			if found, err = filepath.Glob(pattern); err != nil {
				return nil, connect.Permanent(fmt.Errorf("%q is no pattern: %w", pattern, err))
			}
			found = slices.DeleteFunc(found, func(path string) bool {
				info, err := os.Stat(path)
				return err == nil && !info.Mode().IsRegular()
			})
			if len(found) == 0 {
				return nil, missing(pattern)
			}
		}
		for _, path := range found {
			// Positions are stored by absolute path: a relative one is another file when the pipeline is started elsewhere.
			path, err := filepath.Abs(path)
			if err != nil {
				return nil, err
			}
			if !slices.Contains(paths, path) {
				paths = append(paths, path)
			}
		}
	}
	return paths, nil
}

// missing is the error for a file, or for all files of a pattern, that are not there. Abs fails where there is no working folder: then the path
// as it is written says as much.
func missing(path string) error {
	if abs, err := filepath.Abs(path); err == nil {
		path = abs
	}
	return connect.Permanent(fmt.Errorf("there is no file %s; correct source.file.path, or wait for it with source.file.read: tail", path))
}

// explainOpen says what to do about a file that cannot be opened. It is for the owner to mend.
func explainOpen(path string, err error) error {
	switch {
	case errors.Is(err, connect.ErrPermanent):
		return err
	case errors.Is(err, fs.ErrNotExist):
		return missing(path)
	case errors.Is(err, fs.ErrPermission):
		return connect.Permanent(fmt.Errorf("%w; let the user that runs milldam read it, or correct source.file.path", err))
	}
	return connect.Permanent(err)
}

var errClosed = fmt.Errorf("the file source: %w", os.ErrClosed)

// Read returns the next lines of one file.
func (s *Source) Read(ctx context.Context) (connect.SourceBatch, error) {
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-s.closed:
		return connect.SourceBatch{}, errClosed
	}
	for {
		select {
		case <-s.closed:
			return connect.SourceBatch{}, errClosed
		case <-ctx.Done():
			return connect.SourceBatch{}, ctx.Err()
		default:
		}
		b, ready, err := s.next()
		if ready || err != nil {
			return b, err
		}
		if s.follow == nil {
			continue
		}
		if err := s.wait(ctx); err != nil {
			return connect.SourceBatch{}, err
		}
	}
}

// next returns a batch if one is there.
func (s *Source) next() (b connect.SourceBatch, ready bool, err error) {
	if s.follow != nil {
		return s.follow.next()
	}
	return s.nextOnce()
}

// nextOnce returns the next batch of files that are read once, one after the other.
func (s *Source) nextOnce() (b connect.SourceBatch, ready bool, err error) {
	if len(s.paths) == 0 {
		return b, false, io.EOF
	}
	if s.open == nil {
		if err := s.openFirst(); err != nil {
			return b, false, err
		}
	}
	b, err = s.open.batch(true)
	if errors.Is(err, errShorter) {
		err = connect.Permanent(fmt.Errorf("%w; start the pipeline again, then it is read from its start", err))
	}
	if err != nil {
		return b, false, err
	}
	if len(b.Records) == 0 {
		err := s.open.file.Close()
		s.done += s.sizes[0]
		s.open, s.paths, s.sizes = nil, s.paths[1:], s.sizes[1:]
		return b, false, err
	}
	b.Done = s.done + min(s.open.offset, s.sizes[0]) // it may have grown
	b.Total = s.total
	return b, true, nil
}

// openFirst opens paths[0] and goes to where it was left.
func (s *Source) openFirst() error {
	path := s.paths[0]
	r, err := openReader(path, s.config.Format, s.limits)
	if err != nil {
		return explainOpen(path, err)
	}
	if p, known := s.positions[path]; known {
		same, err := p.matches(r.file)
		if err == nil && same {
			err = r.resume(p)
		}
		if err != nil {
			return errors.Join(fmt.Errorf("look for the position in %s: %w", path, err), r.file.Close())
		}
		if !same {
			s.task.Logger.Warn("the file is not the one that was read before, or was changed: it is read from its start", "path", path)
		}
	}
	s.open = r
	return nil
}

// Close releases the files; a Read that waits returns.
func (s *Source) Close() error {
	var err error
	s.once.Do(func() {
		close(s.closed)
		s.turn <- struct{}{}
		defer func() { <-s.turn }()
		if s.open != nil {
			err = s.open.file.Close()
		}
		if s.follow != nil {
			err = errors.Join(err, s.follow.close())
		}
	})
	return err
}

// wait waits until it is time to look for more.
func (s *Source) wait(ctx context.Context) error {
	timer := time.NewTimer(pollInterval)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-s.closed:
		return errClosed
	}
}
