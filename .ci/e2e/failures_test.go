package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// TestStopUnderLoad ends a node gently, again and again, while clients produce, copy in transactions and read in groups. It ends in time and says so by its exit code, what is in
// flight is answered or sent again, and nobody notices but by the pause.
func TestStopUnderLoad(t *testing.T) {
	stops := 6
	if testing.Short() {
		stops = 2
	}
	n := startServer(t, "group.initial.rebalance.delay.ms=0")
	n.keepPort()
	acked := startAckedProducer(t, n.kafka)
	milldam(t, "topic", "create", "copied", "-p", "3", "-b", n.kafka)
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	defer running.Wait()
	defer stop()
	startCopiers(ctx, &running, n.kafka, 1)
	groups := []*readingGroup{startGroup(ctx, t, &running, n.kafka, "classic"), startGroup(ctx, t, &running, n.kafka, "consumer")}
	for range stops {
		before := acked.count()
		eventually(t, 20*time.Second, func() error {
			if acked.count() < before+100 {
				return fmt.Errorf("%d records are acknowledged since the start", acked.count()-before)
			}
			return nil
		})
		floor := committedFloor(groups)
		code, took := n.terminate()
		if code != 0 || took > stopBound {
			t.Errorf("it ended with %d after %s", code, took)
		}
		n.start()
		if text := n.log.String(); strings.Contains(text, "msg=recovered") {
			t.Errorf("a start after a gentle stop had something to recover:\n%s", text)
		}
		if err := neverBack(t, n.kafka, floor); err != nil {
			t.Error(err)
		}
		t.Logf("stopped within %s, %d records are acknowledged", took.Round(time.Millisecond), acked.count())
	}
	acked.finish()
	acked.check()
	eventually(t, 2*time.Minute, func() error { return copiedAll(t, n.kafka, acked) })
	for _, g := range groups {
		eventually(t, time.Minute, func() error { return g.readAll(acked) })
	}
}

// stopBound is how long a gentle stop may take, on a machine that has other things to do too.
const stopBound = 15 * time.Second

// TestStrangersAtThePort has what is no Kafka client come to the port, much of it at once. Each is sent away, and clients do not notice.
func TestStrangersAtThePort(t *testing.T) {
	n := startDev(t, t.TempDir(), nil)
	acked := startAckedProducer(t, n.kafka)
	random := rand.New(rand.NewPCG(1, 1))
	for i := range 300 {
		conn, err := net.Dial("tcp", n.kafka)
		if err != nil {
			t.Fatal(err)
		}
		garbage := make([]byte, 1+random.IntN(2000))
		for j := range garbage {
			garbage[j] = byte(random.Uint32())
		}
		if i%3 == 0 { // the size of a request that never comes
			garbage[0], garbage[1] = 0, 0
		}
		conn.Write(garbage) // may fail where it was closed already
		conn.Close()
	}
	if resp, err := http.Get("http://" + n.kafka + "/"); err == nil {
		t.Errorf("HTTP on the Kafka port: %s", resp.Status)
	}
	if err := n.readyz(); err != nil {
		t.Error(err)
	}
	acked.finish()
	acked.check()
	if lines := strings.Count(n.log.String(), "\n"); lines > 100 {
		t.Errorf("300 strangers make %d lines of log", lines)
	}
}

