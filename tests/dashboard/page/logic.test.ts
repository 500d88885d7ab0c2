// The logic of the page that needs no page; tests/dashboard/test_logic.py bundles and runs it with Node's own runner.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Budget, MAX_JOBS_PER_HOUR, nextRefresh, RESERVE } from '../../../f/flexcore/dashboard__raw_app/logic/budget'
import { call, callOnce, CallError, problemOfResult, withTimeout } from '../../../f/flexcore/dashboard__raw_app/logic/calls'
import { axisMarks, daysBetween, durationMarks, linePath } from '../../../f/flexcore/dashboard__raw_app/logic/chart'
import { compareRequests } from '../../../f/flexcore/dashboard__raw_app/logic/diff'
import { orderEvents } from '../../../f/flexcore/dashboard__raw_app/logic/events'
import * as format from '../../../f/flexcore/dashboard__raw_app/logic/format'
import { formatRoute, parseRoute } from '../../../f/flexcore/dashboard__raw_app/logic/route'
import { matches, mergeRows, moveCounts, takeRead } from '../../../f/flexcore/dashboard__raw_app/logic/rows'
import { sinceTime } from '../../../f/flexcore/dashboard__raw_app/logic/store'
import { layOut, nameInParent, ticks } from '../../../f/flexcore/dashboard__raw_app/logic/timeline'
import type { Parts, Row, Step } from '../../../f/flexcore/dashboard__raw_app/logic/types'

const row = (id: string, created_at: string, more: Partial<Row> = {}): Row => ({
  id,
  workflow: 'f/a',
  runtime: 'ray',
  status: 'success',
  created_at,
  started_at: null,
  ended_at: null,
  duration_s: null,
  created_by: 'ann',
  failed_step: null,
  error: null,
  rows: null,
  cost: null,
  currency: null,
  source: 'windmill',
  ...more,
})
const ids = (rows: Row[]) => rows.map((each) => each.id)

/** Starts of jobs of a page that asks by itself, and clicks whenever it may, over some hours. */
function starts(running: boolean, clicksEveryS: number | null, hours: number): number[] {
  let now = 1000
  const budget = new Budget(() => now)
  const at: number[] = []
  let click = now + (clicksEveryS ?? Infinity)
  let refresh = now
  while (now < 1000 + hours * 3600) {
    if (now >= click) {
      if (budget.wait() === 0) {
        budget.take()
        at.push(now)
      }
      click = now + clicksEveryS!
    }
    if (now >= refresh) {
      if (budget.wait() === 0) {
        budget.take()
        at.push(now)
      }
      refresh = now + nextRefresh(budget, clicksEveryS === null ? Infinity : now - (click - clicksEveryS), running)
    }
    now = Math.min(click, refresh)
  }
  return at
}

for (const [name, running, clicks] of [
  ['at rest', false, null],
  ['while an execution runs', true, null],
  ['under clicks every three seconds', true, 3],
] as const) {
  test(`${name} a page starts at most 120 jobs in any hour`, () => {
    const at = starts(running, clicks, 5)
    for (let index = 0; index < at.length; index++) {
      const within = at.filter((each) => each >= at[index]! && each < at[index]! + 3600).length
      assert.ok(within <= MAX_JOBS_PER_HOUR, `${within} jobs from ${at[index]}`)
    }
    assert.ok(at.length > 5 * 60, `only ${at.length}: a page that stands still is of no use`)
  })
}

test('a page at rest reads every 40 seconds, one with a running execution or after an action every 10', () => {
  assert.equal(nextRefresh(new Budget(() => 0), 1000, false), 40)
  assert.equal(nextRefresh(new Budget(() => 0), 1000, true), 10)
  assert.equal(nextRefresh(new Budget(() => 0), 30, false), 10)
})

test('refreshes leave room for a click', () => {
  let now = 0
  const budget = new Budget(() => now)
  while (budget.wait(RESERVE) === 0) budget.take()
  assert.equal(budget.wait(), 0)
  assert.ok(nextRefresh(budget, 0, true) > 10)
  now += 3600
  assert.equal(budget.wait(RESERVE), 0)
})

