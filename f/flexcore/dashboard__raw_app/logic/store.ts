// What the page knows and when it asks again. A view waits for no other view's read; nothing is asked while the page is hidden.
import { Budget, MAX_JOBS_PER_HOUR, nextRefresh } from './budget'
import { ACTION_TIMEOUT_S, call, callOnce, CallError, type CallProblem } from './calls'
import { mergeRows, moveCounts, takeRead } from './rows'
import type { Route, View } from './route'
import type { Dashboard, Executions, Filter, Row, Status } from './types'

/** A part of the answer that a view asks for. */
export type Part = View | 'execution'
/** at: the server's clock when the part was read last; failed: the read after that one did not bring it. */
export type PartRead = { at: string | null; failed: boolean }

/** data: each part as it was read last; null for an execution that is not to be found. listed: the routeKey that rows,
 * older and counts are of. workflows: every name that was seen, or is deployed. */
export type State = {
  data: Partial<Dashboard>
  reads: Partial<Record<Part, PartRead>>
  workflows: string[]
  listed: string | null
  rows: Row[] | null
  older: string | null
  counts: Record<Status, number> | null
  executionId: string | null
  reading: boolean
  loadingOlder: boolean
  problem: CallProblem | null
  readAt: number | null
  nextAt: number | null
  hidden: boolean
  left: number
}

const EMPTY: State = {
  data: {},
  reads: {},
  workflows: [],
  listed: null,
  rows: null,
  older: null,
  counts: null,
  executionId: null,
  reading: false,
  loadingOlder: false,
  problem: null,
  readAt: null,
  nextAt: null,
  hidden: false,
  left: 0,
}

/** The name of the problem of a read that has to wait, as the jobs of this hour are used up. */
export const BUDGET = 'Budget'

const seconds = () => Date.now() / 1000
const UNREADABLE: CallProblem = {
  name: 'UnknownAnswer',
  message: 'The workspace answered with something this page cannot read',
  category: null,
  remedy: 'The bundle in the workspace and this page are of different versions: deploy both from the same one.',
}

/** The filter that a route carries; spans of time end at `nowMs`, the server's clock. */
export function filterOf(route: Route, nowMs: number): Filter {
  const { workflow, runtime, status, since, until } = route.params
  return { workflow, runtime, status: status as Status | undefined, since: sinceTime(since, nowMs / 1000), until }
}

const SPANS: Record<string, number> = { '1h': 3600, '24h': 86400, '7d': 7 * 86400, '30d': 30 * 86400, '90d': 90 * 86400 }

/** The start of a span of the last hours or days in whole minutes, or the moment itself. */
export function sinceTime(since: string | undefined, now: number): string | undefined {
  const span = since && SPANS[since]
  if (!span) return since
  return new Date(Math.floor((now - span) / 60) * 60_000).toISOString()
}

export class Store {
  state: State
  private listeners = new Set<() => void>()
  private timer: ReturnType<typeof setTimeout> | undefined
  private route: Route
  private cursor: string | null = null
  private actedAt = -Infinity
  private triedAt: number | null = null
  /** Of the last read that was wanted: the answer of an earlier one is dropped. */
  private number = 0
  private asked: string | null = null
  private received = 0

  constructor(
    route: Route,
    readonly budget: Budget = new Budget(seconds, safeStorage()),
  ) {
    this.route = route
    this.state = { ...EMPTY, executionId: executionOf(route) }
  }

  subscribe = (listener: () => void) => {
    this.listeners.add(listener)
    return () => this.listeners.delete(listener)
  }

  snapshot = () => this.state

  private set(change: Partial<State>) {
    this.state = { ...this.state, ...change, left: Math.max(0, Math.floor(this.budget.tokens())) }
    this.listeners.forEach((listener) => listener())
  }

  /** The server's clock now, in milliseconds: it was told with the last read and runs on by the page's own stopwatch. */
  now = (): number => {
    const told = this.state.data.now ? Date.parse(this.state.data.now) : NaN
    return Number.isFinite(told) ? told + (performance.now() - this.received) : Date.now()
  }

  /** Seconds by which the viewer's clock is ahead of the server's, or null before the first read. */
  skew(): number | null {
    return this.state.data.now ? (Date.now() - this.now()) / 1000 : null
  }

