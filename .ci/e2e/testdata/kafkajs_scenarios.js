// Scenarios with kafkajs: NAME BROKER. Each prints its checks.
const { randomUUID } = require('crypto')
const { AclOperationTypes, AclPermissionTypes, AclResourceTypes, ConfigResourceTypes, ResourcePatternTypes } = require('kafkajs')
const { client, check, run } = require('./kafkajs.js')

// connected runs use with clients that are connected, and disconnects them.
async function connected(clients, use) {
  for (const c of clients) await c.connect()
  await use(...clients)
  for (const c of clients) await c.disconnect()
}

const make = (admin, topic, partitions = 2, configEntries = []) =>
  admin.createTopics({ waitForLeaders: true, topics: [{ topic, numPartitions: partitions, replicationFactor: 1, configEntries }] })

// eventually calls get until it returns what reads the same as want, and returns what it returned last.
async function eventually(get, want, seconds = 30) {
  const end = Date.now() + seconds * 1000
  for (;;) {
    const got = await get()
    if (JSON.stringify(got) === JSON.stringify(want) || Date.now() > end) return got
    await new Promise((done) => setTimeout(done, 100))
  }
}

// values reads a topic until last has come, and returns all that came, sorted. kafkajs reads committed records unless it is told otherwise.
async function values(broker, topic, last, readUncommitted = false) {
  const got = []
  const consumer = client(broker).consumer({ groupId: `once-${randomUUID()}`, readUncommitted, maxWaitTimeInMs: 100 })
  await connected([consumer], async () => {
    await consumer.subscribe({ topic, fromBeginning: true })
    await new Promise((done) =>
      consumer.run({
        autoCommit: false,
        eachMessage: async ({ message }) => {
          got.push(message.value.toString())
          if (last.every((value) => got.includes(value))) done()
        },
      })
    )
  })
  return got.sort()
}

const numbered = (name) => Array.from({ length: 10 }, (_, i) => `${name}-${i}`)
const messages = (list) => list.map((value, i) => ({ partition: i % 2, value }))

async function failure(action) {
  try {
    await action()
    return 'none'
  } catch (err) {
    return err.groups ? err.groups[0].error.type : err.type
  }
}

async function transactions(broker) {
  const options = { transactionalId: 'txn', idempotent: true, maxInFlightRequests: 1 }
  const [admin, p] = [client(broker).admin(), client(broker).producer(options)]
  await connected([admin, p], async () => {
    await make(admin, 'txn')
    for (const name of ['first', 'second', 'third']) {
      const txn = await p.transaction()
      const sent = await txn.send({ topic: 'txn', messages: messages(numbered(name)) })
      check(`the ${name} transaction is acknowledged`, sent.map((r) => r.errorCode), [0, 0])
      await (name === 'second' ? txn.abort() : txn.commit())
    }
    const kept = [...numbered('first'), ...numbered('third')].sort()
    // One record behind them in each partition tells that all before it was read.
    await p.send({ topic: 'txn', messages: messages(['end-0', 'end-1']) })
    const ends = ['end-0', 'end-1']
    check('committed records are read', await values(broker, 'txn', ends), [...ends, ...kept].sort())
    check('all are read by who asks for it', await values(broker, 'txn', ends, true), [...ends, ...kept, ...numbered('second')].sort())
    const second = client(broker).producer(options)
    const open = await p.transaction()
    await open.send({ topic: 'txn', messages: messages(['of a fenced producer']) })
    await connected([second], async () => {
      const txn = await second.transaction()
      check('a producer is fenced by the next of its id', await failure(() => open.commit()), 'INVALID_PRODUCER_EPOCH')
      await txn.send({ topic: 'txn', messages: messages(['last-0', 'last-1']) })
      await txn.commit()
    })
    const last = ['last-0', 'last-1']
    check('nothing of it is read', await values(broker, 'txn', last), [...ends, ...kept, ...last].sort())
  })
}

