package main

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/milldam/milldam/core/storage"
	"github.com/milldam/milldam/core/vfs"
)

func (a *app) logCommand() *cobra.Command {
	c := &cobra.Command{Use: "log", Short: "Look into the files of a data folder"}
	return family(c, a.logVerify())
}

func (a *app) logVerify() *cobra.Command {
	return &cobra.Command{Use: "verify PATH...", Short: "Check segments, write-ahead log files, producer snapshots and checkpoints, and name the first damage of each", Args: usage(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			files, err := verifiable(args)
			if err != nil {
				return err
			}
			line := newStatusLine(a.err)
			reports, names, rows, damaged := []storage.FileReport{}, []string{}, [][]string{}, 0
			for i, file := range files {
				if err := cmd.Context().Err(); err != nil {
					return err
				}
				line.set(fmt.Sprintf("%d of %d files, %d damaged: %s", i, len(files), damaged, file))
				r, err := storage.VerifyFile(vfs.OS(), file)
				if err != nil {
					return err
				}
				verdict := "whole"
				if r.Damage != "" {
					damaged++
					verdict = r.Damage
				}
				reports, names = append(reports, r), append(names, r.File)
				rows = append(rows, []string{r.File, strconv.Itoa(r.Batches), strconv.FormatInt(r.End, 10), strconv.FormatInt(r.Offset, 10), verdict})
			}
			line.end()
			if err := a.print(map[string]any{"apiVersion": "v1", "files": reports}, names, []string{"FILE", "BATCHES", "END", "OFFSET", "STATE"}, rows); err != nil {
				return err
			}
			if damaged > 0 {
				return codedf(exitCheck, "%d of %s damaged", damaged, counted(int64(len(files)), "file"))
			}
			return nil
		}}
}

// verifiable finds the files at and below paths that can be checked.
func verifiable(paths []string) ([]string, error) {
	var files []string
	for _, p := range paths {
		if _, err := os.Stat(p); err != nil {
			return nil, codedf(exitNotFound, "%w", err)
		}
		err := filepath.WalkDir(p, func(name string, d fs.DirEntry, err error) error {
			if err == nil && !d.IsDir() && filepath.Base(filepath.Dir(name)) != "snapshots" && filepath.Base(filepath.Dir(name)) != "raft" && storage.CanVerify(name) {
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
