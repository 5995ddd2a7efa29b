package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Options configure Start.
type Options struct {
	Listener net.Listener
	Metrics  prometheus.Gatherer
	// NotReady lists why the node does not serve yet, or any more; none is ready.
	NotReady func() []string
	// Pipelines is the state of the pipelines, as JSON can encode it.
	Pipelines func() any
	Version   string
}

// Server is a running HTTP server.
type Server struct {
	http *http.Server
	done chan error
}

// headerTimeout bounds how long a client may take to send the head of a request.
const headerTimeout = 10 * time.Second

// Start serves until Close.
func Start(o Options) *Server {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(o.Metrics, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) { ready(w, o.NotReady()) })
	mux.HandleFunc("GET /api/v1/pipelines", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, map[string]any{"apiVersion": "v1", "pipelines": o.Pipelines()})
	})
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) { index(w, o.Version) })
	s := &Server{http: &http.Server{Handler: mux, ReadHeaderTimeout: headerTimeout}, done: make(chan error, 1)}
	go func() { s.done <- s.http.Serve(o.Listener) }()
	return s
}

func ready(w http.ResponseWriter, reasons []string) {
	status := http.StatusOK
	if len(reasons) > 0 {
		status = http.StatusServiceUnavailable
	}
	writeJSON(w, status, map[string]any{"apiVersion": "v1", "ready": len(reasons) == 0, "reasons": append([]string{}, reasons...)}) // a list also where it is empty
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	w.Write(append(body, '\n')) // a client that went away is told nothing
}

func index(w http.ResponseWriter, version string) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	fmt.Fprintf(w, `<!doctype html><html lang="en"><title>Milldam</title><main><h1>Milldam %s</h1><ul>
<li><a href="/api/v1/pipelines">pipelines</a><li><a href="/metrics">metrics</a><li><a href="/readyz">ready</a><li><a href="/healthz">health</a></ul></main></html>
`, version)
}

// Close ends the server after the requests in flight, at the latest when ctx ends.
func (s *Server) Close(ctx context.Context) error {
	err := s.http.Shutdown(ctx)
	if err != nil && errors.Is(err, ctx.Err()) {
		err = s.http.Close() // what is in flight is cut off
	}
	if served := <-s.done; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	return err
}
