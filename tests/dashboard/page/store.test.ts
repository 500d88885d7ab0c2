// What the page keeps, asks and waits for: the store in front of a workspace whose answers the test gives.
import assert from 'node:assert/strict'
import { test, type TestContext } from 'node:test'
import { Budget, MAX_JOBS_PER_HOUR, REST_INTERVAL_S } from '../../../f/flexcore/dashboard__raw_app/logic/budget'
import { parseRoute } from '../../../f/flexcore/dashboard__raw_app/logic/route'
import { Store } from '../../../f/flexcore/dashboard__raw_app/logic/store'

const NOW = Date.parse('2026-01-01T12:00:00Z')
const UNREAD = { code: 'unread', severity: 'error', message: 'Windmill answered with 503', remedy: 'Try again.' }
const FORGOTTEN = { code: 'forgotten', severity: 'warning', message: 'Windmill has no execution', remedy: 'Look in the list.' }

type Asked = { args: Record<string, any>; end: (answer: object) => Promise<void>; at: number }

const settle = () => new Promise((resolve) => setImmediate(resolve))

/** An answer of read_dashboard at the test's clock. */
const answer = (parts: object = {}, notices: object[] = []) => ({
  now: new Date().toISOString(),
  version: '1',
  server: { version: '1.743.0', url: null, workspace: 'dev', user: 'ann', engine: 'windmill' },
  notices,
  cursor: 'c',
  full: true,
  ...parts,
})
const row = (id: string, more: object = {}) => ({ id, workflow: 'data_pipeline', status: 'success', created_at: `2026-01-01T00:00:0${id.length}Z`, source: 'windmill', ...more })
const execution = (id: string, status = 'success') => ({ execution: { row: row(id, { status }) } })
const executions = (rows: object[], older: string | null = null) => ({ executions: { rows, removed: [], older, counts: null } })

/** A page at `hash` that has started its first read; `asked` has every job, `later` lets time pass. */
async function openPage(t: TestContext, hash: string) {
  const asked: Asked[] = []
  t.mock.timers.enable({ apis: ['setTimeout', 'Date'], now: NOW })
  const world = globalThis as any
  world.document = { visibilityState: 'visible', addEventListener: () => {}, removeEventListener: () => {} }
  world.window = {
    answer: (_: string, args: object) =>
      new Promise<string>((resolve) => {
        const end = async (given: object) => {
          resolve(JSON.stringify('error' in given ? given : { result: given }))
          await settle()
        }
        asked.push({ args, end, at: Date.now() / 1000 })
      }),
  }
  const store = new Store(parseRoute(hash), new Budget(() => Date.now() / 1000))
  t.after(store.start())
  const later = async (seconds: number) => (t.mock.timers.tick(seconds * 1000), settle())
  const go = (to: string) => (store.go(parseRoute(to)), settle())
  await later(0.001)
  const last = () => asked[asked.length - 1]!
  return { store, asked, later, go, last }
}

const nextIn = (store: Store) => Math.round(store.state.nextAt! - Date.now() / 1000)

test('a read that fails once takes nothing away from an execution that is watched', async (t) => {
  const { store, later, last } = await openPage(t, '#/executions/a')
  await last().end(answer(execution('a', 'running')))
  const { now } = store.state.data
  await later(10)
  await last().end(answer({ execution: null }, [UNREAD]))
  assert.equal(store.state.data.execution!.row.id, 'a')
  assert.deepEqual(store.state.reads.execution, { at: now, failed: true })
  await later(10)
  await last().end(answer(execution('a')))
  assert.equal(store.state.data.execution!.row.status, 'success')
  assert.equal(store.state.reads.execution!.failed, false)
})

test('an execution is not to be found only when Windmill has forgotten it', async (t) => {
  const { store, go, last } = await openPage(t, '#/executions/a')
  await last().end(answer({ execution: null }, [UNREAD]))
  assert.equal(store.state.data.execution, undefined)
  assert.deepEqual(store.state.reads.execution, { at: null, failed: true })
  await go('#/executions/b')
  await last().end(answer({ execution: null }, [FORGOTTEN]))
  assert.equal(store.state.data.execution, null)
  assert.equal(store.state.reads.execution!.failed, false)
})

