package s3dir

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"path"
	"time"

	"github.com/johannesboyne/gofakes3"

	"github.com/milldam/milldam/core/vfs"
)

// Options configure Start.
type Options struct {
	FS      vfs.FS
	Dir     string   // holds one folder per bucket
	Buckets []string // made when missing
}

// Server is a running S3 server on a free port of the loopback.
type Server struct {
	http *http.Server
	addr string
	done chan error
}

// headerTimeout bounds how long a client may take to send the head of a request.
const headerTimeout = 10 * time.Second

// Start serves o.Dir until Close.
func Start(o Options) (*Server, error) {
	b := newBackend(o.FS, o.Dir)
	if err := makeDurable(o.FS, o.Dir); err != nil {
		return nil, fmt.Errorf("make the folder of the S3 server: %w", err)
	}
	if err := b.fs.RemoveAll(path.Join(o.Dir, uploads)); err != nil { // what a crash left unfinished
		return nil, fmt.Errorf("remove unfinished uploads of the S3 server: %w", err)
	}
	for _, name := range o.Buckets {
		if err := b.CreateBucket(name); err != nil && !gofakes3.IsAlreadyExists(err) {
			return nil, fmt.Errorf("make bucket %s: %w", name, err)
		}
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen for S3: %w", err)
	}
	protocol := gofakes3.New(b, gofakes3.WithTimeSkewLimit(0), gofakes3.WithoutVersioning(), gofakes3.WithLogger(gofakes3.DiscardLog()))
	s := &Server{http: &http.Server{Handler: protocol.Server(), ReadHeaderTimeout: headerTimeout}, addr: ln.Addr().String(), done: make(chan error, 1)}
	go func() { s.done <- s.http.Serve(ln) }()
	return s, nil
}

// makeDurable makes dir and its missing parents so that a crash keeps them.
func makeDurable(files vfs.FS, dir string) error {
	missing := []string{dir} // dir always: an earlier start may have ended before its name was synced
	for parent := path.Dir(dir); parent != path.Dir(parent); parent = path.Dir(parent) {
		there, err := vfs.Exists(files, parent)
		if err != nil {
			return err
		}
		if there {
			break
		}
		missing = append(missing, parent)
	}
	if err := files.MkdirAll(dir); err != nil {
		return err
	}
	for _, made := range missing {
		if err := files.SyncDir(path.Dir(made)); err != nil {
			return err
		}
	}
	return nil
}

// URL is the endpoint, as AWS_ENDPOINT_URL_S3 takes it.
func (s *Server) URL() string { return "http://" + s.addr }

// Close ends the server after the requests in flight, at the latest when ctx ends.
func (s *Server) Close(ctx context.Context) error {
	err := s.http.Shutdown(ctx)
	if ctx.Err() != nil {
		// A connection on which no request has come yet is waited for like one with a request.
		err = s.http.Close()
	}
	if served := <-s.done; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	return err
}
