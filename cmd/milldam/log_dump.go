package main

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/milldam/milldam/core/meta"
	"github.com/milldam/milldam/core/record"
	"github.com/milldam/milldam/core/storage"
	"github.com/milldam/milldam/core/vfs"
)

// logDumper reads files of a data folder into rows.
type logDumper struct {
	records bool
	all     bool
	from    int64
	limit   int // rows in all; 0 is no limit
	count   int
}

// dumpedFile is what one file holds.
type dumpedFile struct {
	File   string           `json:"file"`
	Kind   storage.FileKind `json:"kind"`
	Rows   []any            `json:"rows"`
	Damage string           `json:"damage,omitempty"` // the rows are those in front of it
}

// defaultDumpLimit keeps a dump of a large folder from filling the memory.
const defaultDumpLimit = 1000

func (a *app) logDump() *cobra.Command {
	d := &logDumper{}
	c := &cobra.Command{Use: "dump TOPIC|TOPIC-PARTITION|PATH...", Args: usage(cobra.MinimumNArgs(1)),
		Short: "Show what files of a data folder hold: segments of a topic in --dir, or at a path also indexes, snapshots, leader epochs, checkpoint, write-ahead log, the metadata's log and snapshots",
		RunE: func(cmd *cobra.Command, args []string) error {
			files, err := d.files(a.dir, args)
			if err != nil {
				return err
			}
			dumped, names, damaged := []dumpedFile{}, []string{}, 0
			for _, file := range files {
				if err := cmd.Context().Err(); err != nil {
					return err
				}
				if d.full() {
					break
				}
				f, err := d.file(file)
				if err != nil {
					return err
				}
				if f.Damage != "" {
					damaged++
					a.say("%s: %s; milldam log verify tells what to do", f.File, f.Damage)
				}
				dumped, names = append(dumped, f), append(names, f.File)
			}
			if err := a.printDump(dumped, names); err != nil {
				return err
			}
			if d.full() {
				a.say("%d rows; --limit 0 shows all, --from another part", d.count)
			}
			if damaged > 0 {
				return codedf(exitCheck, "%d of %s damaged", damaged, counted(int64(len(files)), "file"))
			}
			return nil
		}}
	c.Flags().BoolVar(&d.records, "records", false, "records instead of batches; those of __consumer_offsets and __transaction_state by their meaning")
	c.Flags().BoolVar(&d.all, "all", false, "of a topic or folder not only the segments, but every file")
	c.Flags().Int64Var(&d.from, "from", 0, "leave out what lies below this offset, or in the metadata's log below this index")
	c.Flags().IntVar(&d.limit, "limit", defaultDumpLimit, "rows in all; 0 is no limit")
	return c
}

// files finds what the arguments name: a topic or partition of the data folder, or a file or folder.
func (d *logDumper) files(dir string, args []string) ([]string, error) {
	var files []string
	for _, arg := range args {
		paths, single, err := places(dir, arg)
		if err != nil {
			return nil, err
		}
		found, err := filesBelow(paths)
		if err != nil {
			return nil, err
		}
		if single && len(found) == 0 {
			return nil, codedf(exitUsage, "%s is no kind of file that can be dumped: .log .index .timeindex .txnindex .snapshot .wal, leader-epoch-checkpoint, partition.metadata, checkpoint, and stable and end of meta/raft", arg)
		}
		if !single && !d.all {
			found = slices.DeleteFunc(found, func(f string) bool { return !isLog(f) })
		}
		files = append(files, found...)
	}
	return files, nil
}

// isLog tells whether a file is one that a folder's dump shows by itself: a segment of a partition or of the metadata's log.
func isLog(name string) bool {
	kind := kindOf(name)
	return kind == storage.SegmentFile || kind == storage.FileKind(meta.LogFile)
}

// places returns where an argument leads; single tells that it is one file.
func places(dir, arg string) (paths []string, single bool, err error) {
	if !strings.ContainsRune(arg, filepath.Separator) {
		logs := filepath.Join(dir, "logs")
		if info, err := os.Stat(filepath.Join(logs, arg)); err == nil && info.IsDir() {
			return []string{filepath.Join(logs, arg)}, false, nil
		}
		folders, err := os.ReadDir(logs)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, false, err
		}
		for _, f := range folders {
			if path := filepath.Join(logs, f.Name()); f.IsDir() && storage.TopicOf(filepath.Join(path, "x")) == arg {
				paths = append(paths, path)
			}
		}
		if len(paths) > 0 {
			return paths, false, nil
		}
	}
	info, err := os.Stat(arg)
	if err != nil {
		return nil, false, nowhere(dir, arg)
	}
	return []string{arg}, !info.IsDir(), nil
}