test('a reload does not fill the bucket, a clock that is set back does not stop it', () => {
  const kept = new Map<string, string>()
  const storage = { getItem: (key: string) => kept.get(key) ?? null, setItem: (key: string, value: string) => void kept.set(key, value) }
  let now = 10_000
  const first = new Budget(() => now, storage)
  for (let index = 0; index < 40; index++) first.take()
  assert.ok(new Budget(() => now, storage).wait() > 0)
  now = 5_000
  const after = new Budget(() => now, storage)
  now += 60
  assert.equal(after.wait(), 0)
  kept.set('flexcore.budget', '{"tokens": "many"')
  assert.equal(new Budget(() => now, storage).wait(), 0)
})

test('changes are put among the rows that are held, newest first', () => {
  const held = [row('b', '2026-01-02T00:00:00Z', { status: 'running' }), row('a', '2026-01-01T00:00:00Z')]
  const read = { rows: [row('c', '2026-01-03T00:00:00Z'), row('b', '2026-01-02T00:00:00Z')], removed: ['a'], older: null, counts: null }
  const merged = takeRead(held, read, false)
  assert.deepEqual(ids(merged), ['c', 'b'])
  assert.equal(merged[1]!.status, 'success')
  assert.equal(takeRead(held, { rows: [], removed: [], older: null, counts: null }, false), held)
})

test('a first page replaces its span and keeps the older rows that were loaded', () => {
  const held = [row('c', '2026-01-03T00:00:00Z'), row('b', '2026-01-02T00:00:00Z'), row('a', '2026-01-01T00:00:00Z')]
  const page = [row('d', '2026-01-04T00:00:00Z'), row('b', '2026-01-02T00:00:00Z')]
  assert.deepEqual(ids(takeRead(held, { rows: page, removed: [], older: 'x', counts: null }, true)), ['d', 'b', 'a'])
  assert.deepEqual(ids(takeRead(held, { rows: page, removed: [], older: null, counts: null }, true)), ['d', 'b'])
})

test('rows of the same moment keep one order', () => {
  const at = '2026-01-01T00:00:00Z'
  assert.deepEqual(ids(mergeRows([row('a', at)], [row('c', at), row('b', at)])), ['c', 'b', 'a'])
})

test('counts follow the rows that moved from one status to another', () => {
  const counts = { queued: 1, running: 1, suspended: 0, success: 5, failure: 0, canceled: 0, skipped: 0 }
  const before = [row('q', '2026-01-02T00:00:00Z', { status: 'queued' }), row('r', '2026-01-01T00:00:00Z', { status: 'running' })]
  const after = [row('n', '2026-01-03T00:00:00Z', { status: 'queued' }), row('q', '2026-01-02T00:00:00Z', { status: 'running' })]
  assert.deepEqual(moveCounts(counts, before, after), { ...counts, queued: 1, running: 1 })
  assert.equal(moveCounts(null, before, after), null)
})

test('a filter is asked of workflow, runtime, status and time', () => {
  const one = row('a', '2026-01-02T00:00:00Z')
  for (const filter of [{}, { workflow: 'f/a' }, { runtime: 'ray' }, { status: 'success' }, { since: '2026-01-01T00:00:00Z' }] as const) assert.ok(matches(one, filter))
  const shared = row('b', '2026-01-02T00:00:00Z', { runtime: null, runtimes: ['meltano', 'ray'] })
  for (const [runtime, fits] of [['ray', true], ['meltano', true], ['kubernetes', false]] as const) assert.equal(matches(shared, { runtime }), fits)
  for (const filter of [{ workflow: 'f' }, { runtime: 'k' }, { status: 'failure' }, { since: '2026-01-03T00:00:00Z' }, { until: '2026-01-01T00:00:00Z' }] as const) assert.ok(!matches(one, filter))
})

