// Produces, consumes, joins a group or looks up offsets with kafkajs. Prints one JSON object a line.
const { randomUUID } = require('crypto')
const { logLevel } = require('kafkajs')
const { client, codecs, run } = require('./kafkajs.js')

const emit = (partition, message) =>
  console.log(
    JSON.stringify({
      partition,
      offset: Number(message.offset),
      key: (message.key || '').toString(),
      value: message.value.toString(),
      headers: Object.fromEntries(Object.entries(message.headers).map(([k, v]) => [k, v.toString()])),
      timestamp: Number(message.timestamp),
    })
  )

async function produce(broker, topic, codec, first, count) {
  const producer = client(broker).producer({ idempotent: true, maxInFlightRequests: 1 })
  await producer.connect()
  const messages = []
  for (let i = Number(first); i < Number(first) + Number(count); i++) {
    messages.push({ key: `k-${i}`, value: `${codec}-${i}`, headers: { h: `${codec}-${i}` }, timestamp: String(1_000_000 + i * 1000) })
  }
  await producer.send({ topic, acks: -1, compression: codecs[codec], messages })
  await producer.disconnect()
}

// trickle produces numbers in many small batches.
async function trickle(broker, topic, count) {
  const producer = client(broker, logLevel.NOTHING).producer({ idempotent: true, maxInFlightRequests: 1 })
  await producer.connect()
  for (let i = 0; i < Number(count); i += 10) {
    const messages = Array.from({ length: 10 }, (_, n) => ({ partition: (i + n) % 6, value: String(i + n).padStart(6, '0') }))
    await producer.send({ topic, acks: -1, messages })
  }
  await producer.disconnect()
}

// kafkajs reads in groups only.
async function consume(broker, topic, count) {
  const consumer = client(broker).consumer({ groupId: `once-${randomUUID()}` })
  await consumer.connect()
  await consumer.subscribe({ topic, fromBeginning: true })
  let seen = 0
  await new Promise((done) =>
    consumer.run({
      autoCommit: false,
      eachMessage: async ({ partition, message }) => {
        if (seen++ < Number(count)) emit(partition, message)
        if (seen === Number(count)) done()
      },
    })
  )
  await consumer.disconnect()
}

async function member(broker, topic, groupId) {
  const consumer = client(broker).consumer({ groupId, sessionTimeout: 6000, heartbeatInterval: 1000, rebalanceTimeout: 10000 })
  const stopped = new Promise((done) => process.on('SIGTERM', done))
  await consumer.connect()
  await consumer.subscribe({ topic, fromBeginning: true })
  await consumer.run({ autoCommitInterval: 200, eachMessage: async ({ partition, message }) => emit(partition, message) })
  await stopped
  await consumer.disconnect()
}

async function time(broker, topic, timestamp) {
  const admin = client(broker).admin()
  await admin.connect()
  for (const { partition, offset } of await admin.fetchTopicOffsetsByTimestamp(topic, Number(timestamp))) {
    console.log(JSON.stringify({ partition, offset: Number(offset) }))
  }
  await admin.disconnect()
}

run({ produce, consume, member, time, trickle })