// TestFileLimit gives a node far fewer file descriptors than connections and partitions want. Connections are refused before the logs lack any, clients that are there notice nothing, and when others leave
// there is room again.
func TestFileLimit(t *testing.T) {
	const partitions = 300
	n := startDev(t, t.TempDir(), nil)
	n.keepPort()
	n.kill()
	n.program, n.args = "sh", append([]string{"-c", `ulimit -n 200 && exec "$0" "$@"`, milldamPath(t)}, n.args...)
	n.start()
	acked := startAckedProducer(t, n.kafka)
	milldam(t, "topic", "create", "wide", "-p", fmt.Sprint(partitions), "-b", n.kafka)
	cl, err := kgo.NewClient(kgo.SeedBrokers(n.kafka), kgo.DefaultProduceTopic("wide"), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerBatchCompression(kgo.NoCompression()))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	value := make([]byte, 300<<10) // goes straight to its segment
	wide := func() {
		t.Helper()
		for p := range int32(partitions) {
			if err := cl.ProduceSync(t.Context(), &kgo.Record{Partition: p, Value: value}).FirstErr(); err != nil {
				t.Fatalf("wide-%d: %v", p, err)
			}
		}
	}
	wide() // it is connected now
	eventually(t, 20*time.Second, func() error { return atLeast(acked, 1) })
	var strangers []net.Conn
	for range 400 {
		conn, err := net.Dial("tcp", n.kafka)
		if err != nil {
			t.Fatal(err)
		}
		strangers = append(strangers, conn)
	}
	eventually(t, 20*time.Second, func() error {
		if !strings.Contains(n.log.String(), "a connection was refused") {
			return errors.New("every connection is taken")
		}
		return nil
	})
	before := acked.count()
	wide()
	eventually(t, 20*time.Second, func() error { return atLeast(acked, before+1) })
	for _, conn := range strangers {
		conn.Close()
	}
	eventually(t, 20*time.Second, func() error {
		_, stderr, code := milldamCode(t, nil, "topic", "list", "-b", n.kafka)
		if code != 0 {
			return fmt.Errorf("exit %d: %s", code, stderr)
		}
		return n.readyz()
	})
	acked.finish()
	acked.check()
	if got := len(readTopic(t, n.kafka, "wide")); got != 2*partitions {
		t.Errorf("%d records of %d", got, 2*partitions)
	}
}

// TestReadOnlyFolder starts a node on a file system that is read-only, as one becomes after errors of its disk: it says so and ends; writable again, everything is there.
func TestReadOnlyFolder(t *testing.T) {
	d := smallDisk(t)
	n := serverConfig{dir: filepath.Join(d.dir, "data")}.start(t)
	n.keepPort()
	acked := startAckedProducer(t, n.kafka)
	eventually(t, 20*time.Second, func() error { return atLeast(acked, 100) })
	n.kill()
	d.remount(syscall.MS_RDONLY)
	out, stderr, code := milldamCode(t, nil, n.args...)
	if code != 1 {
		t.Errorf("exit %d, want 1", code)
	}
	says(t, out+stderr, n.dir, "read-only")
	d.remount(0)
	n.start()
	acked.finish()
	acked.check()
}

// remount changes the flags of the file system, in which no file may be open.
func (d disk) remount(flags uintptr) {
	d.t.Helper()
	if err := syscall.Mount("", d.dir, "", syscall.MS_REMOUNT|flags, ""); err != nil {
		d.t.Fatal(err)
	}
}

func atLeast(p *ackedProducer, want int) error {
	if got := p.count(); got < want {
		return fmt.Errorf("%d records of %d are acknowledged", got, want)
	}
	return nil
}

// TestFolderIsTakenAway removes the data folder of a node that runs. It acknowledges nothing more, and says why.
func TestFolderIsTakenAway(t *testing.T) {
	n := startServer(t)
	cl, err := kgo.NewClient(kgo.SeedBrokers(n.kafka), kgo.DefaultProduceTopic("t"), kgo.AllowAutoTopicCreation(), kgo.DisableIdempotentWrite(), kgo.RecordRetries(0))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	send := func() error { return cl.ProduceSync(t.Context(), kgo.StringRecord("v")).FirstErr() }
	eventually(t, 20*time.Second, send) // once there is the topic
	if err := os.RemoveAll(n.dir); err != nil {
		t.Fatal(err)
	}
	eventually(t, 20*time.Second, func() error {
		if err := send(); !errors.Is(err, kerr.KafkaStorageError) {
			return fmt.Errorf("without its folder it says %v", err)
		}
		return nil
	})
	resp, err := http.Get(n.http + "/readyz")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	says(t, string(text), "log is offline", n.dir)
	n.terminate()
}