test('a span of time ends at the clock that is given', () => {
  assert.equal(sinceTime('24h', Date.parse('2026-01-02T12:00:30Z') / 1000), '2026-01-01T12:00:00.000Z')
  assert.equal(sinceTime('2026-01-01T00:00:00Z', 0), '2026-01-01T00:00:00Z')
  assert.equal(sinceTime(undefined, 0), undefined)
})

for (const [hash, expected] of [
  ['', { view: 'executions', id: null, params: {} }],
  ['#/executions?status=failure&workflow=f%2Fa', { view: 'executions', id: null, params: { status: 'failure', workflow: 'f/a' } }],
  ['#/executions/0193?tab=logs&step=a%5B0%5D.b', { view: 'executions', id: '0193', params: { tab: 'logs', step: 'a[0].b' } }],
  ['#/nowhere/12', { view: 'executions', id: null, params: {} }],
  ['#/executions/%E0%A4%A', { view: 'executions', id: '%E0%A4%A', params: {} }],
] as const) {
  test(`the link ${hash || '(none)'} is understood`, () => assert.deepEqual(parseRoute(hash), expected))
}

test('a route is the same after it was sent as a link', () => {
  const id = 'a/b?c#d%e'
  assert.deepEqual(parseRoute(formatRoute('executions', id, { step: 'x[0].y & z', tab: undefined })), { view: 'executions', id, params: { step: 'x[0].y & z' } })
})

test('requests are compared field by field', () => {
  const found = compareRequests({ a: 1, b: { c: [1, 2] }, gone: true }, { a: 1, b: { c: [1, 3] }, added: null })
  const changes = Object.fromEntries(found.map((each) => [each.path, each.change]))
  assert.deepEqual(changes, { a: 'same', 'b.c[0]': 'same', 'b.c[1]': 'changed', added: 'added', gone: 'removed' })
  assert.ok(compareRequests(null, { a: 1 }).every((each) => each.change === 'same'))
})

const start = Date.parse('2026-01-01T00:00:00Z')
/** A time, in seconds after the start. */
const at = (seconds: number) => new Date(start + seconds * 1000).toISOString()
const parts = (begins: number | null, queued: number | null, starting: number | null, running: number | null, finishing: number | null): Parts => ({
  queued,
  starting,
  running,
  finishing,
  began_at: begins === null ? null : at(begins),
})
/** The bars of the steps' lanes: part, from, to, in seconds after the start. */
const bars = (steps: Step[], now = 0) => layOut(steps, start + now * 1000).lanes.map((lane) => lane.bars.map((bar) => [bar.part, (bar.from - start) / 1000, (bar.to - start) / 1000]))
const step = (id: string, more: Partial<Step> = {}): Step => ({
  id,
  summary: '',
  status: 'success',
  runtime: null,
  job: null,
  attempt: null,
  created_at: '2026-01-01T00:00:00Z',
  started_at: null,
  ended_at: '2026-01-01T00:00:10Z',
  parts: parts(0, 1, 2, 6, 1),
  remote: null,
  diagnosis: null,
  output: null,
  events: [],
  reused: false,
  parent: null,
  ...more,
})
test('the parts of a step lie one after another from where they began', () => {
  const expected = [
    ['queued', 0, 1],
    ['starting', 1, 3],
    ['running', 3, 9],
    ['finishing', 9, 10],
  ]
  assert.deepEqual(bars([step('a')]), [expected])
  const { start: from, end } = layOut([step('a')], 0)
  assert.deepEqual([from, end], [start, start + 10_000])
})

test('work that an earlier step submitted lies where it ran, and the axis ends with the execution', () => {
  const submit = step('submit', { parts: parts(0, 1, null, 4, null), started_at: at(1), ended_at: at(5) })
  const collect = step('collect', { created_at: at(3610), started_at: at(3612), ended_at: at(3616), parts: parts(5, 2, 3, 3600, 1) })
  const [, collected] = bars([submit, collect])
  assert.deepEqual(collected, [
    ['queued', 5, 7],
    ['starting', 7, 10],
    ['running', 10, 3610],
    ['finishing', 3610, 3611],
    ['queued', 3611, 3612],
    ['whole', 3612, 3616],
  ])
  assert.equal(layOut([submit, collect], 0).end, start + 3_616_000)
})