// nowhere is the error of an argument that leads to no files.
func nowhere(dir, arg string) error {
	wal := filepath.Join(dir, "wal")
	if _, err := os.Stat(wal); err != nil {
		return codedf(exitNotFound, "%s is no path, and %s is no data folder; name it with --dir", arg, dir)
	}
	return codedf(exitNotFound, "%s is no path, and no topic or partition with files in %s. What a node that runs or was killed has not moved to segments is shown by: milldam log dump --all %s", arg, dir, wal)
}

func (d *logDumper) full() bool { return d.limit > 0 && d.count >= d.limit }

// errEnough ends the reading of a file.
var errEnough = errors.New("enough rows")

// file reads one file.
func (d *logDumper) file(name string) (dumpedFile, error) {
	out := dumpedFile{File: name, Kind: kindOf(name), Rows: []any{}}
	add := func(row any) error {
		if d.full() {
			return errEnough
		}
		d.count++
		out.Rows = append(out.Rows, row)
		return nil
	}
	var err error
	switch {
	case metadataKind(name) != "":
		err = d.metadata(name, add)
	case out.Kind == storage.SegmentFile:
		err = storage.ReadBatches(vfs.OS(), name, func(b record.Batch, at int64) error { return d.batch(name, b, at, add) })
	case out.Kind == storage.WALFile:
		err = storage.ReadWAL(vfs.OS(), name, func(e storage.WALEntry, b record.Batch) error {
			if e.Offset < d.from {
				return nil
			}
			return add(e)
		})
	default:
		var rows []any
		rows, err = storage.ReadEntries(vfs.OS(), name)
		for _, row := range rows {
			if offset, ok := offsetOf(row); ok && offset < d.from {
				continue
			}
			if add(row) != nil {
				break
			}
		}
	}
	switch {
	case errors.Is(err, errEnough):
		err = nil
	case errors.Is(err, storage.ErrCorrupt), errors.Is(err, storage.ErrBadEntries), errors.Is(err, meta.ErrDamaged):
		out.Damage, err = err.Error(), nil
	}
	return out, err
}

// metadata reads a file of the metadata; of its log --from is an index.
func (d *logDumper) metadata(name string, add func(any) error) error {
	full, err := filepath.Abs(name)
	if err != nil {
		return err
	}
	_, err = meta.Inspect(vfs.OS(), full, func(row any) error {
		if e, ok := row.(*meta.InspectedEntry); ok && e.Index < uint64(max(0, d.from)) {
			return nil
		}
		return add(row)
	})
	return err
}

// offsetOf is what --from is compared with in rows that have an offset.
func offsetOf(row any) (int64, bool) {
	switch e := row.(type) {
	case storage.OffsetIndexEntry:
		return e.Offset, true
	case storage.TimeIndexEntry:
		return e.Offset, true
	case storage.TxnIndexEntry:
		return e.Last, true
	}
	return 0, false
}

// batchRow is a batch of a segment.
type batchRow struct {
	Position      int64  `json:"position"`
	First         int64  `json:"first"`
	Last          int64  `json:"last"`
	Records       int32  `json:"records"`
	Bytes         int    `json:"bytes"`
	Codec         string `json:"codec"`
	LeaderEpoch   int32  `json:"leaderEpoch"`
	MaxTimestamp  int64  `json:"maxTimestamp"`
	ProducerID    int64  `json:"producerId"` // -1 without
	ProducerEpoch int16  `json:"producerEpoch"`
	Sequence      int32  `json:"sequence"` // of the first record
	Transactional bool   `json:"transactional"`
	Marker        string `json:"marker,omitempty"`
}

// recordRow is a record of a segment.
type recordRow struct {
	Offset    int64             `json:"offset"`
	Timestamp int64             `json:"timestamp"`
	Marker    string            `json:"marker,omitempty"`
	Kind      string            `json:"kind,omitempty"` // of a record of an internal topic
	Key       any               `json:"key"`
	Value     any               `json:"value"`
	Headers   map[string]string `json:"headers,omitempty"`
	Damage    string            `json:"damage,omitempty"`
}