async function offsetsInTransactions(broker) {
  const [admin, plain, p] = [
    client(broker).admin(),
    client(broker).producer({ idempotent: true, maxInFlightRequests: 1 }),
    client(broker).producer({ transactionalId: 'copier', idempotent: true, maxInFlightRequests: 1 }),
  ]
  await connected([admin, plain, p], async () => {
    await make(admin, 'from')
    await make(admin, 'to')
    await plain.send({ topic: 'from', messages: messages(numbered('in')) })
    const input = await values(broker, 'from', numbered('in'))
    check('the input', input, numbered('in'))
    const committed = async () => {
      const [topic] = await admin.fetchOffsets({ groupId: 'copiers', topics: ['from'] })
      return topic.partitions.map((p) => [p.partition, p.offset]).sort()
    }
    const position = { topic: 'from', partitions: [0, 1].map((partition) => ({ partition, offset: '5' })) }
    for (const end of ['abort', 'commit']) {
      const txn = await p.transaction()
      await txn.send({ topic: 'to', messages: messages(input.map((v) => `${end}-${v}`)) })
      await txn.sendOffsets({ consumerGroupId: 'copiers', topics: [position] })
      check(`before the ${end} no offset is there`, await committed(), [[0, '-1'], [1, '-1']])
      await txn[end]()
      const want = [0, 1].map((n) => [n, end === 'abort' ? '-1' : '5'])
      check(`the offsets after the ${end}`, await eventually(committed, want), want)
    }
    await plain.send({ topic: 'to', messages: messages(['end-0', 'end-1']) })
    const want = [...input.map((v) => `commit-${v}`), 'end-0', 'end-1'].sort()
    check('what was committed is read', await values(broker, 'to', ['end-0', 'end-1']), want)
  })
}

async function commits(broker) {
  const [admin, p] = [client(broker).admin(), client(broker).producer({ idempotent: true, maxInFlightRequests: 1 })]
  await connected([admin, p], async () => {
    await make(admin, 'lag', 1)
    const sent = await p.send({ topic: 'lag', messages: numbered('v').map((value) => ({ value })) })
    check('the offset of what was sent', sent.map((r) => [r.partition, r.baseOffset]), [[0, '0']])

    // member reads four records, commits behind them and calls and then.
    const member = async (and = async () => {}) => {
      const consumer = client(broker).consumer({ groupId: 'laggards', maxWaitTimeInMs: 100 })
      const read = []
      await connected([consumer], async () => {
        await consumer.subscribe({ topic: 'lag', fromBeginning: true })
        await new Promise((done) =>
          consumer.run({
            autoCommit: false,
            eachMessage: async ({ message }) => {
              if (read.length === 4) return
              read.push(message)
              if (read.length === 4) done()
            },
          })
        )
        await consumer.commitOffsets([{ topic: 'lag', partition: 0, offset: String(Number(read[3].offset) + 1), metadata: 'a note' }])
        await and()
      })
      return read.map((m) => m.value.toString())
    }
    const committed = async () => {
      const [topic] = await admin.fetchOffsets({ groupId: 'laggards', topics: ['lag'] })
      return topic.partitions.map((p) => [p.offset, p.metadata])
    }
    check('the first four', await member(), ['v-0', 'v-1', 'v-2', 'v-3'])
    check('the commit', await committed(), [['4', 'a note']])
    const [end] = await admin.fetchTopicOffsets('lag')
    check('the lag', Number(end.high) - Number((await committed())[0][0]), 6)
    const again = await member(async () => {
      const { groups } = await admin.describeGroups(['laggards'])
      check('the group', groups.map((g) => [g.state, g.protocol, g.protocolType, g.members.length]), [['Stable', 'RoundRobinAssigner', 'consumer', 1]])
      check('a group with members is not deleted', await failure(() => admin.deleteGroups(['laggards'])), 'NON_EMPTY_GROUP')
    })
    check('the next goes on behind the commit', again, ['v-4', 'v-5', 'v-6', 'v-7'])
    await admin.setOffsets({ groupId: 'laggards', topic: 'lag', partitions: [{ partition: 0, offset: '2' }] })
    check('a group that is empty can be moved', (await committed())[0][0], '2')
    check('and is read from there', await member(), ['v-2', 'v-3', 'v-4', 'v-5'])
    const listed = async () => (await admin.listGroups()).groups.filter((g) => g.groupId === 'laggards').map((g) => g.protocolType)
    check('it is listed', await listed(), ['consumer'])
    check('it is deleted', (await admin.deleteGroups(['laggards'])).map((g) => g.errorCode), [0])
    check('and listed no more', await listed(), [])
  })
}

