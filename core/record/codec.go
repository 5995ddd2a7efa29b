package record

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"sync"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// Codec is a compression of the records of a batch.
type Codec int8

// The codecs, by their number in the attributes.
const (
	None Codec = iota
	Gzip
	Snappy
	LZ4
	Zstd
)

var codecNames = [...]string{"none", "gzip", "snappy", "lz4", "zstd"}

func (c Codec) known() bool { return c >= 0 && int(c) < len(codecNames) }

// String returns the codec's name in configurations.
func (c Codec) String() string {
	if !c.known() {
		return fmt.Sprintf("codec %d", int8(c))
	}
	return codecNames[c]
}

// ParseCodec returns the codec called name; "uncompressed" is Kafka's other word for none.
func ParseCodec(name string) (Codec, error) {
	if name == "uncompressed" {
		return None, nil
	}
	for i, n := range codecNames {
		if n == name {
			return Codec(i), nil
		}
	}
	return None, fmt.Errorf("%w %q: none, gzip, snappy, lz4 or zstd", ErrCodec, name)
}

// Writers and readers hold large tables, so they are kept for the next batch.
var (
	gzipWriters = sync.Pool{New: func() any { return gzip.NewWriter(nil) }}
	lz4Writers  = sync.Pool{New: func() any { return lz4.NewWriter(nil) }}
	gzipReaders = sync.Pool{New: func() any { return new(gzip.Reader) }}
	lz4Readers  = sync.Pool{New: func() any { return lz4.NewReader(nil) }}

	zstdEncoder = sync.OnceValue(func() *zstd.Encoder {
		e, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(zstdConcurrency), zstd.WithEncoderLevel(zstd.SpeedFastest))
		if err != nil { // constant options
			panic(err)
		}
		return e
	})
	zstdReaders = sync.Pool{New: func() any {
		r, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxZstdWindow))
		if err != nil { // constant options
			panic(err)
		}
		return r
	}}
)

const (
	zstdConcurrency = 4
	maxZstdWindow   = 64 << 20 // what a frame may ask a reader to keep
)

// compress appends src, compressed, to dst.
func (c Codec) compress(dst, src []byte) ([]byte, error) {
	switch c {
	case None:
		return append(dst, src...), nil
	case Snappy:
		at := len(dst)
		dst = append(dst, make([]byte, s2.MaxEncodedLen(len(src)))...)
		return dst[:at+len(s2.EncodeSnappy(dst[at:], src))], nil
	case Zstd:
		return zstdEncoder().EncodeAll(src, dst), nil
	}
	switch c {
	case Gzip:
		g := gzipWriters.Get().(*gzip.Writer)
		defer gzipWriters.Put(g)
		return compressTo(g, dst, src)
	case LZ4:
		l := lz4Writers.Get().(*lz4.Writer)
		defer lz4Writers.Put(l)
		return compressTo(l, dst, src)
	}
	return nil, fmt.Errorf("%w %d", ErrCodec, c)
}

// resetWriter is a compressor that is used again.
type resetWriter interface {
	io.WriteCloser
	Reset(io.Writer)
}

func compressTo(w resetWriter, dst, src []byte) ([]byte, error) {
	buf := bytes.NewBuffer(dst)
	w.Reset(buf)
	if _, err := w.Write(src); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return buf.Bytes(), nil
}

// decompress returns src, decompressed, in dst's memory where that is large enough. More than limit bytes are ErrTooLarge.
func (c Codec) decompress(dst, src []byte, limit int) ([]byte, error) {
	switch c {
	case None:
		return src, nil
	case Snappy:
		return decodeSnappy(dst[:0], src, limit)
	case Gzip:
		r := gzipReaders.Get().(*gzip.Reader)
		defer gzipReaders.Put(r)
		if err := r.Reset(bytes.NewReader(src)); err != nil {
			return nil, fmt.Errorf("%w: gzip: %w", ErrInvalid, err)
		}
		return readBounded(dst, r, limit)
	case LZ4:
		r := lz4Readers.Get().(*lz4.Reader)
		defer lz4Readers.Put(r)
		r.Reset(bytes.NewReader(src))
		return readBounded(dst, r, limit)
	case Zstd:
		r := zstdReaders.Get().(*zstd.Decoder)
		defer zstdReaders.Put(r)
		if err := r.Reset(bytes.NewReader(src)); err != nil {
			return nil, fmt.Errorf("%w: zstd: %w", ErrInvalid, err)
		}
		return readBounded(dst, r, limit)
	}
	return nil, fmt.Errorf("%w %d", ErrCodec, c)
}

// readBounded reads all of r, in dst's memory, up to limit bytes.
func readBounded(dst []byte, r io.Reader, limit int) ([]byte, error) {
	buf := bytes.NewBuffer(dst[:0])
	n, err := buf.ReadFrom(io.LimitReader(r, int64(limit)+1))
	switch {
	case n > int64(limit):
		return nil, fmt.Errorf("%w: more than %d bytes", ErrTooLarge, limit)
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return buf.Bytes(), nil
}

// xerialMagic starts the framing that Java clients put around snappy: magic, two versions of 4 bytes, then blocks of a length of 4 bytes and
// raw snappy.
var xerialMagic = []byte{0x82, 'S', 'N', 'A', 'P', 'P', 'Y', 0}

const xerialHeader = 16

func decodeSnappy(dst, src []byte, limit int) ([]byte, error) {
	if !bytes.HasPrefix(src, xerialMagic) || len(src) < xerialHeader {
		return appendSnappy(dst, src, limit)
	}
	var err error
	for src = src[xerialHeader:]; len(src) > 0; {
		if len(src) < 4 {
			return nil, fmt.Errorf("%w: snappy: a block length is cut", ErrInvalid)
		}
		length := binary.BigEndian.Uint32(src)
		src = src[4:]
		if uint64(length) > uint64(len(src)) {
			return nil, fmt.Errorf("%w: snappy: a block is cut", ErrInvalid)
		}
		if dst, err = appendSnappy(dst, src[:length], limit); err != nil {
			return nil, err
		}
		src = src[length:]
	}
	return dst, nil
}

// appendSnappy appends one raw block, whose length is checked before memory is taken for it.
func appendSnappy(dst, block []byte, limit int) ([]byte, error) {
	size, err := s2.DecodedLen(block)
	if err != nil {
		return nil, fmt.Errorf("%w: snappy: %w", ErrInvalid, err)
	}
	if size > limit-len(dst) {
		return nil, fmt.Errorf("%w: more than %d bytes", ErrTooLarge, limit)
	}
	at := len(dst)
	dst = append(dst, make([]byte, size)...)
	if _, err := s2.Decode(dst[at:at:len(dst)], block); err != nil {
		return nil, fmt.Errorf("%w: snappy: %w", ErrInvalid, err)
	}
	return dst, nil
}
