package connect

import (
	"fmt"

	"github.com/milldam/milldam/core/config"
)

// Batch is how many records a sink wants at once: the limit met first ends a batch. It is decoded as the section batch of a sink that has one.
type Batch struct {
	Size    config.Size     `yaml:"size" default:"5MiB" doc:"keys and values of a batch together"`
	Records int             `yaml:"records" default:"5000" doc:"records of a batch"`
	Linger  config.Duration `yaml:"linger" default:"200ms" doc:"how long a batch that is not full waits for more records"`
}

// Validate checks the limits.
func (b Batch) Validate() error {
	switch {
	case b.Size < 1:
		return config.Fieldf("size", "must be at least 1 byte")
	case b.Records < 1:
		return config.Fieldf("records", "must be at least 1")
	case b.Linger < 0:
		return config.Fieldf("linger", "must not be negative")
	}
	return nil
}

// String returns the limits as they would be written.
func (b Batch) String() string {
	return fmt.Sprintf("%d bytes, %d records, %s", int64(b.Size), b.Records, b.Linger)
}

// Batcher is a sink that wants its batches so. Any other gets records as they come.
type Batcher interface {
	Batch() Batch
}