  start(): () => void {
    const seen = () => this.visibility()
    document.addEventListener('visibilitychange', seen)
    this.visibility()
    return () => {
      document.removeEventListener('visibilitychange', seen)
      clearTimeout(this.timer)
    }
  }

  private visibility() {
    const hidden = document.visibilityState === 'hidden'
    clearTimeout(this.timer)
    this.set({ hidden, nextAt: null })
    if (hidden) return
    const rest = this.triedAt === null ? 0 : this.interval() - (seconds() - this.triedAt)
    this.schedule(Math.max(0, rest))
  }

  private interval(): number {
    const open = executionOf(this.route) ? this.state.data.execution?.row : undefined
    const running = !!open && (open.status === 'running' || open.status === 'queued')
    return nextRefresh(this.budget, seconds() - this.actedAt, running)
  }

  private schedule(inSeconds: number) {
    clearTimeout(this.timer)
    if (document.visibilityState === 'hidden') return
    this.set({ nextAt: seconds() + inSeconds })
    this.timer = setTimeout(() => void this.refresh(), inSeconds * 1000)
  }

  go(route: Route) {
    const before = routeKey(this.route)
    this.route = route
    if (routeKey(route) === before) return
    const id = executionOf(route)
    if (id && this.state.executionId !== id) {
      const { data, reads } = this.state
      this.set({ executionId: id, data: { ...data, execution: undefined }, reads: { ...reads, execution: undefined } })
    }
    void this.refresh()
  }

  /** Read what the view in front needs. A read for another view that is under way is not waited for. */
  async refresh(): Promise<void> {
    const route = this.route
    if (this.asked === routeKey(route)) return
    const number = ++this.number
    clearTimeout(this.timer)
    const wait = this.budget.wait()
    this.asked = wait > 0 ? null : routeKey(route)
    this.set({ reading: wait === 0, nextAt: null })
    if (wait > 0) return this.schedule(wait)
    this.budget.take()
    try {
      const read = await call<Dashboard>('read_dashboard', this.wanted(route))
      if (number === this.number) this.take(route, read)
    } catch (error) {
      if (number === this.number) this.set({ problem: asProblem(error) })
    }
    if (number === this.number) this.rest()
  }

  private rest() {
    this.asked = null
    this.triedAt = seconds()
    this.set({ reading: false })
    this.schedule(this.interval())
  }

  private wanted(route: Route): Record<string, unknown> {
    const part = partOf(route)
    if (part === 'execution') return { want: [part], execution: route.id }
    if (part !== 'executions') return { want: [part] }
    const cursor = this.state.listed === routeKey(route) ? this.cursor : null
    return { want: [part], filter: filterOf(route, this.now()), ...(cursor ? { cursor } : {}) }
  }

  private take(route: Route, read: Dashboard) {
    if (!read || typeof read !== 'object' || typeof read.now !== 'string' || !read.server) throw new CallError(UNREADABLE)
    this.received = performance.now()
    const { now, version, server, cursor, full } = read
    const part = partOf(route)
    const notices = read.notices ?? []
    const data: Partial<Dashboard> = { ...this.state.data, now, version, server, cursor, full, notices }
    const change: Partial<State> = { problem: null, workflows: addNames(this.state.workflows, namesIn(read)) }
    const brought = read[part] ?? null
    const held = part === 'executions' ? this.state.rows : this.state.data[part]
    // What was read once stays: a read that failed, or a run that Windmill has forgotten meanwhile, takes nothing away.
    const isGone = part === 'execution' && !brought && !held && notices.some((notice) => notice.code === 'forgotten')
    const failed = !brought && !isGone
    if (read.executions && part === 'executions') Object.assign(change, this.takeExecutions(route, read.executions, read))
    else if (!failed) Object.assign(data, { [part]: brought })
    // Of a read that brought nothing, what is held is as whole as it was.
    if (!failed || read.unread?.[part]) data.unread = { ...this.state.data.unread, [part]: read.unread?.[part] ?? [] }
    const at = failed ? (this.state.reads[part]?.at ?? null) : now
    if (!failed) change.readAt = seconds()
    this.set({ ...change, data, reads: { ...this.state.reads, [part]: { at, failed } } })
  }

