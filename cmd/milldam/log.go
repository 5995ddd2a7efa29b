package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/milldam/milldam/core/coordinator"
	"github.com/milldam/milldam/core/meta"
	"github.com/milldam/milldam/core/record"
	"github.com/milldam/milldam/core/storage"
)

func (a *app) logCommand() *cobra.Command {
	c := &cobra.Command{Use: "log", Short: "Look into the files of a data folder"}
	return family(c, a.logDump(), a.logVerify())
}

func (a *app) logVerify() *cobra.Command {
	return &cobra.Command{Use: "verify [TOPIC|TOPIC-PARTITION|PATH...]",
		Short: "Check the files of a data folder, by default all of --dir: segments, what lies beside them, the write-ahead log, checkpoints, metadata; name the first damage of each, what is missing, and what to do",
		RunE: func(cmd *cobra.Command, args []string) error {
			paths := []string{a.dir}
			if len(args) > 0 {
				paths = nil
			}
			for _, arg := range args {
				found, _, err := places(a.dir, arg)
				if err != nil {
					return err
				}
				paths = append(paths, found...)
			}
			folders, err := foldersBelow(paths)
			if err != nil {
				return err
			}
			v := a.newVerifier(folders)
			if err := v.run(cmd.Context(), folders); err != nil {
				return err
			}
			return v.print()
		}}
}

// folder is a folder with the files in it that can be read.
type folder struct {
	dir   string
	whole bool // all of its files are there
	files []string
}

// foldersBelow finds the folders at and below paths, and in them the files that can be read.
func foldersBelow(paths []string) ([]folder, error) {
	var folders []folder
	for _, p := range paths {
		info, err := os.Stat(p)
		if err != nil {
			return nil, codedf(exitNotFound, "%w", err)
		}
		if !info.IsDir() {
			if kindOf(p) != "" {
				folders = append(folders, folder{dir: filepath.Dir(p), files: []string{p}})
			}
			continue
		}
		below := map[string]int{}
		err = filepath.WalkDir(p, func(name string, d fs.DirEntry, err error) error {
			switch {
			case err != nil && errors.Is(err, fs.ErrNotExist): // a node that runs has removed it
				return nil
			case err != nil:
				return err
			case d.IsDir():
				below[name] = len(folders)
				folders = append(folders, folder{dir: name, whole: true})
			case kindOf(name) != "":
				f := &folders[below[filepath.Dir(name)]]
				f.files = append(f.files, name)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return folders, nil
}

// filesBelow finds the files at and below paths that can be read.
func filesBelow(paths []string) ([]string, error) {
	folders, err := foldersBelow(paths)
	var files []string
	for _, f := range folders {
		files = append(files, f.files...)
	}
	return files, err
}

// kindOf tells the kind of a file, "" when it is none that can be read.
func kindOf(name string) storage.FileKind {
	if kind := metadataKind(name); kind != "" {
		return kind
	}
	return storage.KindOf(name)
}

// metadataKind tells the kind of a file that core/meta reads.
func metadataKind(name string) storage.FileKind {
	if full, err := filepath.Abs(name); err == nil { // in its own folder a file's name does not say it
		name = full
	}
	return storage.FileKind(meta.KindOf(name))
}

// maxInspected bounds what a batch may decompress to.
const maxInspected = 256 << 20

// inspector reads the records of an internal topic; it is nil for files of others.
func inspector(name string) func(key, value []byte) (coordinator.Inspected, error) {
	if full, err := filepath.Abs(name); err == nil { // in its own folder a file's name says nothing of the topic
		name = full
	}
	switch storage.TopicOf(name) {
	case "__consumer_offsets":
		return coordinator.InspectOffsetsRecord
	case "__transaction_state":
		return coordinator.InspectTxnRecord
	}
	return nil
}

// recordsCheck checks the records of an internal topic's batch; of other topics only their senders know what they mean.
func recordsCheck(name string) func(b record.Batch) error {
	inspect := inspector(name)
	if inspect == nil {
		return nil
	}
	return func(b record.Batch) error {
		if b.IsControl() {
			return nil
		}
		return b.Each(maxInspected, func(r *record.Record) error {
			if _, err := inspect(r.Key, r.Value); err != nil {
				return fmt.Errorf("offset %d: %w", r.Offset, err)
			}
			return nil
		})
	}
}
