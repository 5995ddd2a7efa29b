package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/milldam/milldam/core/meta"
	"github.com/milldam/milldam/core/record"
	"github.com/milldam/milldam/core/storage"
	"github.com/milldam/milldam/core/vfs"
)

// logVerifier checks files, and what is missing beside them.
type logVerifier struct {
	app     *app
	line    *statusLine
	total   int
	storage *storage.Verifier
	reports []storage.FileReport
	damaged int
}

func (a *app) newVerifier(folders []folder) *logVerifier {
	v := &logVerifier{app: a, line: newStatusLine(a.err), reports: []storage.FileReport{}}
	for _, f := range folders {
		v.total += len(f.files)
	}
	v.storage = storage.NewVerifier(vfs.OS(), v.topics)
	return v
}

// topics reads from the metadata beside a store which topics there are.
func (v *logVerifier) topics(store string) map[record.TopicID]string {
	dir := filepath.Join(store, metaDir)
	names, err := meta.TopicNames(vfs.OS(), dir)
	if err != nil {
		v.line.end()
		v.app.say("%s cannot be read, so it is not known which folders of partitions there must be: %v", dir, err)
		return nil
	}
	return names
}

// metaDir is the metadata's folder in a data folder.
const metaDir = "meta"

func (v *logVerifier) run(ctx context.Context, folders []folder) error {
	defer v.line.end()
	for _, f := range folders {
		for _, file := range f.files {
			if err := ctx.Err(); err != nil {
				return err
			}
			v.line.set(fmt.Sprintf("%d of %d files, %d damaged: %s", len(v.reports), v.total, v.damaged, file))
			r, err := v.file(file)
			if errors.Is(err, fs.ErrNotExist) { // a node that runs has removed it
				continue
			}
			if err != nil {
				return err
			}
			v.add(r)
		}
		if !f.whole {
			continue
		}
		missing, err := v.storage.Missing(f.dir)
		if err != nil {
			return err
		}
		for _, r := range missing {
			v.add(r)
		}
	}
	for _, f := range folders { // what is told of a file is told first
		if err := v.metadata(f); err != nil {
			return err
		}
	}
	return nil
}

func (v *logVerifier) add(r storage.FileReport) {
	if r.Damage != "" {
		v.damaged++
	}
	v.reports = append(v.reports, r)
}

// file checks one file.
func (v *logVerifier) file(name string) (storage.FileReport, error) {
	kind := metadataKind(name)
	if kind == "" {
		return v.storage.File(name, recordsCheck(name))
	}
	full, err := filepath.Abs(name)
	if err != nil {
		return storage.FileReport{}, err
	}
	r, err := meta.VerifyFile(vfs.OS(), full)
	return storage.FileReport{File: name, Kind: kind, Entries: r.Entries, End: r.End, Offset: -1, Damage: r.Damage, Next: r.Next}, err
}

// metadata tells what a folder of metadata lacks, and whether a data folder has one.
func (v *logVerifier) metadata(f folder) error {
	if !f.whole {
		return nil
	}
	if there, err := isThere(f.dir, "format", "wal"); err != nil {
		return err
	} else if there {
		if there, err := isThere(f.dir, metaDir); !there && err == nil {
			v.add(storage.FileReport{File: filepath.Join(f.dir, metaDir), Kind: metadataFolder, Offset: -1, Damage: "it is missing", Next: meta.RestoreAdvice})
		}
	}
	if !meta.IsFolder(vfs.OS(), f.dir) {
		return nil
	}
	damage := meta.VerifyFolder(vfs.OS(), f.dir)
	if damage == nil || !errors.Is(damage, meta.ErrDamaged) {
		return damage
	}
	file, what := meta.DamagedFile(damage)
	if slices.ContainsFunc(v.reports, func(r storage.FileReport) bool { return r.File == file && r.Damage != "" }) {
		return nil
	}
	kind := metadataKind(file)
	if kind == "" {
		kind = metadataFolder
	}
	v.add(storage.FileReport{File: file, Kind: kind, Offset: -1, Damage: what, Next: meta.RestoreAdvice})
	return nil
}

// isThere tells whether a folder has all of these.
func isThere(dir string, names ...string) (bool, error) {
	for _, name := range names {
		if there, err := vfs.Exists(vfs.OS(), filepath.Join(dir, name)); !there || err != nil {
			return false, err
		}
	}
	return true, nil
}

// metadataFolder is the kind of what a folder of the metadata lacks.
const metadataFolder storage.FileKind = "metadata folder"

// print shows the reports, and says what to do about damage.
func (v *logVerifier) print() error {
	names, rows := make([]string, len(v.reports)), make([][]string, len(v.reports))
	for i, r := range v.reports {
		verdict := "whole"
		if r.Damage != "" {
			verdict = r.Damage
		}
		names[i], rows[i] = r.File, []string{r.File, string(r.Kind), strconv.Itoa(r.Batches + r.Entries), strconv.FormatInt(r.End, 10), strconv.FormatInt(r.Offset, 10), verdict}
	}
	if err := v.app.print(map[string]any{"apiVersion": "v1", "files": v.reports}, names, []string{"FILE", "KIND", "ENTRIES", "END", "OFFSET", "STATE"}, rows); err != nil {
		return err
	}
	for _, r := range v.reports {
		if r.Damage != "" {
			v.app.say("%s: %s", r.File, r.Next)
		}
	}
	if v.damaged > 0 {
		return codedf(exitCheck, "%d of %s damaged", v.damaged, counted(int64(len(v.reports)), "file"))
	}
	return nil
}
