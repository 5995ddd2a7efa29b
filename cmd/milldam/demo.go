package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/milldam/milldam/connectors/s3"
	"github.com/milldam/milldam/core/client"
	"github.com/milldam/milldam/core/config"
	"github.com/milldam/milldam/core/vfs"
	"github.com/milldam/milldam/examples/flights"
	"github.com/milldam/milldam/pipelines"
	"github.com/milldam/milldam/runtime/node"
	"github.com/milldam/milldam/runtime/s3dir"
)

const (
	demoBucket = "flights"
	// demoLook is how often the demo looks how far it is.
	demoLook = 250 * time.Millisecond
	// demoPatience is how long nothing may change before the demo says that it got stuck.
	demoPatience = 60 * time.Second
)

// demo is the flights example on a node of its own.
type demo struct {
	app     *app
	node    *node.Node
	manager *pipelines.Manager
	specs   []*pipelines.Spec
	store   *s3dir.Server // nil when the environment names a real one
	folder  string        // of input and output
	temp    bool          // folder goes when the demo ends
	lake    string        // where the Parquet objects lie, for people
	started time.Time
	results *demoResults // while it runs
}

// newDemo prepares what the pipelines need beside the node: input, object store, YAML.
func (a *app) newDemo(fsys vfs.FS, memory bool) (*demo, error) {
	d := &demo{app: a, started: time.Now(), folder: filepath.Join(a.dir, "demo"), temp: memory}
	if err := d.prepare(fsys); err != nil {
		return nil, errors.Join(err, d.close())
	}
	return d, nil
}

func (d *demo) prepare(fsys vfs.FS) error {
	var err error
	if d.temp {
		if d.folder, err = os.MkdirTemp("", "milldam-demo"); err != nil {
			return err
		}
	}
	if err := flights.WriteInput(d.folder); err != nil {
		return err
	}
	env := map[string]string{"FLIGHTS_DIR": d.folder, "FLIGHTS_OUT": d.folder}
	if err := d.openStore(fsys, env); err != nil {
		return err
	}
	return d.load(env)
}