test('a wait for a worker is queue, before what the runtime measured', () => {
  const waited = step('a', { started_at: at(1200), ended_at: at(1265), parts: parts(1202, null, 1, 60, 2) })
  assert.deepEqual(bars([waited]), [
    [
      ['queued', 0, 1200],
      ['whole', 1200, 1202],
      ['starting', 1202, 1203],
      ['running', 1203, 1263],
      ['finishing', 1263, 1265],
    ],
  ])
  const still = step('b', { status: 'queued', ended_at: null, parts: parts(null, null, null, null, null) })
  assert.deepEqual(bars([still], 60), [[['queued', 0, 60]]])
})

test('a step that no runtime measured waits until it is started, and then runs', () => {
  const script = step('a', { started_at: at(0.1), ended_at: at(0.4), parts: parts(null, 0.1, null, 0.3, null) })
  assert.deepEqual(bars([script]), [[['queued', 0, 0.1], ['running', 0.1, 0.4]]])
  const live = step('b', { status: 'running', started_at: at(2), ended_at: null, parts: parts(null, 2, null, null, null) })
  assert.deepEqual(bars([live], 60), [[['queued', 0, 2], ['whole', 2, 60]]])
})

test('no bar leaves the execution: not by another clock, nor for a result that was taken over', () => {
  const ahead = step('a', { parts: parts(4, 1, 2, 600, 1) })
  assert.deepEqual(bars([ahead]), [[['whole', 0, 4], ['queued', 4, 5], ['starting', 5, 7], ['running', 7, 10]]])
  const reused = step('b', { parts: parts(-90_000, 1, 2, 600, 1) })
  assert.deepEqual(bars([reused]), [[['whole', 0, 10]]])
})

test('parts behind one that is not known, or without a time, are not placed', () => {
  assert.deepEqual(bars([step('a', { parts: parts(0, 1, null, 6, 1) })]), [[['queued', 0, 1], ['whole', 1, 10]]])
  assert.deepEqual(bars([step('a', { parts: parts(null, 1, 2, 6, 1), started_at: at(2) })]), [[['queued', 0, 2], ['whole', 2, 10]]])
})

test('a step whose parts were not measured is one bar, one that has not begun none', () => {
  const none = parts(null, null, null, null, null)
  const { lanes } = layOut([step('a', { parts: none }), step('b', { parts: none, created_at: null, ended_at: null, status: 'waiting' })], 0)
  assert.deepEqual(lanes.map((lane) => lane.bars.map((bar) => bar.part)), [['whole'], []])
})

test('a running step ends at the clock of the server, never before its beginning', () => {
  const running = step('a', { status: 'running', ended_at: null, parts: parts(null, 1, null, null, null) })
  assert.equal(layOut([running], start + 60_000).lanes[0]!.to, start + 60_000)
  assert.equal(layOut([running], start - 60_000).lanes[0]!.to, start)
})

const event = (kind: string, seconds: number | null) => ({ at: seconds === null ? null : at(seconds), kind, message: '', cause: null })

test('events are in the order of time over all steps; one without a time stays behind the one before it', () => {
  const first = step('a', { events: [event('queued', 0), event('noted', null), event('failed', 3), event('retried', null)] })
  const second = step('b', { created_at: at(2), events: [event('noted', null), event('queued', 2.5), event('started', 4)] })
  const third = step('c', { created_at: null, events: [event('noted', null)] })
  const told = orderEvents([first, second, third]).map(({ step, kind }) => `${step} ${kind}`)
  assert.deepEqual(told, ['a queued', 'a noted', 'c noted', 'b noted', 'b queued', 'a failed', 'a retried', 'b started'])
})

