package e2e

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// idleVerb, when set in the environment, makes this binary a client with idle connections: its descriptors are its own, the server's are the server's.
const idleVerb = "E2E_IDLE_CLIENT"

const (
	idleConnections = 10_000
	idleBytes       = 100 << 20
)

// TestTenThousandIdleConnectionsAreCheap measures the resident memory of the real binary before and with them. Each has asked for ApiVersions, as every
// client does first.
func TestTenThousandIdleConnectionsAreCheap(t *testing.T) {
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err != nil {
		t.Fatal(err)
	}
	if files.Max < idleConnections+3000 {
		t.Skipf("a process may have %d open files here, and %d are needed", files.Max, idleConnections+3000)
	}
	n := startDev(t, t.TempDir(), nil)
	before := residentBytes(t, n.cmd.Process.Pid)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, n.kafka, strconv.Itoa(idleConnections))
	cmd.Env = append(os.Environ(), idleVerb+"=1")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	kill := time.AfterFunc(2*time.Minute, func() { cmd.Process.Kill() })
	defer kill.Stop()
	if line, err := bufio.NewReader(stdout).ReadString('\n'); line != "open\n" {
		t.Fatalf("the client said %q: %v", line, err)
	}
	with := residentBytes(t, n.cmd.Process.Pid)
	t.Logf("%d idle connections: %.1f MB more than %.1f MB, %d bytes each", idleConnections, float64(with-before)/1e6, float64(before)/1e6, (with-before)/idleConnections)
	if with-before > idleBytes {
		t.Errorf("%d idle connections take %d MB", idleConnections, (with-before)>>20)
	}
	if err := n.readyz(); err != nil {
		t.Error(err)
	}
	milldam(t, "topic", "list", "-b", n.kafka) // there is still room
	if err := stdin.Close(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("the client: %v", err)
	}
}

// residentBytes is how much memory a process holds.
func residentBytes(t *testing.T, pid int) int64 {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Skipf("the memory of a process cannot be read here: %v", err)
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			n, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return n << 10
		}
	}
	t.Fatal("no VmRSS")
	return 0
}

// idleClient opens connections, says so, and keeps them until its input ends. All of them must still be open then.
func idleClient(args []string) error {
	count, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	hello := kmsg.NewRequestFormatter(kmsg.FormatterClientID("idle")).AppendRequest(nil, kmsg.NewPtrApiVersionsRequest(), 1)
	conns := make([]net.Conn, count)
	for i := range conns {
		if conns[i], err = net.Dial("tcp", args[0]); err != nil {
			return fmt.Errorf("connection %d: %w", i, err)
		}
		if err := hear(conns[i], hello); err != nil {
			return fmt.Errorf("connection %d: %w", i, err)
		}
	}
	fmt.Println("open")
	if _, err := io.Copy(io.Discard, os.Stdin); err != nil {
		return err
	}
	for i, c := range conns {
		if err := hear(c, hello); err != nil {
			return fmt.Errorf("connection %d was not kept: %w", i, err)
		}
	}
	return nil
}

// hear sends a request and reads the whole answer.
func hear(c net.Conn, frame []byte) error {
	if err := c.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		return err
	}
	if _, err := c.Write(frame); err != nil {
		return err
	}
	var size [4]byte
	if _, err := io.ReadFull(c, size[:]); err != nil {
		return err
	}
	n := int64(size[0])<<24 | int64(size[1])<<16 | int64(size[2])<<8 | int64(size[3])
	_, err := io.CopyN(io.Discard, c, n)
	return err
}
