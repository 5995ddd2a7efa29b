package storage

import (
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path"
	"strconv"
	"strings"
	"testing"

	"github.com/milldam/milldam/core/record"
	"github.com/milldam/milldam/core/vfs"
)

// tornCuts, in the environment, is how often TestTornTails damages what was not synced: `make torture` asks for more.
const tornCuts = "TORN_CUTS"

// TestTornTails writes what a crash may leave behind what was synced: a cut record, one with flipped bits, zeros, garbage, in the write-ahead log and in segments
// behind the recovery point. Whatever was acknowledged is there, and every partition serves.
func TestTornTails(t *testing.T) {
	count := 2000
	if testing.Short() {
		count = 400
	}
	if text := os.Getenv(tornCuts); text != "" {
		var err error
		if count, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	}
	const parts = 4
	for part := range parts {
		t.Run(fmt.Sprintf("part %d", part), func(t *testing.T) {
			t.Parallel()
			tearTails(t, uint64(part), count/parts)
		})
	}
}

// perState is how many tails are torn of one state of a store.
const perState = 50

// statesPerStore is how many states a store goes through: what it holds by then is read after each cut.
const statesPerStore = 4

func tearTails(t *testing.T, seed uint64, count int) {
	rng := rand.New(rand.NewPCG(seed, 2))
	var h *history
	var mem *vfs.Mem
	known := crashTopics()
	for done := 0; done < count; done += perState {
		if done/perState%statesPerStore == 0 {
			h, mem = newHistory(), vfs.NewMem()
			h.small = true // where a batch is written to its segment and synced, there is no tail to tear
		}
		s, r, err := Open(t.Context(), smallOptions(mem, known))
		if err != nil {
			t.Fatal(err)
		}
		h.check(t, s, r)
		if err := h.workload(t, s, known, rng, 12); err != nil {
			t.Fatal(err)
		}
		active := *s.wal.active
		for range perState {
			torn := mem.CrashClone(nil)
			what := tear(t, h, torn, rng, s, active)
			again, r, err := Open(t.Context(), smallOptions(torn, known))
			if err != nil {
				t.Fatalf("seed %d, %s: %v", seed, what, err)
			}
			h.check(t, again, r)
			if err := again.Close(); err != nil {
				t.Fatalf("seed %d, %s: close: %v", seed, what, err)
			}
		}
		next := mem.CrashClone(rng)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		mem = next
	}
}

// tear changes something behind what was synced, and says what.
func tear(t *testing.T, h *history, fs *vfs.Mem, rng *rand.Rand, s *Store, active walFile) string {
	t.Helper()
	noise := make([]byte, 1+rng.IntN(5000))
	kind := "zeros"
	if rng.IntN(3) > 0 {
		kind = "garbage"
		for i := range noise {
			noise[i] = byte(rng.Uint32())
		}
	}
	if rng.IntN(2) == 0 {
		if name, at, ok := segmentTail(t, fs, rng); ok {
			return fmt.Sprintf("%d bytes of %s at %d of %s", writeAt(t, fs, name, at, noise), kind, at, name)
		}
	}
	name := path.Join("data/wal", active.name)
	if rng.IntN(2) == 0 {
		return fmt.Sprintf("%d bytes of %s at %d of %s", writeAt(t, fs, name, active.size, noise), kind, active.size, name)
	}
	round := tornRound(t, h, rng, s, active)
	switch rng.IntN(3) {
	case 0:
		round = round[:rng.IntN(len(round))]
	case 1:
		round[rng.IntN(len(round))] ^= 1 << rng.IntN(8)
	default:
		from := rng.IntN(len(round))
		clear(round[from : from+rng.IntN(len(round)-from)])
	}
	return fmt.Sprintf("%d bytes of a torn round at %d of %s", writeAt(t, fs, name, active.size, round), active.size, name)
}

func writeAt(t *testing.T, fs vfs.FS, name string, at int64, data []byte) int {
	t.Helper()
	f, err := fs.OpenReadWrite(name)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.WriteAt(data, at)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		t.Fatal(err)
	}
	return len(data)
}

// tornRound is what the committer would write next: some batches for some of the logs.
func tornRound(t *testing.T, h *history, rng *rand.Rand, s *Store, active walFile) []byte {
	t.Helper()
	var out []byte
	for _, l := range s.Logs() {
		seg := l.mu.segments[len(l.mu.segments)-1]
		h.next++
		value := fmt.Sprintf("%d:", h.next) + zeros[:rng.IntN(3000)]
		h.sent[clip(value)] = true
		b := plain(t, value)
		b.SetBaseOffset(l.End())
		head := walHead{kind: walAppend, topic: l.id, partition: l.partition, offset: l.End(), segment: seg.base, position: seg.size, length: uint32(len(b)),
			synced: uint32(active.size)}
		out = append(head.append(out, active.sequence), b...)
	}
	return out
}