test('events are ordered by time however their fractions are written', () => {
  const told = orderEvents([step('a', { events: [{ ...event('later', 0), at: '2026-01-01T00:00:00.500000Z' }] }), step('b', { events: [{ ...event('first', 0), at: '2026-01-01T00:00:00Z' }] })])
  assert.deepEqual(told.map(({ kind }) => kind), ['first', 'later'])
})

test('steps that are their own parents do not hang the page', () => {
  const { lanes } = layOut([step('a', { parent: 'b' }), step('b', { parent: 'a' })], 0)
  assert.equal(lanes.length, 2)
})

test('a step is named within what it is in', () => {
  assert.equal(nameInParent({ id: 'attempts[0].attempt.ray.run', parent: 'attempts[0].attempt' }), 'ray.run')
  assert.equal(nameInParent({ id: 'attempts[0]', parent: 'attempts' }), '[0]')
  assert.equal(nameInParent({ id: 'a', parent: null }), 'a')
  assert.equal(nameInParent({ id: 'a', parent: 'a' }), 'a')
})

test('axes have few, round marks', () => {
  assert.deepEqual(ticks(500), [0, 120, 240, 360, 480])
  assert.deepEqual(axisMarks(87), [0, 25, 50, 75, 100])
  assert.deepEqual(durationMarks(200), [0, 60, 120, 180, 240])
  assert.deepEqual(axisMarks(0), [0, 1])
  for (const max of [0.003, 1, 59, 61, 3601, 86401, 9e9]) {
    for (const marks of [axisMarks(max), durationMarks(max)]) {
      assert.ok(marks[marks.length - 1]! >= max && marks.length <= 6, `${max}: ${marks}`)
    }
    assert.ok(ticks(max).length <= 8)
  }
})

test('a line has a gap where nothing was measured', () => {
  assert.equal(linePath([{ x: 0, y: 1 }, { x: 1, y: null }, { x: 2, y: 3 }, { x: 3, y: 4 }]), 'M0.0 1.0M2.0 3.0L3.0 4.0')
  assert.deepEqual(daysBetween(['2026-02-28', '2026-03-02']), ['2026-02-28', '2026-03-01', '2026-03-02'])
})

for (const [seconds, text] of [
  [null, 'not measured'],
  [NaN, 'not measured'],
  [0, '0 s'],
  [0.256, '0.26 s'],
  [9.5, '9.5 s'],
  [59.6, '1 min 00 s'],
  [184.2, '3 min 04 s'],
  [3600, '1 h 00 min'],
  [90_000, '1 d 1 h'],
  [-4, '0 s'],
] as const) {
  test(`${seconds} seconds read "${text}"`, () => assert.equal(format.formatDuration(seconds), text))
}

test('what was not measured is said and never 0', () => {
  for (const text of [format.formatNumber(null), format.formatMoney(null, 'EUR'), format.formatPercent(null), format.formatTime(null), format.formatAge(null, 0)]) assert.equal(text, 'not measured')
  assert.equal(format.formatMoney(0, 'EUR'), '0.00 EUR')
  assert.equal(format.formatMoney(0.0012, 'EUR'), '0.0012 EUR')
  assert.equal(format.formatPercent(0.996), '99.6 %')
  assert.equal(format.formatAge('2026-01-01T00:00:00Z', start + 61_000), '1 min ago')
  assert.equal(format.formatAge('2026-01-01T00:10:00Z', start), 'in 10 min')
  assert.equal(format.formatTime('garbage'), 'garbage')
})

test('a message is shown without the remedy that it ends with, which has a line of its own', () => {
  assert.equal(format.withoutRemedy('No cluster. Name one.', 'Name one.'), 'No cluster.')
  assert.equal(format.withoutRemedy('No cluster.', 'Name one.'), 'No cluster.')
  assert.equal(format.withoutRemedy('Name one.', 'Name one.'), 'Name one.')
  assert.equal(format.withoutRemedy('No cluster.', null), 'No cluster.')
})