func (d *logDumper) batch(name string, b record.Batch, at int64, add func(any) error) error {
	if int64(b.LastOffset()) < d.from {
		return nil
	}
	mark := markerText(b)
	if !d.records {
		return add(batchRow{at, int64(b.BaseOffset()), int64(b.LastOffset()), b.Count(), len(b), b.Codec().String(), int32(b.LeaderEpoch()), b.MaxTimestamp(),
			int64(b.ProducerID()), int16(b.ProducerEpoch()), int32(b.BaseSequence()), b.IsTransactional(), mark})
	}
	inspect := inspector(name)
	err := b.Each(maxInspected, func(r *record.Record) error {
		if int64(r.Offset) < d.from {
			return nil
		}
		row := recordRow{Offset: int64(r.Offset), Timestamp: r.Timestamp, Marker: mark}
		switch {
		case b.IsControl():
		case inspect != nil:
			said, err := inspect(r.Key, r.Value)
			if row.Kind, row.Key, row.Value = said.Kind, said.Key, said.Value; err != nil {
				row.Damage, row.Key, row.Value = err.Error(), bytesText(r.Key), bytesText(r.Value)
			}
		default:
			row.Key, row.Value = bytesText(r.Key), bytesText(r.Value)
		}
		for _, h := range r.Headers {
			if row.Headers == nil {
				row.Headers = map[string]string{}
			}
			row.Headers[h.Key] = string(h.Value)
		}
		return add(row)
	})
	if err != nil && !errors.Is(err, errEnough) {
		return fmt.Errorf("%w at position %d: %w", storage.ErrCorrupt, at, err)
	}
	return err
}

// markerText says which marker a control batch is, with its producer.
func markerText(b record.Batch) string {
	if !b.IsControl() {
		return ""
	}
	m, ok, err := b.Marker()
	switch {
	case err != nil || !ok:
		return "other"
	case m.Commit:
		return "commit"
	}
	return "abort"
}

// bytesText is bytes as JSON can have them: text, or, with what is no text, base64 that says so.
func bytesText(b []byte) any {
	switch {
	case b == nil:
		return nil
	case utf8.Valid(b):
		return string(b)
	}
	return "base64:" + base64.StdEncoding.EncodeToString(b)
}

// printDump prints each file as a table of its own.
func (a *app) printDump(files []dumpedFile, names []string) error {
	if a.output != "table" {
		return a.print(map[string]any{"apiVersion": "v1", "files": files}, names, nil, nil)
	}
	for i, f := range files {
		if i > 0 {
			fmt.Fprintln(a.out)
		}
		fmt.Fprintf(a.out, "%s, %s\n\n", f.File, f.Kind)
		head, rows := tableOf(f.Rows)
		if err := a.table(head, rows); err != nil {
			return err
		}
	}
	return nil
}

// tableOf makes a table of structs of one type: their JSON fields are its columns, but for those that are empty in all rows.
func tableOf(list []any) (head []string, rows [][]string) {
	if len(list) == 0 {
		return []string{"EMPTY"}, nil
	}
	rows = make([][]string, len(list))
	t := reflect.Indirect(reflect.ValueOf(list[0])).Type()
	for i := range t.NumField() {
		name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
		cells, filled := make([]string, len(list)), false
		for j, row := range list {
			cells[j] = cellText(reflect.Indirect(reflect.ValueOf(row)).Field(i).Interface())
			filled = filled || cells[j] != ""
		}
		if !filled {
			continue
		}
		head = append(head, columnName(name))
		for j, c := range cells {
			rows[j] = append(rows[j], c)
		}
	}
	return head, rows
}

// columnName is a JSON field's name as a column: leaderEpoch is LEADER EPOCH.
func columnName(field string) string {
	var b strings.Builder
	for _, r := range field {
		if r >= 'A' && r <= 'Z' {
			b.WriteByte(' ')
		}
		b.WriteRune(r)
	}
	return strings.ToUpper(b.String())
}

// cellText is a value in a table: text as it is where it is plain, and anything with an inside as JSON.
func cellText(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case string:
		if strings.ContainsFunc(v, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			return fmt.Sprintf("%q", v)
		}
		return v
	}
	switch k := reflect.ValueOf(v); k.Kind() {
	case reflect.Map, reflect.Slice:
		if k.Len() == 0 {
			return ""
		}
	case reflect.Struct:
	default:
		return fmt.Sprint(v)
	}
	data, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return string(data)
}