// segmentTail picks a segment that has, or could have, something behind the recovery point.
func segmentTail(t *testing.T, fs *vfs.Mem, rng *rand.Rand) (name string, at int64, ok bool) {
	t.Helper()
	data, err := vfs.ReadFile(fs, "data/checkpoint")
	if err != nil {
		return "", 0, false
	}
	c, err := decodeCheckpoint(data)
	if err != nil {
		t.Fatal(err)
	}
	row := c.logs[rng.IntN(len(c.logs))]
	names := map[record.TopicID]string{topicA: "a", topicB: "b", topicC: "c"}
	name = fmt.Sprintf("data/logs/%s-%d/%s.log", names[row.topic], row.partition, offsetName(row.segment))
	there, err := vfs.Exists(fs, name)
	if err != nil {
		t.Fatal(err)
	}
	return name, row.position, there
}

// TestDamageBelowTheSyncPointOfTheWriteAheadLog flips each bit, and clears stretches, of a write-ahead log whose records are all acknowledged. Nothing is lost
// in silence: a partition has all its records, or is offline and says so, or the store names the file and does not open.
func TestDamageBelowTheSyncPointOfTheWriteAheadLog(t *testing.T) {
	known, mem := twoTopics(), vfs.NewMem()
	o := smallOptions(mem, known)
	o.WALFileBytes, o.WALFiles = 8<<10, 6
	s, _, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	want := map[string][]string{}
	lastRecord := 0
	for i := range 60 {
		l := create(t, s, known, topicA, int32(i%3))
		b := plain(t, fmt.Sprintf("%d:%0200d", i, i))
		lastRecord = walHeadBytes + len(b)
		mustAppend(t, l, b)
	}
	for _, l := range s.Logs() {
		want[l.String()] = read(t, l, 0)
	}
	crashed := mem.CrashClone(nil)
	files, err := crashed.List("data/wal")
	if err != nil {
		t.Fatal(err)
	}
	active := s.wal.active.name
	rng := rand.New(rand.NewPCG(3, 3))
	damages := 0
	for _, file := range files {
		name := "data/wal/" + file
		data, err := vfs.ReadFile(crashed, name)
		if err != nil {
			t.Fatal(err)
		}
		size := len(data)
		if file == active {
			size = int(s.wal.active.size)
		}
		stride := 7
		if testing.Short() {
			stride = 97
		}
		for at := rng.IntN(stride); at < size; at += stride {
			fs := crashed.CrashClone(nil)
			bad := append([]byte(nil), data...)
			what, length := "a flipped bit", 1
			if at%3 == 0 {
				what, length = "a cleared stretch", min(1+rng.IntN(700), size-at)
				clear(bad[at : at+length])
			} else {
				bad[at] ^= 1 << rng.IntN(8)
			}
			if string(bad) == string(data) {
				continue
			}
			if err := vfs.WriteFileAtomic(fs, name, bad); err != nil {
				t.Fatal(err)
			}
			damages++
			o := o
			o.FS, o.Logger = fs, slog.New(slog.DiscardHandler)
			again, r, err := Open(t.Context(), o)
			if err != nil {
				if !strings.Contains(err.Error(), "write-ahead log file") || length == 1 {
					t.Fatalf("%s at %d of %s: %v", what, at, file, err)
				}
				continue
			}
			// Behind damage to the very last record nothing follows that shows that it was synced: it is taken for torn.
			last := file == active && at+length > size-lastRecord
			checkAllOrOffline(t, fmt.Sprintf("%s of %d at %d of %s (%d)", what, length, at, file, size), again, want, r, last)
			if err := again.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
	t.Logf("%d damages", damages)
}

// checkAllOrOffline asserts that each log has all its records, or is offline; with last, that it may lack the records that were written last of all.
func checkAllOrOffline(t *testing.T, what string, s *Store, want map[string][]string, r Recovery, last bool) {
	t.Helper()
	short := 0
	for key, records := range want {
		l := logNamed(s, key)
		if l == nil {
			t.Fatalf("%s: %s is gone", what, key)
		}
		if l.Err() != nil {
			if !errors.Is(l.Err(), ErrDamaged) || len(r.Offline) == 0 {
				t.Fatalf("%s: %s: %v", what, key, l.Err())
			}
			continue
		}
		got := read(t, l, 0)
		if len(got) < len(records) {
			short++
		}
		if fmt.Sprint(got) != fmt.Sprint(records[:len(got)]) {
			t.Fatalf("%s: %s has %v, want %v", what, key, got, records)
		}
	}
	if short > 0 && !last {
		t.Fatalf("%s: %d partitions lost records in silence", what, short)
	}
}