async function admin(broker) {
  const [a, p] = [client(broker).admin(), client(broker).producer()]
  await connected([a, p], async () => {
    check('a topic is made', await make(a, 'adm', 2, [{ name: 'retention.ms', value: '-1' }]), true)
    check('and not made again', await make(a, 'adm'), false)
    await a.createPartitions({ topicPartitions: [{ topic: 'adm', count: 4 }] })
    const { topics } = await a.fetchTopicMetadata({ topics: ['adm'] })
    const partitions = topics[0].partitions.map((p) => [p.partitionId, p.leader, p.replicas, p.isr]).sort()
    check('its partitions', partitions, [0, 1, 2, 3].map((n) => [n, 1, [1], [1]]))
    const configs = async () => {
      const { resources } = await a.describeConfigs({ includeSynonyms: false, resources: [{ type: ConfigResourceTypes.TOPIC, name: 'adm' }] })
      return resources[0].configEntries.filter((c) => !c.isDefault).map((c) => [c.configName, c.configValue]).sort()
    }
    check('its configs', await configs(), [['retention.ms', '-1']])
    const entries = [['max.message.bytes', '2000000'], ['retention.ms', '-1']]
    await a.alterConfigs({
      validateOnly: false,
      resources: [{ type: ConfigResourceTypes.TOPIC, name: 'adm', configEntries: entries.map(([name, value]) => ({ name, value })) }],
    })
    check('its configs after a change', await configs(), entries)
    await p.send({ topic: 'adm', messages: numbered('v').map((value, i) => ({ partition: 1, value, timestamp: String(1000 + i) })) })
    const offsets = async () => (await a.fetchTopicOffsets('adm')).filter((o) => o.partition === 1).map((o) => [o.low, o.high])
    check('its offsets', await offsets(), [['0', '10']])
    const byTime = await a.fetchTopicOffsetsByTimestamp('adm', 1005)
    check('an offset by time', byTime.filter((o) => o.partition === 1).map((o) => o.offset), ['5'])
    await a.deleteTopicRecords({ topic: 'adm', partitions: [{ partition: 1, offset: '6' }] })
    check('the log starts behind deleted records', await offsets(), [['6', '10']])
    const rule = {
      resourceType: AclResourceTypes.TOPIC,
      resourceName: 'adm',
      resourcePatternType: ResourcePatternTypes.LITERAL,
      principal: 'User:alice',
      host: '*',
      operation: AclOperationTypes.READ,
      permissionType: AclPermissionTypes.ALLOW,
    }
    const every = { ...rule, host: undefined, operation: AclOperationTypes.ANY, permissionType: AclPermissionTypes.ANY }
    const rules = async () => (await a.describeAcls(every)).resources.map((r) => [r.resourceName, r.acls.map((x) => [x.principal, x.host, x.operation, x.permissionType])])
    check('a rule is made', await a.createAcls({ acl: [rule] }), true)
    check('it is described', await rules(), [['adm', [['User:alice', '*', rule.operation, rule.permissionType]]]])
    check('it is deleted', (await a.deleteAcls({ filters: [every] })).filterResponses.map((r) => r.matchingAcls.length), [1])
    check('no rule', await rules(), [])
    const cluster = await a.describeCluster()
    check('the cluster', [cluster.brokers.map((b) => b.nodeId), cluster.controller], [[1], 1])
    await a.deleteTopics({ topics: ['adm'] })
    check('it is gone', (await a.listTopics()).includes('adm'), false)
  })
}

run({ transactions, 'offsets-in-transactions': offsetsInTransactions, commits, admin })
