// Command capture is a proxy between a Kafka client and a broker that keeps what they say: one request and one response of each API and version, in the files of
// core/wire/testdata/golden. How they were made is in its README.
//
//	go run ./.ci/capture -listen 127.0.0.1:21090 -to 127.0.0.1:21092 -client franz-go -out core/wire/testdata/golden
//
// The broker has to advertise the proxy's address. It ends, and writes, on SIGINT or SIGTERM.
package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// maxKept is the largest frame that is kept: what is longer repeats itself.
const maxKept = 8 << 10

// recorder keeps the first frame of each kind.
type recorder struct {
	client string

	mu struct {
		sync.Mutex
		lines map[int16]map[string]string // by API: "version direction client" to the frame in hex
	}
}

// keep records a frame, unless it says something of the machine it was made on.
func (r *recorder) keep(key, version int16, direction string, frame []byte) {
	name := kmsg.NameForKey(key)
	if name == "Unknown" || len(frame) > maxKept {
		return
	}
	for _, path := range []string{"/root", "/home", "/tmp", "/work"} {
		if bytes.Contains(frame, []byte(path)) {
			return
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.mu.lines[key] == nil {
		r.mu.lines[key] = map[string]string{}
	}
	at := fmt.Sprintf("%02d %s %s", version, direction, r.client)
	if _, there := r.mu.lines[key][at]; !there {
		r.mu.lines[key][at] = hex.EncodeToString(frame)
	}
}

func file(dir string, key int16) string {
	return filepath.Join(dir, fmt.Sprintf("%02d-%s.txt", key, kmsg.NameForKey(key)))
}

// write adds what was recorded to the files; what they have of a client stays.
func (r *recorder) write(dir string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for key, lines := range r.mu.lines {
		old, err := os.ReadFile(file(dir, key))
		if err != nil && !os.IsNotExist(err) {
			return err
		}
		for line := range strings.Lines(string(old)) {
			if f := strings.Fields(line); len(f) == 4 {
				lines[strings.Join(f[:3], " ")] = f[3]
			}
		}
		var all []string
		for at, frame := range lines {
			all = append(all, at+" "+frame+"\n")
		}
		slices.Sort(all)
		if err := os.WriteFile(file(dir, key), []byte(strings.Join(all, "")), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// proxy carries one connection; requests and responses meet by their correlation ids.
func (r *recorder) proxy(client net.Conn, to string) {
	defer client.Close()
	broker, err := net.Dial("tcp", to)
	if err != nil {
		log.Print(err)
		return
	}
	defer broker.Close()
	type call struct{ key, version int16 }
	var mu sync.Mutex
	calls := map[uint32]call{}
	done := make(chan struct{}, 2)
	go func() {
		defer func() { done <- struct{}{} }()
		carry(client, broker, requestHead, func(frame []byte) {
			c := call{int16(binary.BigEndian.Uint16(frame)), int16(binary.BigEndian.Uint16(frame[2:]))}
			mu.Lock()
			calls[binary.BigEndian.Uint32(frame[4:])] = c
			mu.Unlock()
			r.keep(c.key, c.version, "request", frame)
		})
	}()
	go func() {
		defer func() { done <- struct{}{} }()
		carry(broker, client, responseHead, func(frame []byte) {
			mu.Lock()
			c, ok := calls[binary.BigEndian.Uint32(frame)]
			mu.Unlock()
			if ok {
				r.keep(c.key, c.version, "response", frame)
			}
		})
	}()
	<-done // one side's end is the end of both
}

// What a frame has at least.
const (
	requestHead  = 8 // API, version, correlation
	responseHead = 4 // correlation
)

// carry copies frames from one side to the other, and shows each that has a head.
func carry(from, to net.Conn, head int, show func([]byte)) {
	for {
		var size [4]byte
		if _, err := io.ReadFull(from, size[:]); err != nil {
			return
		}
		frame := make([]byte, binary.BigEndian.Uint32(size[:]))
		if _, err := io.ReadFull(from, frame); err != nil {
			return
		}
		if len(frame) >= head {
			show(frame)
		}
		if _, err := to.Write(append(size[:], frame...)); err != nil {
			return
		}
	}
}

func run() error {
	listen, to := flag.String("listen", "127.0.0.1:21090", "address for the client"), flag.String("to", "127.0.0.1:21092", "the broker")
	client, out := flag.String("client", "", "name of the client"), flag.String("out", "core/wire/testdata/golden", "folder of the files")
	flag.Parse()
	if *client == "" || strings.Contains(*client, " ") {
		return fmt.Errorf("-client: a name without blanks")
	}
	if err := os.MkdirAll(*out, 0o755); err != nil {
		return err
	}
	r := &recorder{client: *client}
	r.mu.lines = map[int16]map[string]string{}
	l, err := net.Listen("tcp", *listen)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, func() { l.Close() })
	for {
		conn, err := l.Accept()
		if err != nil {
			return r.write(*out)
		}
		go r.proxy(conn, *to)
	}
}

func main() {
	if err := run(); err != nil {
		log.Fatal(err)
	}
}
