package format

import (
	"bytes"
	"fmt"

	"github.com/apache/arrow/go/v17/parquet"
	"github.com/apache/arrow/go/v17/parquet/compress"
	"github.com/apache/arrow/go/v17/parquet/file"
	"github.com/apache/arrow/go/v17/parquet/schema"
)

// codecs are the compressions by name.
var codecs = map[string]compress.Compression{
	"none": compress.Codecs.Uncompressed, "snappy": compress.Codecs.Snappy, "zstd": compress.Codecs.Zstd,
}

// Encode returns the table as a Parquet file of one row group; every column is optional.
func (c *Columns) Encode() ([]byte, error) {
	codec, known := codecs[c.compression]
	if !known {
		return nil, fmt.Errorf("%q is no Parquet compression: none, snappy or zstd", c.compression)
	}
	fields := make(schema.FieldList, len(c.columns))
	props := []parquet.WriterProperty{parquet.WithCompression(codec), parquet.WithCreatedBy("milldam"), parquet.WithDictionaryDefault(false)}
	for i, col := range c.columns {
		col.pad(c.rows)
		node, err := col.node()
		if err != nil {
			return nil, fmt.Errorf("column %s: %w", col.name, err)
		}
		fields[i] = node
		props = append(props, col.encoding()...)
	}
	root, err := schema.NewGroupNode("schema", parquet.Repetitions.Required, fields, -1)
	if err != nil {
		return nil, fmt.Errorf("make the Parquet schema: %w", err)
	}
	var out bytes.Buffer
	w := file.NewParquetWriter(&out, root, file.WithWriterProps(parquet.NewWriterProperties(props...)))
	group := w.AppendRowGroup()
	for _, col := range c.columns {
		next, err := group.NextColumn()
		if err == nil {
			err = col.write(next)
		}
		if err != nil {
			return nil, fmt.Errorf("column %s: %w", col.name, err)
		}
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("end the Parquet file: %w", err)
	}
	return out.Bytes(), nil
}

func (col *column) node() (schema.Node, error) {
	optional := parquet.Repetitions.Optional
	switch col.kind {
	case boolean:
		return schema.NewBooleanNode(col.name, optional, -1), nil
	case integer:
		return schema.NewInt64Node(col.name, optional, -1), nil
	case double:
		return schema.NewFloat64Node(col.name, optional, -1), nil
	}
	return schema.NewPrimitiveNodeLogical(col.name, optional, schema.StringLogicalType{}, parquet.Types.ByteArray, 0, -1)
}

const (
	// sampleRows is how many values tell whether a column has few different ones.
	sampleRows = 512
	// dictionaryShare is the share of different values among them below which a dictionary is smaller and faster to write.
	dictionaryShare = 0.5
)

// encoding chooses a dictionary for few different values, differences for many.
func (col *column) encoding() []parquet.WriterProperty {
	path := parquet.ColumnPath{col.name}
	switch {
	case col.kind == integer && !col.repeats():
		return []parquet.WriterProperty{parquet.WithEncodingPath(path, parquet.Encodings.DeltaBinaryPacked)}
	case col.kind == text && !col.repeats():
		return []parquet.WriterProperty{parquet.WithEncodingPath(path, parquet.Encodings.DeltaByteArray)}
	case col.kind == integer || col.kind == text:
		return []parquet.WriterProperty{parquet.WithDictionaryPath(path, true)}
	}
	return nil
}

// repeats tells whether few of the first values differ.
func (col *column) repeats() bool {
	n := min(len(col.integers)+len(col.ends), sampleRows)
	distinct := 0
	if col.kind == integer {
		seen := make(map[int64]struct{}, n)
		for _, v := range col.integers[:n] {
			seen[v] = struct{}{}
		}
		distinct = len(seen)
	} else {
		seen := make(map[string]struct{}, n)
		for i := range n {
			seen[string(col.text(i))] = struct{}{}
		}
		distinct = len(seen)
	}
	return float64(distinct) < dictionaryShare*float64(n)
}

// text is the i-th text that is not null.
func (col *column) text(i int) []byte {
	start := 0
	if i > 0 {
		start = col.ends[i-1]
	}
	return col.data[start:col.ends[i]]
}

// write gives the values to the column's writer.
func (col *column) write(w file.ColumnChunkWriter) error {
	var err error
	switch w := w.(type) {
	case *file.BooleanColumnChunkWriter:
		_, err = w.WriteBatch(col.bools, col.present, nil)
	case *file.Int64ColumnChunkWriter:
		_, err = w.WriteBatch(col.integers, col.present, nil)
	case *file.Float64ColumnChunkWriter:
		_, err = w.WriteBatch(col.doubles, col.present, nil)
	case *file.ByteArrayColumnChunkWriter:
		values := make([]parquet.ByteArray, len(col.ends))
		for i := range values {
			values[i] = col.text(i)
		}
		_, err = w.WriteBatch(values, col.present, nil)
	default:
		return fmt.Errorf("a writer of %T", w)
	}
	if err != nil {
		return err
	}
	return w.Close()
}
