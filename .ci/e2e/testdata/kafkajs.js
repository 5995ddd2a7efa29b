// What the kafkajs scripts here share: kafkajs with all codecs, its client, and what a scenario prints.
const { Kafka, CompressionTypes, CompressionCodecs, logLevel } = require('kafkajs')
const snappy = require('kafkajs-snappy')
const lz4 = require('lz4-napi')
const { ZstdCodec } = require('zstd-codec')

const zstd = new Promise((done) => ZstdCodec.run((z) => done(new z.Streaming())))
CompressionCodecs[CompressionTypes.Snappy] = snappy
CompressionCodecs[CompressionTypes.LZ4] = () => ({
  compress: (encoder) => lz4.compressFrame(encoder.buffer),
  decompress: (buffer) => lz4.decompressFrame(buffer),
})
CompressionCodecs[CompressionTypes.ZSTD] = () => ({
  compress: async (encoder) => Buffer.from((await zstd).compress(encoder.buffer)),
  decompress: async (buffer) => Buffer.from((await zstd).decompress(buffer)),
})
const codecs = { none: 0, gzip: 1, snappy: 2, lz4: 3, zstd: 4 }

const client = (broker, level = logLevel.ERROR) =>
  new Kafka({ clientId: 'kafkajs', brokers: [broker], logLevel: level, retry: { initialRetryTime: 50, maxRetryTime: 500, retries: 20 } })

// check prints what a scenario got and what it wants; the test compares.
const check = (name, got, want) => console.log(JSON.stringify({ check: name, got, want }))

// run awaits a verb's function and ends the process with what came of it.
const run = (verbs) => {
  const [verb, ...args] = process.argv.slice(2)
  verbs[verb](...args).then(
    () => process.exit(0),
    (err) => {
      console.error(err)
      process.exit(1)
    }
  )
}

module.exports = { client, codecs, check, run }
