package record

import (
	"encoding/binary"
	"fmt"
	"io"
	"sync"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// DefaultLevel leaves the level of a compression to its codec.
const DefaultLevel = 0

// Recompress returns a batch with the records of b, compressed by codec with level: 1 to 9 of gzip, 1 to 17 of lz4, -131072 to 22 of zstd, or DefaultLevel. All
// of the header but codec and length stays. Decompressed the records may take at most limit bytes.
func (b Batch) Recompress(codec Codec, level, limit int) (Batch, error) {
	buf := buffers.Get().(*[]byte)
	defer buffers.Put(buf)
	records, err := b.Codec().decompress(*buf, b[HeaderBytes:], limit)
	if err != nil {
		return nil, err
	}
	if b.Codec() != None && cap(records) <= keepBytes {
		*buf = records
	}
	out, err := codec.compressLevel(append(make(Batch, 0, HeaderBytes+len(records)), b[:HeaderBytes]...), records, level)
	if err != nil {
		return nil, fmt.Errorf("compress %d bytes: %w", len(records), err)
	}
	again := Batch(out)
	binary.BigEndian.PutUint32(again[lengthAt:], uint32(len(again)-logOverhead))
	binary.BigEndian.PutUint16(again[attributesAt:], b.attributes()&^codecMask|uint16(codec))
	again.seal()
	return again, nil
}

// levelKey names the writers of a codec with a level.
type levelKey struct {
	codec Codec
	level int
}

// levelWriters has a *sync.Pool of writers, or a *zstd.Encoder, for each levelKey in use; there are few.
var levelWriters sync.Map

// compressLevel appends src, compressed with level, to dst.
func (c Codec) compressLevel(dst, src []byte, level int) ([]byte, error) {
	if level == DefaultLevel || c == None || c == Snappy {
		return c.compress(dst, src)
	}
	key := levelKey{c, level}
	kept, ok := levelWriters.Load(key)
	if !ok {
		made, err := key.make()
		if err != nil {
			return nil, err
		}
		kept, _ = levelWriters.LoadOrStore(key, made)
	}
	if e, ok := kept.(*zstd.Encoder); ok {
		return e.EncodeAll(src, dst), nil
	}
	pool := kept.(*sync.Pool)
	w := pool.Get().(resetWriter)
	defer pool.Put(w)
	return compressTo(w, dst, src)
}

// maxLZ4Level is the highest of the library; Kafka's go on to 17.
const maxLZ4Level = 9

func (k levelKey) make() (any, error) {
	switch k.codec {
	case Gzip:
		if _, err := gzip.NewWriterLevel(io.Discard, k.level); err != nil {
			return nil, err
		}
		return &sync.Pool{New: func() any {
			w, _ := gzip.NewWriterLevel(io.Discard, k.level) // the level was tried above
			return w
		}}, nil
	case LZ4:
		option := lz4.CompressionLevelOption(lz4.CompressionLevel(1 << (8 + min(max(k.level, 1), maxLZ4Level))))
		if err := lz4.NewWriter(io.Discard).Apply(option); err != nil {
			return nil, err
		}
		return &sync.Pool{New: func() any {
			w := lz4.NewWriter(io.Discard)
			_ = w.Apply(option) // it was tried above
			return w
		}}, nil
	case Zstd:
		return zstd.NewWriter(nil, zstd.WithEncoderConcurrency(zstdConcurrency), zstd.WithEncoderLevel(zstd.EncoderLevelFromZstd(k.level)))
	}
	return nil, fmt.Errorf("%w %d", ErrCodec, k.codec)
}