  private takeExecutions(route: Route, read: Executions, { full, cursor }: Dashboard): Partial<State> {
    const same = this.state.listed === routeKey(route)
    const held = same ? (this.state.rows ?? []) : []
    const rows = takeRead(held, read, full || !same)
    const last = read.rows?.[read.rows.length - 1]
    const keepsOlder = same && (!full || rows[rows.length - 1]?.id !== last?.id)
    this.cursor = cursor ?? null
    return {
      listed: routeKey(route),
      rows,
      older: keepsOlder ? this.state.older : (read.older ?? null),
      counts: read.counts ?? (same && !full ? moveCounts(this.state.counts, held, rows) : null),
      loadingOlder: same && this.state.loadingOlder,
    }
  }

  /** Read the rows below those that are held; not before the list is the one in front and `wait` is 0. */
  async loadOlder(): Promise<void> {
    const { older, loadingOlder, listed } = this.state
    const route = this.route
    if (!older || loadingOlder || listed !== routeKey(route) || this.wait() > 0) return
    this.budget.take()
    this.set({ loadingOlder: true })
    const change: Partial<State> = { loadingOlder: false }
    try {
      const read = await call<Executions>('read_executions', { older, filter: filterOf(route, this.now()) })
      const brought = read.rows ?? []
      const workflows = addNames(this.state.workflows, namesOf(brought))
      Object.assign(change, { rows: mergeRows(this.state.rows ?? [], brought), older: read.older ?? null, workflows })
    } catch (error) {
      change.problem = asProblem(error)
    }
    if (this.state.listed === listed) this.set(change)
  }

  /** Run what the viewer does, once: while the end of the same is not known, that is asked for. It is counted, and
   * never refused for the budget: a cancel does not wait. */
  async act<T>(id: string, args: Record<string, unknown>): Promise<T> {
    try {
      return await this.run(callOnce<T>(id, args, ACTION_TIMEOUT_S))
    } finally {
      this.actedAt = seconds()
    }
  }

  private async run<T>(called: Promise<T>): Promise<T> {
    this.budget.take()
    const result = await called
    this.set({})
    return result
  }

  /** Another read that the viewer asked for. Raises CallError when the budget is used up. */
  async read<T>(id: string, args: Record<string, unknown>): Promise<T> {
    const wait = this.wait()
    if (wait > 0) {
      const remedy = `Try again in ${Math.ceil(wait)} s.`
      throw new CallError({ name: BUDGET, message: `This page has used up its ${MAX_JOBS_PER_HOUR} jobs an hour`, category: null, remedy })
    }
    return this.run(call<T>(id, args))
  }

  /** Seconds until a click may start a job; 0: now. */
  wait(): number {
    return this.budget.wait()
  }

  /** Seconds until a read by itself may follow, at least `interval`. */
  follow(interval: number): number {
    return Math.max(interval, this.budget.pause())
  }
}

export function asProblem(error: unknown): CallProblem {
  if (error instanceof CallError) {
    return { name: error.name, message: error.message, category: error.category, remedy: error.remedy, job: error.job }
  }
  return { name: 'Error', message: error instanceof Error ? error.message : String(error), category: null, remedy: null }
}

/** What of a route a read depends on: tabs and marks within a view ask nothing. */
export function routeKey(route: Route): string {
  if (route.view !== 'executions') return route.view
  return route.id ? `executions/${route.id}` : `executions?${JSON.stringify([route.params.workflow, route.params.runtime, route.params.status, route.params.since, route.params.until])}`
}

const executionOf = (route: Route): string | null => (route.view === 'executions' ? route.id : null)

const partOf = (route: Route): Part => (executionOf(route) ? 'execution' : route.view)

const namesOf = (items: { workflow: string }[]) => items.map((each) => each.workflow)

function namesIn({ executions, execution, stops }: Dashboard): string[] {
  const open = execution ? [execution.row] : []
  return [...(executions?.workflows ?? []), ...namesOf([...(executions?.rows ?? []), ...open, ...(stops ?? [])])]
}

function addNames(known: string[], found: string[]): string[] {
  const names = new Set([...known, ...found])
  return names.size === known.length ? known : [...names].sort()
}

function safeStorage(): Storage | null {
  try {
    return window.sessionStorage
  } catch {
    return null
  }
}