test('an execution that is forgotten while it is in front stays there as an old one', async (t) => {
  const { store, later, last } = await openPage(t, '#/executions/a')
  await last().end(answer(execution('a')))
  await later(REST_INTERVAL_S)
  await last().end(answer({ execution: null }, [FORGOTTEN]))
  assert.equal(store.state.data.execution!.row.id, 'a')
  assert.equal(store.state.reads.execution!.failed, true)
})

for (const part of ['executions', 'orphans'] as const) {
  test(`a first read without ${part} is a failed one, a later one leaves what is held`, async (t) => {
    const { store, later, last } = await openPage(t, `#/${part}`)
    await last().end(answer({ [part]: null }, [UNREAD]))
    assert.deepEqual(store.state.reads[part], { at: null, failed: true })
    assert.equal(store.state.readAt, null, 'nothing was read')
    await later(REST_INTERVAL_S)
    await last().end(answer(part === 'orphans' ? { orphans: [{ name: 'o' }] } : executions([row('a')])))
    await later(REST_INTERVAL_S)
    await last().end(answer({ [part]: null }, [UNREAD]))
    assert.equal((part === 'orphans' ? store.state.data.orphans! : store.state.rows!).length, 1)
    assert.equal(store.state.reads[part]!.failed, true)
  })
}

test('a job that fails leaves the time of the last read as it was', async (t) => {
  const { store, later, last } = await openPage(t, '#/orphans')
  await last().end(answer({ orphans: [] }))
  const { readAt } = store.state
  await later(REST_INTERVAL_S)
  await last().end({ error: { name: 'Unreachable', message: 'the database does not answer' } })
  assert.equal(store.state.problem!.message, 'the database does not answer')
  assert.equal(store.state.readAt, readAt)
  assert.equal(nextIn(store), REST_INTERVAL_S)
})

test('a view does not wait for the slow read of another one, whose answer is dropped', async (t) => {
  const { store, asked, go, last } = await openPage(t, '#/orphans')
  const slow = last()
  await go('#/executions')
  assert.deepEqual(last().args.want, ['executions'])
  assert.equal(store.budget.tokens(), 38, 'both are counted')
  await slow.end({ error: { name: 'Unreachable', message: 'the cluster does not answer' } })
  assert.equal(store.state.problem, null)
  assert.equal(store.state.reading, true)
  await last().end(answer(executions([row('a')])))
  assert.equal(store.state.rows!.length, 1)
  assert.equal(store.state.reading, false)
  assert.equal(asked.length, 2)
})

test('a view that is in front is read once at a time', async (t) => {
  const { store, asked, last } = await openPage(t, '#/orphans')
  await store.refresh()
  assert.equal(asked.length, 1)
  await last().end(answer({ orphans: [] }))
  void store.refresh()
  await settle()
  assert.equal(asked.length, 2)
})

test('an answer to an earlier filter is dropped, and its cursor with it', async (t) => {
  const { store, asked, go, later, last } = await openPage(t, '#/executions')
  await last().end(answer(executions([row('a'), row('bb', { workflow: 'hybrid_pipeline' })])))
  await later(REST_INTERVAL_S)
  assert.equal(last().args.cursor, 'c')
  const changes = last()
  await go('#/executions?status=failure')
  assert.equal(last().args.cursor, undefined)
  await last().end(answer(executions([])))
  await changes.end(answer({ ...executions([row('ccc')]), full: false }))
  assert.deepEqual(store.state.rows, [])
  await go('#/executions')
  assert.equal(last().args.cursor, undefined, 'what is held is of another filter')
  assert.equal(asked.length, 4)
})

