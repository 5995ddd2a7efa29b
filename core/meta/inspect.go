package meta

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/hashicorp/raft"

	"github.com/milldam/milldam/core/vfs"
)

// FileKind says what a file of a metadata folder holds.
type FileKind string

// The kinds.
const (
	SnapshotFile FileKind = "metadata snapshot"
	LogFile      FileKind = "metadata log"
	StateFile    FileKind = "metadata log state"
	EndFile      FileKind = "metadata log end"
)

// KindOf tells the kind of a file by its name and, where that says little, by its folder's; "" when it is none of these. A snapshot has the index and the term in its name, where a producer
// snapshot has one number.
func KindOf(name string) FileKind {
	base, folder := path.Base(name), path.Base(path.Dir(name))
	id, snapshot := strings.CutSuffix(base, snapshotSuffix)
	switch {
	case snapshot && strings.Contains(id, "-"):
		return SnapshotFile
	case isLog(base):
		return LogFile
	case folder == raftDir && base == stableFile:
		return StateFile
	case folder == raftDir && base == endFile:
		return EndFile
	}
	return ""
}

// InspectedSnapshot is what a snapshot of the metadata holds, for people and tools that look into its file.
type InspectedSnapshot struct {
	Index     uint64                      `json:"index"`
	Term      uint64                      `json:"term"`
	ClusterID string                      `json:"clusterId"`
	Topics    []InspectedTopic            `json:"topics"`
	Brokers   []Broker                    `json:"brokers"`
	Features  map[string]int16            `json:"features"`
	Configs   map[int32]map[string]string `json:"configs"` // of brokers; -1 is all
	ACLs      int                         `json:"acls"`
	Scram     int                         `json:"scramCredentials"` // counted only: they are secrets
	Quotas    int                         `json:"quotas"`
	NextPID   int64                       `json:"nextProducerId"`
}

// InspectedTopic is a topic of a snapshot.
type InspectedTopic struct {
	Topic      string            `json:"topic"`
	ID         string            `json:"id"`
	Partitions int               `json:"partitions"`
	Config     map[string]string `json:"config"`
}

// InspectedState is the state file of the Raft log.
type InspectedState struct {
	Term     uint64             `json:"term"`
	VoteTerm uint64             `json:"voteTerm"` // the last in which this voter voted, or stood itself
	VotedFor string             `json:"votedFor"`
	Segments []InspectedSegment `json:"segments"`
}

// InspectedSegment is a segment in the state file.
type InspectedSegment struct {
	File  string `json:"file"`
	First uint64 `json:"first"`
	Last  uint64 `json:"last,omitempty"` // of one that takes no more
}

// InspectedEnd is what the mark of the log's end says.
type InspectedEnd struct {
	Last uint64 `json:"last"`
}

// Inspect calls fn with what a file of a kind that KindOf knows holds: an InspectedEntry for each of the log, one Inspected value of the others. What cannot be read is ErrDamaged, behind
// what stands in front of it; so is an end of the log that a crash tore. It returns the position behind what it has read.
func Inspect(fsys vfs.FS, name string, fn func(row any) error) (end int64, err error) {
	switch KindOf(name) {
	case LogFile:
		s, err := readSegment(fsys, name)
		if err != nil {
			return 0, err
		}
		return s.inspect(name, 0, fn)
	case SnapshotFile:
		return inspectWhole(fsys, name, fn, inspectSnapshot)
	case StateFile:
		return inspectWhole(fsys, name, fn, inspectState)
	case EndFile:
		return inspectWhole(fsys, name, fn, inspectEnd)
	}
	return 0, fmt.Errorf("%s is no file of the metadata that can be read", name)
}

func inspectWhole(fsys vfs.FS, name string, fn func(row any) error, read func(vfs.FS, string) (any, error)) (end int64, err error) {
	row, err := read(fsys, name)
	if err != nil {
		return 0, err
	}
	info, err := fsys.Stat(name)
	if err != nil {
		return 0, err
	}
	return info.Size(), fn(row)
}

func inspectSnapshot(fsys vfs.FS, name string) (any, error) {
	store := &snapshotStore{fs: fsys, dir: path.Dir(name)}
	m, body, err := store.read(strings.TrimSuffix(path.Base(name), snapshotSuffix))
	if err != nil {
		return nil, err
	}
	i, err := decodeImage(body)
	if err != nil {
		return nil, damagedFile(name, "%w", err)
	}
	out := &InspectedSnapshot{Index: m.Index, Term: m.Term, ClusterID: i.clusterID, Brokers: i.Brokers(), Features: i.features, Configs: map[int32]map[string]string{}, Scram: len(i.scram), Quotas: len(i.quotas), ACLs: i.acls.Len(), NextPID: int64(i.nextPID)}
	for id, config := range i.configs {
		out.Configs[id] = shownConfig(config)
	}
	for t := range i.Topics() {
		out.Topics = append(out.Topics, InspectedTopic{t.Name, idText(t.ID), len(t.Partitions), t.Config})
	}
	return out, nil
}

