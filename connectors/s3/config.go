package s3

import (
	"time"

	"github.com/milldam/milldam/connect"
	"github.com/milldam/milldam/connect/expression"
	"github.com/milldam/milldam/core/config"
)

// Config is what `sink: s3:` takes.
type Config struct {
	Bucket    string        `yaml:"bucket" required:"true" doc:"the bucket, which must exist"`
	Region    string        `yaml:"region" doc:"the bucket's region; without it AWS_REGION and the shared files"`
	Endpoint  string        `yaml:"endpoint" doc:"URL of a server that is not AWS; without it AWS_ENDPOINT_URL_S3, then AWS"`
	AccessKey config.Secret `yaml:"access_key" doc:"without it credentials come from where the AWS SDK looks for them"`
	SecretKey config.Secret `yaml:"secret_key" doc:"belongs to access_key"`
	PathStyle bool          `yaml:"path_style" doc:"name the bucket in the path, not the host; always so with an endpoint"`

	Path   expression.Template   `yaml:"path" required:"true" doc:"folder of a record's object, as in flights/dt=%Y-%m-%d; % letters stand for the record's time in UTC"`
	Time   expression.Expression `yaml:"time" doc:"the time that % letters in path stand for; without it the record's timestamp"`
	Rotate Rotate                `yaml:"rotate" doc:"when an object is closed and uploaded; whichever comes first"`
	Late   *Late                 `yaml:"late" doc:"where records go that are much older than the newest of their partition"`
	Format Format                `yaml:"format" doc:"how records are written; NDJSON when nothing is said"`

	OnTombstone string `yaml:"on_tombstone" default:"ignore" enum:"ignore,fail" doc:"what a record without a value does: nothing, or it fails"`

	PartSize config.Size `yaml:"part_size" default:"16MiB" doc:"objects above this are uploaded in parts of this size, at least 5MiB"`
	Uploads  int         `yaml:"uploads" default:"4" doc:"objects uploaded at the same time"`
}

// Rotate says when an object is closed.
type Rotate struct {
	Size    config.Size     `yaml:"size" default:"256MiB" doc:"records of this many bytes, uncompressed"`
	Records int             `yaml:"records" default:"1000000" doc:"this many records"`
	Age     config.Duration `yaml:"age" default:"10m" doc:"this long after its first record came, by the clock"`
}

// Late says what is done with records far behind.
type Late struct {
	Allow config.Duration     `yaml:"allow" required:"true" doc:"how much older than the newest record of the partition a record may be"`
	Path  expression.Template `yaml:"path" required:"true" doc:"folder of the records that are older"`
}

// Format chooses the format; at most one field is set.
type Format struct {
	Parquet *Parquet `yaml:"parquet" doc:"Parquet, with columns from the fields of the JSON objects"`
	NDJSON  *NDJSON  `yaml:"ndjson" doc:"the values, one a line"`
}

// Parquet configures the Parquet format.
type Parquet struct {
	Schema      string `yaml:"schema" default:"infer" enum:"infer" doc:"infer: columns and types are those of the records of an object"`
	Evolve      string `yaml:"evolve" default:"widen" enum:"widen" doc:"widen: a column takes the narrowest type that fits all values of an object"`
	Compression string `yaml:"compression" default:"zstd" enum:"none,snappy,zstd" doc:"of the columns"`
}

// NDJSON configures the NDJSON format.
type NDJSON struct {
	Compression string `yaml:"compression" default:"none" enum:"none,gzip" doc:"of the object"`
}

// minPartSize is the least that S3 takes for a part that is not the last.
const minPartSize = 5 << 20

// Validate checks what single fields cannot.
func (c *Config) Validate() error {
	switch {
	case c.Format.Parquet != nil && c.Format.NDJSON != nil:
		return config.Fieldf("format.ndjson", "an object has one format, and parquet is chosen above")
	case (c.AccessKey == "") != (c.SecretKey == ""):
		return config.Fieldf("access_key", "access_key and secret_key come together")
	case c.PartSize < minPartSize:
		return config.Fieldf("part_size", "S3 takes no parts under 5MiB")
	case c.Uploads < 1:
		return config.Fieldf("uploads", "at least 1")
	case c.Rotate.Size < 1 || c.Rotate.Records < 1 || time.Duration(c.Rotate.Age) < time.Second:
		return config.Fieldf("rotate", "size and records are at least 1, age at least 1s")
	}
	return nil
}

// Plugin is the s3 connector.
func Plugin() connect.Plugin {
	return connect.WithSink(connect.Plugin{
		Name: "s3", Doc: "Objects on S3, as NDJSON or Parquet, in folders by time and by what records hold.",
		Repeat: "a record that is written again, as after a crash, may be in two objects, where they are cut at other offsets",
	}, New)
}
