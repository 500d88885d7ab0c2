// What the page knows and when it asks again. One read at a time; nothing is asked while the page is hidden.
import { Budget, MAX_JOBS_PER_HOUR, nextRefresh, RESERVE } from './budget'
import { ACTION_TIMEOUT_S, call, CallError, type CallProblem } from './calls'
import { mergeRows, moveCounts, takeRead } from './rows'
import type { Route } from './route'
import type { Dashboard, Executions, Filter, Row, Status } from './types'

/** The last of each part; null: it was asked for and could not be read. */
export type Known = { [Part in keyof Dashboard]: Dashboard[Part] | (undefined extends Dashboard[Part] ? null : never) }

export type State = {
  data: Partial<Known>
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
  state: State = EMPTY
  private listeners = new Set<() => void>()
  private timer: ReturnType<typeof setTimeout> | undefined
  private route: Route
  private readRoute = ''
  private cursor: string | null = null
  private clickedAt = -Infinity
  private again = false
  private received = 0

  constructor(
    route: Route,
    readonly budget: Budget = new Budget(seconds, safeStorage()),
  ) {
    this.route = route
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
    const rest = this.state.readAt === null ? 0 : this.interval() - (seconds() - this.state.readAt)
    this.schedule(Math.max(0, rest))
  }

  private interval(): number {
    const open = this.route.view === 'executions' && this.route.id ? this.state.data.execution?.row : undefined
    const running = !!open && (open.status === 'running' || open.status === 'queued')
    return nextRefresh(this.budget, seconds() - this.clickedAt, running)
  }

  private schedule(inSeconds: number) {
    clearTimeout(this.timer)
    if (document.visibilityState === 'hidden') return
    this.set({ nextAt: seconds() + inSeconds })
    this.timer = setTimeout(() => void this.refresh(), inSeconds * 1000)
  }

  go(route: Route) {
    const before = key(this.route)
    this.route = route
    if (key(route) === before) return
    this.clicked()
    const id = route.view === 'executions' ? route.id : null
    if (id && this.state.executionId !== id) {
      this.set({ executionId: id, data: { ...this.state.data, execution: undefined } })
    }
    void this.refresh()
  }

  clicked() {
    this.clickedAt = seconds()
  }

  /** Read what the view in front needs; a read that is wanted during another one follows it. */
  async refresh(): Promise<void> {
    if (this.state.reading) {
      this.again = true
      return
    }
    const wait = this.budget.wait()
    if (wait > 0) return this.schedule(wait)
    const route = this.route
    this.again = false
    this.budget.take()
    this.set({ reading: true, nextAt: null })
    try {
      this.take(route, await call<Dashboard>('read_dashboard', this.wanted(route)))
    } catch (error) {
      this.set({ problem: asProblem(error), readAt: seconds() })
    }
    this.set({ reading: false })
    if (this.again && key(this.route) !== key(route)) return this.refresh()
    this.schedule(this.interval())
  }

  private wanted(route: Route): Record<string, unknown> {
    if (route.view === 'executions' && route.id) return { want: ['execution'], execution: route.id }
    if (route.view !== 'executions') return { want: [route.view] }
    const cursor = this.readRoute === key(route) ? this.cursor : null
    return { want: ['executions'], filter: filterOf(route, this.now()), ...(cursor ? { cursor } : {}) }
  }

  private take(route: Route, read: Dashboard) {
    if (!read || typeof read !== 'object' || typeof read.now !== 'string' || !read.server) throw new CallError(UNREADABLE)
    this.received = performance.now()
    const { executions, execution } = read
    const { now, version, server, cursor, full } = read
    const data: Partial<Known> = { ...this.state.data, now, version, server, cursor, full, notices: read.notices ?? [] }
    // A part that was not asked for comes as null; one that was and is null could not be read.
    if (route.view !== 'executions') Object.assign(data, { [route.view]: read[route.view] ?? null })
    const change: Partial<State> = { problem: null, readAt: seconds() }
    if (route.view === 'executions' && route.id) {
      if (route.id === this.state.executionId || this.state.executionId === null) {
        data.execution = execution ?? null
        change.executionId = route.id
      }
    } else if (executions) {
      Object.assign(change, this.takeExecutions(route, executions, read.full))
      this.cursor = read.cursor ?? null
    }
    this.set({ ...change, data })
  }

  private takeExecutions(route: Route, read: Executions, full: boolean): Partial<State> {
    const same = this.readRoute === key(route)
    this.readRoute = key(route)
    const held = same ? (this.state.rows ?? []) : []
    const rows = takeRead(held, read, full || !same)
    const last = read.rows?.[read.rows.length - 1]
    const keepsOlder = same && rows.length > 0 && !!last && rows[rows.length - 1]!.id !== last.id
    return {
      rows,
      older: !full && same ? this.state.older : keepsOlder ? this.state.older : (read.older ?? null),
      counts: read.counts ?? (same && !full ? moveCounts(this.state.counts, held, rows) : null),
    }
  }

  /** Read the rows below those that are held. */
  async loadOlder(): Promise<void> {
    const { older, loadingOlder } = this.state
    if (!older || loadingOlder || this.budget.wait() > 0) return
    const route = this.route
    this.clicked()
    this.budget.take()
    this.set({ loadingOlder: true })
    try {
      const read = await call<Executions>('read_executions', { older, filter: filterOf(route, this.now()) })
      if (this.readRoute === key(route)) {
        this.set({ rows: mergeRows(this.state.rows ?? [], read.rows ?? []), older: read.older ?? null })
      }
    } catch (error) {
      this.set({ problem: asProblem(error) })
    }
    this.set({ loadingOlder: false })
  }

  /** Run what the viewer does. It is counted, and never refused for the budget: a cancel does not wait. */
  async act<T>(id: string, args: Record<string, unknown>): Promise<T> {
    return this.run<T>(id, args, ACTION_TIMEOUT_S)
  }

  private async run<T>(id: string, args: Record<string, unknown>, timeoutS?: number): Promise<T> {
    this.clicked()
    this.budget.take()
    const result = await call<T>(id, args, timeoutS)
    this.set({})
    return result
  }

  /** Another read that the viewer asked for. Raises CallError when the budget is used up. */
  async read<T>(id: string, args: Record<string, unknown>): Promise<T> {
    const wait = this.budget.wait()
    if (wait > 0) {
      const remedy = `Try again in ${Math.ceil(wait)} s.`
      throw new CallError({ name: 'Budget', message: `This page has used up its ${MAX_JOBS_PER_HOUR} jobs an hour`, category: null, remedy })
    }
    return this.run<T>(id, args)
  }

  /** Seconds until a read by itself may follow, at least `interval`. */
  follow(interval: number): number {
    return Math.max(interval, this.budget.wait(RESERVE))
  }
}

export function asProblem(error: unknown): CallProblem {
  if (error instanceof CallError) {
    return { name: error.name, message: error.message, category: error.category, remedy: error.remedy }
  }
  return { name: 'Error', message: error instanceof Error ? error.message : String(error), category: null, remedy: null }
}

/** What of a route a read depends on: tabs and marks within a view ask nothing. */
function key(route: Route): string {
  if (route.view !== 'executions') return route.view
  return route.id ? `executions/${route.id}` : `executions?${JSON.stringify([route.params.workflow, route.params.runtime, route.params.status, route.params.since, route.params.until])}`
}

function safeStorage(): Storage | null {
  try {
    return window.sessionStorage
  } catch {
    return null
  }
}