// storeVariables name a real object store; with any of them set the demo makes none of its own.
var storeVariables = []string{"S3_ENDPOINT", "S3_BUCKET", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"}

func (d *demo) openStore(fsys vfs.FS, env map[string]string) error {
	for _, name := range storeVariables {
		if value := os.Getenv(name); value != "" {
			d.lake = name + "=" + value
			return nil
		}
	}
	dir := filepath.Join(d.app.dir, "s3")
	var err error
	if d.store, err = s3dir.Start(s3dir.Options{FS: fsys, Dir: dir, Buckets: []string{demoBucket}}); err != nil {
		return err
	}
	if d.lake = filepath.Join(dir, demoBucket, "flights"); d.temp {
		d.lake = "s3://" + demoBucket + "/flights on " + d.store.URL() + ", in memory"
	}
	env["S3_ENDPOINT"], env["S3_BUCKET"] = d.store.URL(), demoBucket
	env["S3_ACCESS_KEY"], env["S3_SECRET_KEY"] = "demo", "demo" // any are taken
	return nil
}

// load reads the pipelines, without that for the search engine that is not there.
func (d *demo) load(env map[string]string) error {
	files, err := pipelines.ReadFiles(flights.Pipelines(), "examples/flights/pipelines")
	if err != nil {
		return err
	}
	without := "delays-elasticsearch.yaml"
	if os.Getenv("ES_URL") != "" {
		without = "delays-file.yaml"
	}
	var used []pipelines.File
	for _, f := range files {
		if !strings.HasSuffix(f.Name, without) {
			used = append(used, f)
		}
	}
	r, err := registry()
	if err != nil {
		return err
	}
	references := config.SystemReferences(".", "")
	references.Env = func(name string) (string, bool) {
		if value, ok := env[name]; ok {
			return value, true
		}
		return os.LookupEnv(name)
	}
	specs, errs := pipelines.Load(used, r, config.Options{References: references})
	if len(errs) > 0 {
		fmt.Fprint(d.app.err, errs.Render())
		return errors.New("the demo's pipelines do not fit the environment; what is wrong stands above")
	}
	d.specs = specs
	return nil
}

// run shows how far the pipelines are, and returns when they have done everything, or ctx ended.
func (d *demo) run(ctx context.Context, line *statusLine) (*demoSummary, error) {
	defer line.end()
	admin, err := client.NewAdmin(d.node.Client())
	if err != nil {
		return nil, err
	}
	defer admin.Close()
	if d.results, err = newDemoResults(d.node.Client()); err != nil {
		return nil, err
	}
	defer d.results.close()
	tick := time.NewTicker(demoLook)
	defer tick.Stop()
	var last demoState
	changed := time.Now()
	for {
		now, err := d.look(ctx, admin)
		if err != nil {
			return nil, err
		}
		if now != last {
			last, changed = now, time.Now()
		}
		if now.done() {
			line.set("looking at the objects")
			return d.summarize(ctx)
		}
		line.set(now.String() + d.troubles())
		if time.Since(changed) > demoPatience {
			return nil, fmt.Errorf("nothing moved for %s: %s%s; `milldam pipeline status` tells more", demoPatience, now, d.troubles())
		}
		select {
		case <-ctx.Done():
			return nil, nil
		case <-tick.C:
		}
	}
}

// demoState is how far the demo is.
type demoState struct {
	flights, windows int64 // records of the topics
	lag              int64 // records that a pipeline has not committed; -1 when not known
	read             bool  // the input is read to its end
}

func (s demoState) done() bool { return s.read && s.windows >= flights.OriginDays && s.lag == 0 }

func (s demoState) String() string {
	text := fmt.Sprintf("%s flights in, %s origin-days out", grouped(s.flights), grouped(s.windows))
	switch {
	case s.lag > 0:
		text += fmt.Sprintf(", %s records to go", grouped(s.lag))
	case s.read && s.windows == 0:
		text += ", the windows close after 5 s without a flight"
	}
	return text
}

// look asks the broker; what it does not answer yet is 0.
func (d *demo) look(ctx context.Context, admin *kadm.Client) (demoState, error) {
	if err := d.results.take(ctx); err != nil {
		return demoState{}, err
	}
	s := demoState{flights: d.results.flights, windows: d.results.windows, lag: -1}
	select {
	case <-d.manager.Ended("flights"):
		s.read = true
	default:
	}
	if groups := d.groups(); s.read {
		if lags, err := admin.Lag(ctx, groups...); err == nil {
			s.lag = 0
			for _, g := range groups {
				lag := lags[g]
				if lag.Error() != nil || len(lag.Lag) == 0 {
					s.lag = -1
					break
				}
				s.lag += lag.Lag.Total()
			}
		}
	}
	return s, nil
}

// groups are the consumer groups of the pipelines.
func (d *demo) groups() []string {
	var groups []string
	for _, s := range d.specs {
		for _, h := range s.Plan().Hops {
			if h.Group != "" {
				groups = append(groups, h.Group)
			}
		}
	}
	return groups
}

// troubles says which pipelines cannot go on, and why.
func (d *demo) troubles() string {
	var b strings.Builder
	for _, s := range d.manager.Status() {
		failure := s.Detail
		for _, h := range s.Hops {
			if h.Failure != "" {
				failure = h.Failure
			}
		}
		if failure != "" && s.State != pipelines.Waiting {
			fmt.Fprintf(&b, "; %s is %s: %s", s.Name, s.State, failure)
		}
	}
	return b.String()
}

// storeUsage counts the objects of the lake, in whatever store they are.
func (d *demo) storeUsage(ctx context.Context) (objects, size int64, err error) {
	for _, s := range d.specs {
		if s.Sink.Connector == nil {
			continue
		}
		if c, ok := s.Sink.Connector.Config.(*s3.Config); ok {
			return s3.Usage(ctx, *c, "flights/")
		}
	}
	return 0, 0, nil
}

// close ends what prepare began; the node is closed before.
func (d *demo) close() error {
	var err error
	if d.store != nil {
		ctx, cancel := context.WithTimeout(context.Background(), storeDrain)
		defer cancel()
		err = d.store.Close(ctx)
	}
	if d.temp && d.folder != "" {
		if removed := os.RemoveAll(d.folder); removed != nil && !errors.Is(removed, fs.ErrNotExist) {
			err = errors.Join(err, removed)
		}
	}
	return err
}

// storeDrain is how long requests to the object store may take when the demo ends.
const storeDrain = time.Second