func inspectState(fsys vfs.FS, name string) (any, error) {
	c, there, err := readStable(fsys, name)
	if err != nil {
		return nil, err
	}
	if !there {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	out := &InspectedState{Term: c.number(raftTermKey), VoteTerm: c.number(lastVoteKey), VotedFor: string(c.Values[lastCandidateKey])}
	for _, info := range c.Segments.Segments {
		out.Segments = append(out.Segments, InspectedSegment{segmentFileName(info), info.MinIndex, info.MaxIndex})
	}
	return out, nil
}

func inspectEnd(fsys vfs.FS, name string) (any, error) {
	data, err := vfs.ReadFile(fsys, name)
	if err != nil {
		return nil, err
	}
	m := decodeMarks(data)
	if m.bad == nil && !m.known {
		m.bad = errBadMark
	}
	if m.bad != nil {
		return nil, damagedFile(name, "%w", m.bad)
	}
	return &InspectedEnd{m.last}, nil
}

// Report says how far a file holds what was written.
type Report struct {
	Entries int   // that can be read
	End     int64 // position behind the last
	Damage  string
	Next    string // what to do about it
}

// VerifyFile reads a file of a kind that KindOf knows, and changes nothing. Damage that no start minds, because what was there is elsewhere, or was never acknowledged, says so in Next; an end
// of the log that a crash tore is no damage where the files beside it tell that.
func VerifyFile(fsys vfs.FS, name string) (r Report, err error) {
	r.End, err = Inspect(fsys, name, func(row any) error {
		r.Entries++
		if e, ok := row.(*InspectedEntry); ok && e.Damage != "" {
			return fmt.Errorf("%w at position %d: entry %d: %s", ErrDamaged, e.Position, e.Index, e.Damage)
		}
		return nil
	})
	if !errors.Is(err, ErrDamaged) {
		return r, err
	}
	r.Damage, r.Next = err.Error(), RestoreAdvice
	if d := (*fileDamage)(nil); errors.As(err, &d) {
		r.Damage = fmt.Sprintf("%v: %v", ErrDamaged, d.what)
	}
	dir := path.Dir(path.Dir(name))
	if VerifyFolder(fsys, dir) != nil {
		return r, nil
	}
	if kind := KindOf(name); kind != LogFile {
		r.Next = harmless[kind]
		return r, nil
	}
	tail, err := verifyNeeded(fsys, dir, name)
	if tail && errors.Is(err, errTorn) {
		r.Damage, r.Next = "", ""
	} else if err == nil {
		r.Next = harmless[LogFile]
	}
	return r, nil
}

// verifyNeeded tells whether those entries of a segment can be read that no snapshot has, and whether it is the one that is written.
func verifyNeeded(fsys vfs.FS, dir, name string) (tail bool, err error) {
	found, err := lookAtLog(fsys, dir)
	if err != nil {
		return false, err
	}
	_, applied, err := newestImage(fsys, path.Join(dir, snapshotsDir))
	if err != nil {
		return false, err
	}
	s, err := readSegment(fsys, name)
	if err != nil {
		return false, err
	}
	for _, info := range found.state.Segments.Segments {
		if segmentFileName(info) == path.Base(name) && !info.SealTime.IsZero() {
			return false, s.checkSealed(info, applied+1)
		}
	}
	_, err = s.inspect(name, applied+1, func(any) error { return nil })
	return true, err
}

// harmless is what to do about damage in a file while the rest of the folder has all that was acknowledged.
var harmless = map[FileKind]string{
	SnapshotFile: "nothing needs to be done: a snapshot, or the log, has what was in it",
	LogFile:      "nothing needs to be done: every entry that no snapshot has can be read",
	EndFile:      "nothing needs to be done: the next start writes it anew",
	StateFile:    RestoreAdvice,
}

// VerifyFolder tells whether the files of a metadata folder together have what was acknowledged, as far as that can be told without reading every entry. ErrDamaged names the file.
func VerifyFolder(fsys vfs.FS, dir string) error {
	found, err := lookAtLog(fsys, dir)
	if err != nil {
		return err
	}
	first, last := found.bounds()
	err = checkSnapshots(&snapshotStore{fs: fsys, dir: path.Join(dir, snapshotsDir)}, first, last)
	if errors.Is(err, fs.ErrNotExist) { // a crash came before it was made
		return nil
	}
	return err
}

// DamagedFile tells which file an error that is ErrDamaged is about, and what it is; "" when it does not say it.
func DamagedFile(err error) (file, what string) {
	if d := (*fileDamage)(nil); errors.As(err, &d) {
		return d.file, d.what.Error()
	}
	return "", ""
}

// inspect calls fn with every entry from index from on.
func (s *segmentScan) inspect(name string, from uint64, fn func(row any) error) (end int64, err error) {
	if err := s.checkHeader(); err != nil && len(s.batches) > 0 {
		return 0, damagedFile(name, "%w", err)
	}
	s.cutTorn()
	if n := len(s.batches); n > 0 {
		end = s.batches[n-1].to
	}
	if err := s.each(from, func(at int64, l *raft.Log) error { return fn(inspectEntry(at, l)) }); err != nil {
		return end, err
	}
	if s.cause != nil {
		return end, damagedFile(name, "%w: %w", errTorn, s.cause)
	}
	return end, nil
}

// errTorn is what stands behind the last write that is whole.
var errTorn = errors.New("behind the last whole write")

// segmentsOf are the files of the log in a folder, in their order.
func segmentsOf(fsys vfs.FS, dir string) ([]string, error) {
	names, err := fsys.List(dir)
	return slices.DeleteFunc(names, func(n string) bool { return !isLog(n) }), err
}

// IsFolder tells whether dir is a folder of metadata: it has one of a Raft log.
func IsFolder(fsys vfs.FS, dir string) bool {
	for _, file := range []string{path.Join(raftDir, stableFile), snapshotsDir} {
		if there, err := vfs.Exists(fsys, path.Join(dir, file)); there && err == nil {
			return true
		}
	}
	return false
}
