package broker_test

import (
	"encoding/binary"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/milldam/milldam/core/meta"
	"github.com/milldam/milldam/core/vfs"
)

// opened is a connection that the broker served: it has answered.
func opened(t *testing.T, r *running) (conn net.Conn, served bool) {
	t.Helper()
	conn = r.dial(t)
	// The write may fail already when the broker has closed.
	conn.Write(kmsg.NewRequestFormatter().AppendRequest(nil, kmsg.NewPtrApiVersionsRequest(), 77))
	return conn, readResponse(conn, kmsg.NewPtrApiVersionsResponse()) == nil
}

func TestConnectionsAreLimited(t *testing.T) {
	for name, tc := range map[string]struct {
		config map[string]string
		want   int // served of five
	}{
		"without limits":         {nil, 5},
		"in all":                 {map[string]string{"max.connections": "3"}, 3},
		"by address":             {map[string]string{"max.connections.per.ip": "2"}, 2},
		"by an address's own":    {map[string]string{"max.connections.per.ip": "2", "max.connections.per.ip.overrides": "10.0.0.1:1, 127.0.0.1:4"}, 4},
		"by another address's":   {map[string]string{"max.connections.per.ip.overrides": "10.0.0.1:1"}, 5},
		"none but by their own":  {map[string]string{"max.connections.per.ip": "0", "max.connections.per.ip.overrides": "127.0.0.1:1"}, 1},
		"at a pace that is fast": {map[string]string{"max.connection.creation.rate": "1000"}, 5},
	} {
		t.Run(name, func(t *testing.T) {
			r := start(t, vfs.NewMem())
			var ops []meta.ConfigOp
			for key, value := range tc.config {
				ops = append(ops, meta.ConfigOp{Key: key, Value: value})
			}
			must(t, r.controller.AlterBrokerConfig(t.Context(), meta.AllBrokers, ops, false))
			served := 0
			var last net.Conn
			for range 5 {
				if conn, ok := opened(t, r); ok {
					served, last = served+1, conn
				}
			}
			if served != tc.want {
				t.Errorf("%d of 5 connections were served, want %d", served, tc.want)
			}
			if tc.want == 5 {
				return
			}
			must(t, last.Close()) // makes room, once the broker has seen it
			deadline := time.NewTimer(20 * time.Second)
			defer deadline.Stop()
			for ok := false; !ok; {
				select {
				case <-deadline.C:
					t.Fatal("nobody took the place of a closed connection")
				default:
					_, ok = opened(t, r)
				}
			}
		})
	}
}

func TestAnAddressOpensConnectionsAtItsPace(t *testing.T) {
	r := start(t, vfs.NewMem())
	must(t, r.controller.AlterQuota(t.Context(), meta.QuotaEntity{IP: meta.Named("127.0.0.1")}, []meta.QuotaOp{{Key: meta.ConnectionCreationRate, Value: 1}}, false))
	served := 0
	for range 13 {
		if _, ok := opened(t, r); ok {
			served++
		}
	}
	// Ten at once are one in each of the windows measured; every second that the refused are kept waiting lets another in.
	if served < 10 || served > 12 {
		t.Errorf("%d of 13 connections were served, want 10 and what the time lets in", served)
	}
}

func TestIdleConnectionsAreClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := startInMemory(t, vfs.NewMem(), map[string]string{"connections.max.idle.ms": "60000"})
		conn, err := r.memory.Dial(t.Context(), "tcp", "embedded:9092")
		must(t, err)
		began := time.Now()
		if _, err := io.ReadAll(conn); err != nil {
			t.Error(err)
		}
		if waited := time.Since(began); waited != time.Minute {
			t.Errorf("closed after %v, want a minute", waited)
		}
		must(t, conn.Close())
		r.close()
	})
}

func TestLargeRequestsAreRefusedByTheirSize(t *testing.T) {
	r := startInMemory(t, vfs.NewMem(), map[string]string{"socket.request.max.bytes": "5000"})
	for size, want := range map[uint32]bool{5000: true, 5001: false} {
		conn, err := r.memory.Dial(t.Context(), "tcp", "embedded:9092")
		must(t, err)
		// A Metadata request with one topic whose name fills it.
		frame := kmsg.NewRequestFormatter().AppendRequest(nil, &kmsg.MetadataRequest{Version: 1, Topics: []kmsg.MetadataRequestTopic{{Topic: kmsg.StringPtr("")}}}, 77)
		fill := int(size) - (len(frame) - 4)
		frame = append(frame, strings.Repeat("x", fill)...)
		binary.BigEndian.PutUint32(frame, size)
		binary.BigEndian.PutUint16(frame[len(frame)-fill-2:], uint16(fill))
		_, err = conn.Write(frame)
		must(t, err)
		resp := kmsg.NewPtrMetadataResponse()
		resp.SetVersion(1)
		if err := readResponse(conn, resp); (err == nil) != want {
			t.Errorf("%d bytes: %v", size, err)
		}
		must(t, conn.Close())
	}
}