test('a failed job becomes its typed error; one without a type its first line', () => {
  const stored = { error: { name: 'Forbidden', message: 'no right', extra: { remedy: 'ask ann', category: 'rights' } } }
  assert.deepEqual(problemOfResult(stored, 'x'), { name: 'Forbidden', message: 'no right', category: 'rights', remedy: 'ask ann' })
  assert.deepEqual(problemOfResult('garbage', 'x'), { name: 'Error', message: 'x', category: null, remedy: null })
})

/** A workspace without a page: each started job succeeds with `{ number }`, unless `fails` is set. */
function workspace() {
  const started: string[] = []
  const page = {
    started,
    fails: false,
    lost: [] as string[],
    cut: [] as string[],
    unended: [] as string[],
    answer: async (script: string) => {
      started.push(script)
      return JSON.stringify(page.fails ? { error: { name: 'Conflict', message: 'no longer at revision 2' } } : { result: { number: started.length } })
    },
  }
  ;(globalThis as any).window = page
  return page
}
const openProblem = (error: unknown) => error instanceof CallError && error.name === 'NotKnown' && !!error.job

for (const state of ['lost', 'unended'] as const) {
  test(`what is done once is not started again while its end is not known (${state})`, async () => {
    const page = workspace()
    page[state] = ['roll_back_model']
    const act = () => callOnce<{ number: number }>('roll_back_model', { name: `m-${state}` }, 5)
    await assert.rejects(act(), openProblem)
    await assert.rejects(act(), openProblem)
    page[state] = []
    assert.deepEqual(await act(), { number: 1 }, 'the answer of the first')
    assert.deepEqual(page.started, ['roll_back_model'])
    assert.deepEqual(await act(), { number: 2 }, 'what has ended can be done anew')
  })
}

test('what was started late is followed and not started again', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] })
  const page = workspace()
  let answerStart = () => {}
  Object.assign(page, { unanswered: ['restart_execution'], late: new Promise<void>((resolve) => (answerStart = resolve)) })
  const act = () => callOnce<{ number: number }>('restart_execution', { execution: 'late' }, 5)
  const first = assert.rejects(act(), (error: unknown) => error instanceof CallError && error.name === 'NotStarted')
  t.mock.timers.tick(31_000)
  await first
  answerStart()
  await new Promise((resolve) => setImmediate(resolve))
  assert.deepEqual(await act(), { number: 1 })
  assert.deepEqual(page.started, ['restart_execution'])
})

test('a failure that is known does not stand in the way of another try', async () => {
  const page = workspace()
  page.fails = true
  const act = () => callOnce<{ number: number }>('roll_back_model', { name: 'f' }, 5)
  await assert.rejects(act(), (error: unknown) => error instanceof CallError && error.name === 'Conflict' && error.job === null)
  page.fails = false
  assert.deepEqual(await act(), { number: 2 })
})

test('a result is there when its job has ended, though the wait looks seldom; a failure is left to the wait', async () => {
  const page = Object.assign(workspace(), { seldom: { read_dashboard: 4000, read_logs: 1000 } })
  const began = Date.now()
  assert.deepEqual(await call('read_dashboard', {}), { number: 1 })
  assert.ok(Date.now() - began < 3000)
  page.fails = true
  await assert.rejects(call('read_logs', {}), (error: unknown) => error instanceof CallError && error.name === 'Conflict')
})

test('a wait that breaks off after the job has succeeded gives its result', async () => {
  const page = workspace()
  page.cut = ['read_logs']
  assert.deepEqual(await call('read_logs', {}), { number: 1 })
  page.fails = true
  await assert.rejects(call('read_logs', {}), (error: unknown) => error instanceof CallError && error.message === 'no longer at revision 2')
})

test('a call that is never answered ends with its problem', async () => {
  const problem = { name: 'NotStarted', message: 'it was not started', category: null, remedy: 'look' }
  await assert.rejects(withTimeout(new Promise(() => {}), 0.01, problem), problem)
  assert.equal(await withTimeout(Promise.resolve(3), 1, problem), 3)
})
