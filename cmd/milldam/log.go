package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/milldam/milldam/core/coordinator"
	"github.com/milldam/milldam/core/meta"
	"github.com/milldam/milldam/core/record"
	"github.com/milldam/milldam/core/storage"
	"github.com/milldam/milldam/core/vfs"
)

func (a *app) logCommand() *cobra.Command {
	c := &cobra.Command{Use: "log", Short: "Look into the files of a data folder"}
	return family(c, a.logDump(), a.logVerify())
}

func (a *app) logVerify() *cobra.Command {
	return &cobra.Command{Use: "verify PATH...", Short: "Check segments, what lies beside them, the write-ahead log, checkpoints and metadata snapshots; name the first damage of each, and what to do", Args: usage(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			files, err := filesBelow(args)
			if err != nil {
				return err
			}
			line := newStatusLine(a.err)
			reports, names, rows, damaged := []storage.FileReport{}, []string{}, [][]string{}, []storage.FileReport{}
			for i, file := range files {
				if err := cmd.Context().Err(); err != nil {
					return err
				}
				line.set(fmt.Sprintf("%d of %d files, %d damaged: %s", i, len(files), len(damaged), file))
				r, err := verifyFile(file)
				if err != nil {
					return err
				}
				verdict := "whole"
				if r.Damage != "" {
					damaged = append(damaged, r)
					verdict = r.Damage
				}
				reports, names = append(reports, r), append(names, r.File)
				rows = append(rows, []string{r.File, string(r.Kind), strconv.Itoa(r.Batches + r.Entries), strconv.FormatInt(r.End, 10), strconv.FormatInt(r.Offset, 10), verdict})
			}
			line.end()
			if err := a.print(map[string]any{"apiVersion": "v1", "files": reports}, names, []string{"FILE", "KIND", "ENTRIES", "END", "OFFSET", "STATE"}, rows); err != nil {
				return err
			}
			for _, r := range damaged {
				a.say("%s: %s", r.File, r.Next)
			}
			if len(damaged) > 0 {
				return codedf(exitCheck, "%d of %s damaged", len(damaged), counted(int64(len(files)), "file"))
			}
			return nil
		}}
}

// filesBelow finds the files at and below paths that can be read.
func filesBelow(paths []string) ([]string, error) {
	var files []string
	for _, p := range paths {
		if _, err := os.Stat(p); err != nil {
			return nil, codedf(exitNotFound, "%w", err)
		}
		err := filepath.WalkDir(p, func(name string, d fs.DirEntry, err error) error {
			if err == nil && !d.IsDir() && (meta.IsSnapshot(name) || storage.KindOf(name) != "") {
				files = append(files, name)
			}
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return files, nil
}

// metadataSnapshot is the kind of the files that core/meta reads.
const metadataSnapshot storage.FileKind = "metadata snapshot"

func verifyFile(name string) (storage.FileReport, error) {
	if !meta.IsSnapshot(name) {
		return storage.VerifyFile(vfs.OS(), name, recordsCheck(name))
	}
	r := storage.FileReport{File: name, Kind: metadataSnapshot, Offset: -1}
	info, err := os.Stat(name)
	if err != nil {
		return r, err
	}
	r.End = info.Size()
	switch _, err = meta.InspectSnapshot(vfs.OS(), name); {
	case errors.Is(err, meta.ErrDamaged):
		r.Damage, r.Next = err.Error(), "restore the folder of the metadata from a backup, unless an older snapshot beside it is whole and the raft log goes back to it: then start the node"
		return r, nil
	case err != nil:
		return r, err
	}
	r.Entries = 1
	return r, nil
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
