package flights

import (
	"embed"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// What the demo makes of its input when all went right.
const (
	Flights    = 20_000 // records of the topic flights, and rows of the Parquet objects
	OriginDays = 6_901  // records of the topic delays-daily
)

// Data is the flights, a JSON object a line: date as 2001/01/01 00:47, delay in minutes, distance in miles, origin, destination.
//
//go:embed data/flights-20k.ndjson
var Data []byte

// Airports is a table with a head: iata, name, city, state, country, latitude, longitude.
//
//go:embed data/airports.csv
var Airports []byte

//go:embed pipelines
var pipelines embed.FS

// Pipelines is the folder of pipelines. Of delays-elasticsearch.yaml and delays-file.yaml the demo runs one.
func Pipelines() fs.FS {
	sub, err := fs.Sub(pipelines, "pipelines")
	if err != nil {
		panic(err) // the folder is embedded above
	}
	return sub
}

// WriteInput writes the input files into dir, where FLIGHTS_DIR says the pipelines find them. Files that are there already stay.
func WriteInput(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("write the demo's input: %w", err)
	}
	for name, data := range map[string][]byte{"flights-20k.ndjson": Data, "airports.csv": Airports} {
		file := filepath.Join(dir, name)
		if info, err := os.Stat(file); err == nil && info.Size() == int64(len(data)) {
			continue
		}
		half := file + ".part" // a demo that is killed leaves no half file under the right name
		if err := os.WriteFile(half, data, 0o644); err != nil {
			return fmt.Errorf("write the demo's input: %w", err)
		}
		if err := os.Rename(half, file); err != nil {
			return fmt.Errorf("write the demo's input: %w", err)
		}
	}
	return nil
}