test('every workflow that was seen can be chosen, whatever the filter leaves', async (t) => {
  const { store, go, last } = await openPage(t, '#/executions')
  await last().end(answer(executions([row('a'), row('bb', { workflow: 'hybrid_pipeline' })], 'position')))
  const loaded = store.loadOlder()
  await settle()
  await last().end({ rows: [row('ccc', { workflow: 'templates/monthly', source: 'index' })], older: null })
  await loaded
  await go('#/executions?workflow=hybrid_pipeline')
  const deployed = { workflows: ['hybrid_pipeline', 'templates/yearly'] }
  await last().end(answer({ executions: { ...executions([row('bb', { workflow: 'hybrid_pipeline' })]).executions, ...deployed } }))
  assert.deepEqual(store.state.workflows, ['data_pipeline', 'hybrid_pipeline', 'templates/monthly', 'templates/yearly'])
})

test('rows of the run index stay below a page on which Windmill has none', async (t) => {
  const { store, later, last } = await openPage(t, '#/executions?status=failure')
  await last().end(answer(executions([], 'now')))
  const loaded = store.loadOlder()
  await settle()
  await last().end({ rows: [row('a', { source: 'index' })], older: 'below a' })
  await loaded
  await later(REST_INTERVAL_S)
  await last().end(answer(executions([], 'now')))
  assert.deepEqual(store.state.rows!.map((each) => each.id), ['a'])
  assert.equal(store.state.older, 'below a')
})

test('a click brings one read and speeds up nothing, an action is followed for a minute', async (t) => {
  const { store, go, later, last } = await openPage(t, '#/executions')
  await last().end(answer(executions([row('a')])))
  await go('#/executions/a')
  await last().end(answer(execution('a')))
  assert.equal(nextIn(store), 40)
  await go('#/executions/b')
  await last().end(answer(execution('b', 'running')))
  assert.equal(nextIn(store), 10)
  const acted = store.act('cancel_execution', {})
  await settle()
  await last().end({ execution: 'b' })
  await acted
  await go('#/executions/a')
  await last().end(answer(execution('a')))
  assert.equal(nextIn(store), 10)
  for (let second = 0; second < 60; second += 10) {
    await later(10)
    await last().end(answer(execution('a')))
  }
  assert.equal(nextIn(store), 40)
})

test('clicks that have used up the jobs of the hour wait for the next one and are told for how long', async (t) => {
  const { store, asked, go, later, last } = await openPage(t, '#/executions')
  await last().end(answer(executions([row('a')], 'position')))
  for (let click = 0; store.wait() === 0; click++) {
    await go(click % 2 ? '#/executions' : `#/executions/${click}`)
    const { want } = last().args
    await last().end(want[0] === 'executions' ? answer(executions([row('a')], 'position')) : answer(execution(`${click}`)))
  }
  assert.equal(asked.length, 40)
  await go('#/runtimes')
  await store.loadOlder()
  assert.equal(asked.length, 40)
  assert.equal(store.state.reading, false)
  assert.equal(nextIn(store), 45)
  assert.equal(Math.ceil(store.wait()), 45)
  await later(45)
  assert.deepEqual(last().args.want, ['runtimes'])
})

test('a page whose jobs of the hour are used up goes on reading by itself and leaves some for clicks', async (t) => {
  const { store, asked, later, last } = await openPage(t, '#/executions/a')
  await last().end(answer(execution('a', 'running')))
  while (store.wait() === 0) store.budget.take()
  const first = Date.now() / 1000
  while (Date.now() / 1000 < first + 3600) {
    await later(1)
    if (store.state.reading) await last().end(answer(execution('a', 'running')))
  }
  const starts = asked.slice(1).map((each) => each.at)
  const pauses = starts.map((at, index) => at - (starts[index - 1] ?? first))
  assert.ok(Math.max(...pauses) <= 122, `${Math.max(...pauses)} s without a read`)
  assert.ok(starts.length + 40 <= MAX_JOBS_PER_HOUR)
  assert.ok(store.state.left >= 20, `${store.state.left} left for clicks`)
})
