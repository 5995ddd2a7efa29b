package storage

import (
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/milldam/milldam/core/record"
	"github.com/milldam/milldam/core/vfs"
)

// FolderMissing is the kind of a partition's folder that is not there.
const FolderMissing FileKind = "partition folder"

// Missing tells what should be in a folder and is not, as far as the checkpoint, the files beside it and the metadata say: folders of partitions in that of a store's logs, and segments in that
// of a partition, where gaps between those that File has read count too: it is asked behind the folder's files. Of any other folder it tells nothing.
func (v *Verifier) Missing(dir string) ([]FileReport, error) {
	missing, err := v.missing(dir)
	if err == nil && len(missing) > 0 { // a node that runs may have removed it meanwhile
		ends := v.open(dir).ends
		v.stores, v.folder = map[string]*verifiedStore{}, nil
		v.open(dir).ends = ends
		missing, err = v.missing(dir)
	}
	return missing, err
}

func (v *Verifier) missing(dir string) ([]FileReport, error) {
	if path.Base(dir) == logsDir {
		return v.missingFolders(path.Join(dir, ".."))
	}
	if v.store(dir).checkpoint == nil {
		return v.missingSegments(v.open(dir))
	}
	if there, err := vfs.Exists(v.fs, path.Join(dir, logsDir)); there || err != nil {
		return nil, err // it is a folder of its own
	}
	return v.missingFolders(dir)
}

// missingSegments looks for gaps, but where segments may have been deleted since the checkpoint, or their offsets compacted away, only for the one that was active then.
func (v *Verifier) missingSegments(f *verifiedFolder) ([]FileReport, error) {
	if f.row == nil {
		return nil, nil
	}
	bases, err := segmentsIn(v.fs, f.dir)
	if err != nil {
		return nil, err
	}
	var out []FileReport
	tell := func(base record.Offset, format string, args ...any) {
		out = append(out, FileReport{File: path.Join(f.dir, offsetName(base)+logSuffix), Kind: SegmentFile, Offset: -1, Damage: fmt.Sprintf(format, args...), Next: backup})
	}
	if _, there := slices.BinarySearch(bases, f.row.segment); !there && f.row.position > 0 {
		tell(f.row.segment, "it is missing: %d bytes of it were synced, up to offset %d", f.row.position, f.row.recovered-1)
	}
	if f.store.needsWAL || f.row.cleaned > 0 || f.swap {
		return out, nil
	}
	if f.row.recovered > f.row.start && len(bases) > 0 && bases[0] > f.row.start && bases[0] <= f.row.segment {
		tell(f.row.start, "it, or another with this offset, is missing: the log begins at offset %d, and its first segment at %d", f.row.start, bases[0])
	}
	for i, base := range bases[:max(0, len(bases)-1)] {
		if next, read := f.ends[base]; read && next >= 0 && next < bases[i+1] {
			tell(next, "it is missing: the segment in front ends at offset %d, and the one behind begins at %d", next-1, bases[i+1])
		}
	}
	return out, nil
}

// missingFolders tells which partitions have records in segments, as the checkpoint says, and no folder.
func (v *Verifier) missingFolders(store string) ([]FileReport, error) {
	s := v.store(store)
	if s.checkpoint == nil || v.topics == nil {
		return nil, nil
	}
	topics := v.topics(store)
	var out []FileReport
	for i := range s.checkpoint.logs {
		row := &s.checkpoint.logs[i]
		topic, known := topics[row.topic]
		if !known || row.recovered <= row.start { // of no topic any more, or nothing is left
			continue
		}
		dir := path.Join(store, logsDir, topic+"-"+strconv.Itoa(int(row.partition)))
		there, err := vfs.Exists(v.fs, dir)
		if err != nil {
			return nil, err
		}
		if !there {
			out = append(out, FileReport{File: dir, Kind: FolderMissing, Offset: -1, Damage: fmt.Sprintf("it is missing: it had records up to offset %d", row.recovered-1), Next: backup})
		}
	}
	slices.SortFunc(out, func(a, b FileReport) int { return strings.Compare(a.File, b.File) })
	return out, nil
}
